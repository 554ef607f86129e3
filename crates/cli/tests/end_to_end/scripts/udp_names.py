# Addresses and ports: who may have them, how they are shared, and what connecting does to them.
import ctypes, errno, select, socket, struct, sys

host = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)


def udp(*options):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    for option in options:
        s.setsockopt(socket.SOL_SOCKET, option, 1)
    return s


def disconnect(s):
    assert libc.connect(s.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16) == 0


# one port, one socket, unless both say otherwise
first = udp()
first.bind((host, 0))
port = first.getsockname()[1]
fails(errno.EINVAL, first.bind, (host, 0))
fails(errno.EADDRINUSE, udp().bind, (host, port))
fails(errno.EADDRINUSE, udp().bind, ("0.0.0.0", port))
udp().bind(("127.0.0.1", port))
fails(errno.EADDRNOTAVAIL, udp().bind, ("192.0.2.1", 0))
first.close()

# the more particular socket hears; of equals the later one
anywhere, particular, later = [udp(socket.SO_REUSEADDR) for _ in range(3)]
anywhere.bind(("0.0.0.0", port))
sender = udp()
sender.bind((host, 0))
sender.sendto(b"1", (host, port))
assert anywhere.recv(10) == b"1"
particular.bind((host, port))
sender.sendto(b"2", (host, port))
assert particular.recv(10) == b"2"
later.bind((host, port))
sender.sendto(b"3", (host, port))
assert later.recv(10) == b"3"
later.connect(("127.0.0.1" if host == "127.0.0.1" else host, 1))
sender.sendto(b"4", (host, port))
assert particular.recv(10) == b"4"
particular.connect(sender.getsockname())
sender.sendto(b"5", (host, port))
assert particular.recv(10) == b"5"
for s in (anywhere, particular, later):
    s.close()

# a group shares the flows, each flow always with the same one
group = [udp(socket.SO_REUSEPORT) for _ in range(4)]
group[0].bind((host, 0))
port = group[0].getsockname()[1]
for s in group[1:]:
    s.bind((host, port))
fails(errno.EADDRINUSE, udp().bind, (host, port))
senders = [udp() for _ in range(64)]
for repeat in range(2):
    for number, s in enumerate(senders):
        s.sendto(bytes([number]), (host, port))
heard = [[] for s in group]
for _ in range(128):
    ready, _, _ = select.select(group, [], [], 5)
    heard[group.index(ready[0])].append(ready[0].recv(10)[0])
assert sorted(sum(heard, [])) == sorted(list(range(64)) * 2), heard
assert all(numbers.count(number) == 2 for numbers in heard for number in numbers)
assert sum(1 for numbers in heard if numbers) >= 2, heard
for s in group + senders:
    s.close()

# connecting chooses an address and a port; undoing it gives back what was not asked for
s = udp()
s.connect((host, 9))
assert s.getsockname()[0] == host and s.getsockname()[1] > 0
assert s.getpeername() == (host, 9)
disconnect(s)
assert s.getsockname() == ("0.0.0.0", 0)
fails(errno.ENOTCONN, s.getpeername)
s = udp()
s.bind(("0.0.0.0", port))
s.connect((host, 9))
assert s.getsockname() == (host, port)
s.connect(("127.0.0.1", 9)) if host == "127.0.0.1" else None
disconnect(s)
assert s.getsockname() == ("0.0.0.0", port)
fails(errno.EDESTADDRREQ, s.send, b"x")

# it does not listen
fails(errno.EOPNOTSUPP, s.listen)
s.setblocking(True)
fails(errno.EOPNOTSUPP, s.accept)

# where nothing can go
fails(errno.EINVAL, s.sendto, b"x", (host, 0))
fails(errno.ENETUNREACH, s.sendto, b"x", ("192.0.2.1", 9))
fails(errno.ENETUNREACH, s.sendto, b"x", ("240.0.0.1", 9))
fails(errno.ENETUNREACH, s.connect, ("192.0.2.1", 9))
subnet = host.rsplit(".", 1)[0] + ".255"
fails(errno.EACCES, s.sendto, b"x", (subnet, 9))
fails(errno.EACCES, s.connect, (subnet, 9))

# to everybody, and so to oneself
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
listener = udp()
listener.bind(("0.0.0.0", 0))
assert s.sendto(b"all", (subnet, listener.getsockname()[1])) == 3
assert listener.recvfrom(10) == (b"all", (host, port))
