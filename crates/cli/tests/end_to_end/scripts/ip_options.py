# Options of IPv4: what goes with each datagram, and what a receiver is told of.
import errno, socket, sys

host, echo = sys.argv[1], (sys.argv[2].split(":")[0], int(sys.argv[3]))
IP, IP_OPTIONS, IP_RECVOPTS, IP_RETOPTS = socket.IPPROTO_IP, 4, 6, 7
ROUTE, TIMES, ALERT = b"\x07\x13\x04" + bytes(16) + b"\0", b"\x44\x0c\x05\x00" + bytes(8), b"\x94\x04\0\0"


def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    return s


def told(receiver):
    data, control, flags, _ = receiver.recvmsg(100, 512)
    assert (data, flags) == (b"hello", 0), (data, flags)
    assert all(level == IP for level, _, _ in control), control
    return {kind: bytes_ for _, kind, bytes_ in control}


receiver, sender = udp(), udp()
receiver.bind((host, 0))
for option in (IP_RECVOPTS, IP_RETOPTS):
    assert receiver.getsockopt(IP, option) == 0
    receiver.setsockopt(IP, option, 1)
    assert receiver.getsockopt(IP, option) == 1

# a route is begun by the sender, and ended by the receiver
sender.setsockopt(IP, IP_OPTIONS, ROUTE)
assert sender.getsockopt(IP, IP_OPTIONS, 40) == ROUTE
sender.sendto(b"hello", receiver.getsockname())
control = told(receiver)
own = socket.inet_aton(host)
assert control[IP_RECVOPTS] == b"\x07\x13\x0c" + own * 2 + bytes(9), control
assert control[IP_RETOPTS] == control[IP_RECVOPTS]

# times
sender.setsockopt(IP, IP_OPTIONS, TIMES)
sender.sendto(b"hello", receiver.getsockname())
control = told(receiver)
assert control[IP_RECVOPTS][:4] == b"\x44\x0c\x0d\x00", control
assert control[IP_RECVOPTS][4:8] != bytes(4), control

# what an answer would not carry
sender.setsockopt(IP, IP_OPTIONS, ALERT)
sender.sendto(b"hello", receiver.getsockname())
assert told(receiver) == {IP_RECVOPTS: ALERT, IP_RETOPTS: b""}

# none, and none asked for
sender.setsockopt(IP, IP_OPTIONS, b"")
assert sender.getsockopt(IP, IP_OPTIONS, 40) == b""
sender.sendto(b"hello", receiver.getsockname())
assert told(receiver) == {}
sender.setsockopt(IP, IP_OPTIONS, ROUTE)
for option in (IP_RECVOPTS, IP_RETOPTS):
    receiver.setsockopt(IP, option, 0)
sender.sendto(b"hello", receiver.getsockname())
assert told(receiver) == {}

# over the wire they do no harm
sender.sendto(b"hello", echo)
assert sender.recv(100) == b"hello"

# what is no option
for bad in [b"\x07", b"\x07\x01", b"\x07\x02\x04\0", b"\x44\x03\x05", bytes(41)]:
    fails(errno.EINVAL, sender.setsockopt, IP, IP_OPTIONS, bad)
assert sender.getsockopt(IP, IP_OPTIONS, 40) == ROUTE
