# What becomes of datagrams that nobody takes: ECONNREFUSED for who is connected, the error queue
# for who asks for it, silence for others.
import errno, select, socket, struct, sys

host, peer = sys.argv[1], sys.argv[2].split(":")[0]
IP, IP_MTU_DISCOVER, IP_RECVERR = socket.IPPROTO_IP, 10, 11
IP_RECVTTL, IP_RECVTOS = 12, 13


def readable(s, seconds=5):
    # readable, or in error: either wakes who polls
    poll = select.poll()
    poll.register(s, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def udp():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


for target in (peer, host):
    # told by the next call, whichever that is, and once
    calls = [
        lambda: s.send(b"again"),
        lambda: s.recv(10),
        lambda: s.recv(10, socket.MSG_PEEK),
        lambda: s.sendmsg([b"again"]),
    ]
    # a kernel sends another host but six errors in a row
    for call in calls if target == host else calls[:2]:
        s = udp()
        s.connect((target, 9))
        assert s.send(b"hello") == 5
        assert readable(s)
        fails(errno.ECONNREFUSED, call)
        fails(errno.EAGAIN, s.recv, 10, socket.MSG_DONTWAIT)
    if target == host:
        assert s.send(b"hello") == 5
        assert readable(s)
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert not readable(s, 0)

    # without a peer, nothing
    s = udp()
    s.sendto(b"hello", (target, 9))
    assert not readable(s, 0.2)

    # the queue: what, by whom, about what
    s.setsockopt(IP, IP_RECVERR, 1)
    s.sendto(b"hello", (target, 9))
    assert readable(s)
    data, control, flags, destination = s.recvmsg(100, 512, socket.MSG_ERRQUEUE)
    assert (data, destination, flags) == (b"hello", (target, 9), socket.MSG_ERRQUEUE)
    [(level, kind, bytes_)] = control
    number, origin, icmp_type, code, _, info, data = struct.unpack("IBBBBII", bytes_[:16])
    assert (level, kind) == (IP, IP_RECVERR)
    assert (number, origin, icmp_type, code, info) == (errno.ECONNREFUSED, 2, 3, 3, 0)
    family, port, address = struct.unpack("HH4s", bytes_[16:24])
    assert (family, port, address) == (socket.AF_INET, 0, socket.inet_aton(target))
    # with it goes the pending error
    fails(errno.EAGAIN, s.recv, 10, socket.MSG_DONTWAIT)
    # and of the packet that brought it, what is asked for with datagrams (tracepath's way back)
    if target == host:
        s.setsockopt(IP, IP_RECVTTL, 1)
        s.setsockopt(IP, IP_RECVTOS, 1)
        s.sendto(b"hello", (target, 9))
        assert readable(s)
        _, control, _, _ = s.recvmsg(100, 512, socket.MSG_ERRQUEUE)
        assert control[0] == (IP, socket.IP_TTL, struct.pack("i", 64)), control
        assert control[1] == (IP, socket.IP_TOS, b"\xc0"), control
        assert [each[:2] for each in control[2:]] == [(IP, IP_RECVERR)], control
    fails(errno.EAGAIN, s.recvmsg, 100, 512, socket.MSG_ERRQUEUE)
    assert not readable(s, 0)
    # taken the other way, the queue keeps its entry
    s.sendto(b"hello", (target, 9))
    assert readable(s)
    fails(errno.ECONNREFUSED, s.recv, 10)
    assert s.recvmsg(2, 512, socket.MSG_ERRQUEUE)[::2] == (
        b"he", socket.MSG_ERRQUEUE | socket.MSG_TRUNC)

# longer than the path, where it must not be fragmented
s = udp()
s.setsockopt(IP, IP_MTU_DISCOVER, 2)
s.setsockopt(IP, IP_RECVERR, 1)
assert s.sendto(bytes(1472), (peer, 9)) == 1472
fails(errno.EMSGSIZE, s.sendto, bytes(1473), (peer, 9))
origins = []
while readable(s, 0.3):
    try:
        control = s.recvmsg(2000, 512, socket.MSG_ERRQUEUE)[1]
    except BlockingIOError:
        break
    number, origin, *_, info, _ = struct.unpack("IBBBBII", control[0][2][:16])
    origins.append((origin, number, info))
assert (1, errno.EMSGSIZE, 1500) in origins, origins
