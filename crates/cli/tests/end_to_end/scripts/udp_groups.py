# Multicast: who has joined a group hears it, from this host and from another.
import errno, select, socket, struct, sys

host, peer = sys.argv[1], sys.argv[2].split(":")[0]
IP = socket.IPPROTO_IP
IP_PKTINFO, IP_MULTICAST_ALL = 8, 49
IP_ADD_SOURCE_MEMBERSHIP, IP_DROP_SOURCE_MEMBERSHIP = 39, 40
group, other = "239.77.1.1", "239.77.1.2"


def request(group, *more):
    return socket.inet_aton(group) + b"".join(socket.inet_aton(a) for a in more)


def udp(port=0, address="0.0.0.0"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(10)
    s.bind((address, port))
    return s


def silent(s):
    return not select.select([s], [], [], 0.2)[0]


# options of who sends
s = udp()
for option, default, value in [
    (socket.IP_MULTICAST_TTL, 1, 5),
    (socket.IP_MULTICAST_LOOP, 1, 0),
    (IP_MULTICAST_ALL, 1, 0),
]:
    assert s.getsockopt(IP, option) == default, option
    s.setsockopt(IP, option, value)
    assert s.getsockopt(IP, option) == value, option
assert s.getsockopt(IP, socket.IP_MULTICAST_IF, 4) == bytes(4)
s.setsockopt(IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
assert s.getsockopt(IP, socket.IP_MULTICAST_IF, 4) == socket.inet_aton(host)
fails(errno.EADDRNOTAVAIL, s.setsockopt, IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.0.2.9"))

# joining and leaving
member = udp()
port = member.getsockname()[1]
member.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, request(group, host))
fails(errno.EADDRINUSE, member.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, request(group, host))
fails(errno.EINVAL, member.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, request("10.1.1.1", host))
fails(errno.ENODEV, member.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, request(other, "192.0.2.9"))
fails(errno.EADDRNOTAVAIL, member.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, request(other, host))

# heard on this host, by members and by who hears all; not by who was told not to
listener, deaf = udp(port), udp(port)
deaf.setsockopt(IP, IP_MULTICAST_ALL, 0)
member.setsockopt(IP, IP_PKTINFO, 1)
sender = udp()
sender.setsockopt(IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
sender.sendto(b"to all", (group, port))
data, told, _, address = member.recvmsg(100, 512)
assert data == b"to all" and address == (host, sender.getsockname()[1])
assert told[0][2][8:12] == socket.inet_aton(group)
assert listener.recv(100) == b"to all"
assert silent(deaf)
sender.setsockopt(IP, socket.IP_MULTICAST_LOOP, 0)
sender.sendto(b"to others", (group, port))
assert silent(member)
sender.setsockopt(IP, socket.IP_MULTICAST_LOOP, 1)

# from some sources alone
chooser = udp(port)
chooser.setsockopt(IP, IP_ADD_SOURCE_MEMBERSHIP, request(group, host, "192.0.2.9"))
sender.sendto(b"not from there", (group, port))
assert member.recv(100) == b"not from there"
assert silent(chooser)
chooser.setsockopt(IP, IP_ADD_SOURCE_MEMBERSHIP, request(group, host, host))
sender.sendto(b"from here", (group, port))
assert chooser.recv(100) == b"from here"

# bound to a group: nothing else is heard
bound = udp(port, other)
bound.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, request(other, host))
sender.sendto(b"one", (group, port))
sender.sendto(b"other", (other, port))
assert bound.recv(100) == b"other"

# over the wire: a server there answers what it hears in its group
client = udp()
client.setsockopt(IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
client.sendto(b"hello", ("239.77.7.7", 7000))
assert client.recvfrom(100) == (b"hello", (peer, 7000))

# left: heard no more
member.setsockopt(IP, socket.IP_DROP_MEMBERSHIP, request(group, host))
member.setsockopt(IP, IP_MULTICAST_ALL, 0)
while not silent(member):
    member.recv(100)
sender.sendto(b"gone", (group, port))
assert silent(member)
