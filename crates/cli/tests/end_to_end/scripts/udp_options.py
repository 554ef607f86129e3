# Options are taken, kept, given back and honoured; what comes with a datagram is told who asks.
import errno, socket, struct, sys, time

host, echo = sys.argv[1], (sys.argv[2].split(":")[0], int(sys.argv[3]))
SOL, IP, UDP = socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_UDP
IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_RECVTOS, IP_MTU = 8, 10, 11, 12, 13, 14
UDP_SEGMENT, UDP_GRO = 103, 104
SO_TIMESTAMP, SO_TIMESTAMPNS = 29, 35

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
for level, option, default, value in [
    (SOL, socket.SO_REUSEADDR, 0, 1),
    (SOL, socket.SO_REUSEPORT, 0, 1),
    (SOL, socket.SO_BROADCAST, 0, 1),
    (SOL, SO_TIMESTAMP, 0, 1),
    (IP, socket.IP_TTL, 64, 33),
    (IP, socket.IP_TOS, 0, 0x28),
    (IP, IP_PKTINFO, 0, 1),
    (IP, IP_RECVTTL, 0, 1),
    (IP, IP_RECVTOS, 0, 1),
    (IP, IP_RECVERR, 0, 1),
    (IP, IP_MTU_DISCOVER, 1, 2),
    (UDP, UDP_SEGMENT, 0, 1000),
]:
    assert s.getsockopt(level, option) == default, (level, option, s.getsockopt(level, option))
    s.setsockopt(level, option, value)
    assert s.getsockopt(level, option) == value, (level, option, s.getsockopt(level, option))
    s.setsockopt(level, option, default)
    assert s.getsockopt(level, option) == default, (level, option)
assert s.getsockopt(SOL, socket.SO_TYPE) == socket.SOCK_DGRAM
assert s.getsockopt(SOL, socket.SO_DOMAIN) == socket.AF_INET
assert s.getsockopt(SOL, socket.SO_PROTOCOL) == socket.IPPROTO_UDP
assert s.getsockopt(SOL, socket.SO_ERROR) == 0
for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
    assert s.getsockopt(SOL, buffer) == 212992
    s.setsockopt(SOL, buffer, 65536)
    assert s.getsockopt(SOL, buffer) == 131072
for value in (0, 256, 1000):
    fails(errno.EINVAL, s.setsockopt, IP, socket.IP_TTL, value)
fails(errno.EINVAL, s.setsockopt, IP, IP_MTU_DISCOVER, 9)
fails(errno.ENOPROTOOPT, s.setsockopt, IP, 99, 1)
fails(errno.ENODEV, s.setsockopt, SOL, socket.SO_BINDTODEVICE, b"nothing\0")
fails(errno.ENOTCONN, s.getsockopt, IP, IP_MTU)
s.connect(echo)
assert s.getsockopt(IP, IP_MTU) == 1500


# what comes with a datagram
def attached(message):
    return {(level, kind): data for level, kind, data in message[1]}


s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
for option in (IP_PKTINFO, IP_RECVTTL, IP_RECVTOS):
    s.setsockopt(IP, option, 1)
s.setsockopt(SOL, SO_TIMESTAMP, 1)
s.bind(("0.0.0.0", 0))
s.sendto(b"x", echo)
message = s.recvmsg(10, 512)
told = attached(message)
index, destination, address = struct.unpack("I4s4s", told[IP, IP_PKTINFO])
assert index > 0 and address == destination == socket.inet_aton(host), told
assert told[IP, socket.IP_TTL] == struct.pack("i", 64)
assert told[IP, socket.IP_TOS] == b"\0"
seconds, micros = struct.unpack("ll", told[SOL, SO_TIMESTAMP])
assert abs(seconds + micros / 1e6 - time.time()) < 5
assert message[2] == 0
s.setsockopt(SOL, SO_TIMESTAMPNS, 1)
s.sendto(b"x", echo)
assert (SOL, SO_TIMESTAMPNS) in attached(s.recvmsg(10, 512))
s.sendto(b"x", echo)
message = s.recvmsg(10, 24)
assert message[2] == socket.MSG_CTRUNC and len(message[1]) <= 1, message

# what is said of one datagram alone, and of all: by two sockets of this host
a, b = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
b.bind((host, 0))
b.settimeout(10)
for option in (IP_RECVTTL, IP_RECVTOS, IP_PKTINFO):
    b.setsockopt(IP, option, 1)
at_b = b.getsockname()


def received():
    told = attached(b.recvmsg(65536, 512))
    return struct.unpack("i", told[IP, socket.IP_TTL])[0], told[IP, socket.IP_TOS][0]


a.sendto(b"x", at_b)
assert received() == (64, 0)
ttl = (IP, socket.IP_TTL, struct.pack("i", 7))
tos = (IP, socket.IP_TOS, struct.pack("i", 0x20))
a.sendmsg([b"x"], [ttl, tos], 0, at_b)
assert received() == (7, 0x20)
fails(errno.EINVAL, a.sendmsg, [b"x"], [(IP, socket.IP_TTL, struct.pack("i", 0))], 0, at_b)
for value in (1, 2, 3):
    a.setsockopt(IP, socket.IP_TTL, value)
    a.setsockopt(IP, socket.IP_TOS, 4 * value)
    a.sendto(b"x", at_b)
a.setsockopt(IP, socket.IP_TTL, 64)
assert [received() for _ in range(3)] == [(1, 4), (2, 8), (3, 12)]

# a source address for one datagram
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
c.bind(("0.0.0.0", 0))
info = (IP, IP_PKTINFO, struct.pack("I4s4s", 0, socket.inet_aton(host), bytes(4)))
c.sendmsg([b"x"], [info], 0, at_b)
assert b.recvmsg(10, 512)[3][0] == host
info = (IP, IP_PKTINFO, struct.pack("I4s4s", 0, socket.inet_aton("192.0.2.9"), bytes(4)))
fails(errno.ENETUNREACH, c.sendmsg, [b"x"], [info], 0, at_b)

# several in one call, and several received in one piece by who asks for it
a.setsockopt(UDP, UDP_SEGMENT, 1000)
a.sendto(bytes(range(250)) * 10, at_b)
assert [len(b.recv(65536)) for _ in range(3)] == [1000, 1000, 500]
a.setsockopt(UDP, UDP_SEGMENT, 0)
a.sendmsg([bytes(700)], [(UDP, UDP_SEGMENT, struct.pack("H", 300))], 0, at_b)
assert [len(b.recv(65536)) for _ in range(3)] == [300, 300, 100]
