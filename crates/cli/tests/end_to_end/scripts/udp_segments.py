# Many datagrams in one call (UDP_SEGMENT), and in one when they arrive (UDP_GRO).
import errno, socket, struct, sys

host, echo = sys.argv[1], (sys.argv[2].split(":")[0], int(sys.argv[3]))
UDP, UDP_SEGMENT, UDP_GRO = socket.IPPROTO_UDP, 103, 104


def new():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    return s


# what arrives in one call: the bytes, and of each piece if there are several
def take(s):
    data, told, flags, _ = s.recvmsg(65536, 512)
    assert flags == 0, flags
    sizes = [struct.unpack("i", value)[0] for level, kind, value in told
             if (level, kind) == (UDP, UDP_GRO)]
    return data, sizes


data = bytes(index // 7 % 256 for index in range(65000))
a, b = new(), new()
b.bind((host, 0))
at_b = b.getsockname()
assert b.getsockopt(UDP, UDP_GRO) == 0
b.setsockopt(UDP, UDP_GRO, 1)
assert b.getsockopt(UDP, UDP_GRO) == 1

# on one host a large send is a large datagram, for who wants it
segments = lambda size: [(UDP, UDP_SEGMENT, struct.pack("H", size))]
a.sendmsg([data[:2500]], segments(1000), 0, at_b)
assert take(b) == (data[:2500], [1000])
a.sendmsg([data[:64000]], segments(1000), 0, at_b)
assert take(b) == (data[:64000], [1000])
a.sendto(b"alone", at_b)
assert take(b) == (b"alone", [])
a.sendmsg([data[:900]], segments(1000), 0, at_b)
assert take(b) == (data[:900], [])
b.setsockopt(UDP, UDP_GRO, 0)
a.sendmsg([data[:2500]], segments(1000), 0, at_b)
assert [take(b) for _ in range(3)] == [(data[:1000], []), (data[1000:2000], []), (data[2000:2500], [])]

# over the wire: the other end gets datagrams and sends them back one by one
for gro in (0, 1):
    s = new()
    s.setsockopt(UDP, UDP_GRO, gro)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    s.connect(echo)
    for size, length in ((1472, 14720), (1000, 40500), (7, 300), (1, 128)):
        s.setsockopt(UDP, UDP_SEGMENT, size)
        assert s.send(data[:length]) == length
        got = b""
        while len(got) < length:
            piece, sizes = take(s)
            assert len(piece) <= size or gro and sizes == [size], (len(piece), sizes)
            assert len(piece) > size or sizes == [], (len(piece), sizes)
            got += piece
        assert got == data[:length], (size, length)

# what can't be sent so
s = new()
s.connect(echo)
s.setsockopt(UDP, UDP_SEGMENT, 1473)
fails(errno.EMSGSIZE, s.send, data[:3000])
s.setsockopt(UDP, UDP_SEGMENT, 1)
fails(errno.EINVAL, s.send, data[:129])
s.setsockopt(UDP, UDP_SEGMENT, 1000)
fails(errno.EMSGSIZE, s.send, bytes(65508))
s.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
fails(errno.EINVAL, s.send, data[:3000])
for value in (-1, 65536):
    fails(errno.EINVAL, s.setsockopt, UDP, UDP_SEGMENT, value)
