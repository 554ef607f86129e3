# Every way to send and receive a datagram, on one host and to an echo server on another.
import errno, os, select, socket, struct, sys, time

host, echo = sys.argv[1], (sys.argv[2].split(":")[0], int(sys.argv[3]))

a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
assert a.getsockname() == ("0.0.0.0", 0)
fails(errno.ENOTCONN, a.getpeername)
fails(errno.EDESTADDRREQ, b.send, b"nobody")
assert b.getsockname()[1] > 0  # all the same
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.bind((host, 0))
b.bind((host, 0))
at_a, at_b = a.getsockname(), b.getsockname()

# lengths, empty datagrams among them, stay apart and in order
for length in (0, 1, 1472, 1473, 9000, 65507):
    data = os.urandom(length)
    assert a.sendto(data, at_b) == length
    assert b.recvfrom(65536) == (data, at_a), length
fails(errno.EMSGSIZE, a.sendto, bytes(65508), at_b)

# a datagram is taken whole or cut; peeking leaves it
a.sendto(b"hello", at_b)
assert b.recv(3, socket.MSG_PEEK) == b"hel"
assert b.recv_into(bytearray(3), 3, socket.MSG_PEEK | socket.MSG_TRUNC) == 5
data, _, flags, peer = b.recvmsg(3)
assert (data, flags, peer) == (b"hel", socket.MSG_TRUNC, at_a)
fails(errno.EAGAIN, b.recv, 10, socket.MSG_DONTWAIT)

# pieces in and out
assert a.sendmsg([b"one ", b"", b"two"], [], 0, at_b) == 7
first, second = bytearray(2), bytearray(10)
count, _, flags, peer = b.recvmsg_into([first, second])
assert (count, flags, peer) == (7, 0, at_a)
assert first == b"on" and second[:5] == b"e two"
a.connect(at_b)
assert os.writev(a.fileno(), [b"x" for _ in range(40)]) == 40
assert os.readv(b.fileno(), [first, second]) == 12

# connected: read, write, and only the peer
assert a.getpeername() == at_b
assert os.write(a.fileno(), b"written") == 7
assert os.read(b.fileno(), 100) == b"written"
assert os.write(a.fileno(), b"") == 0
assert b.recvfrom(10) == (b"", at_a)
stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
stranger.bind((host, 0))
fails(errno.ECONNREFUSED, lambda: stranger.connect(at_a) or [stranger.send(b"go away"), time.sleep(0.2), stranger.send(b"x")])
b.sendto(b"friend", at_a)
assert a.recv(100) == b"friend"

# how much waits
import array, fcntl, termios
waiting = array.array("i", [9])
fcntl.ioctl(a, termios.FIONREAD, waiting)
assert waiting[0] == 0
b.sendto(b"12345", at_a)
b.sendto(b"123", at_a)
select.select([a], [], [], 5)
fcntl.ioctl(a, termios.FIONREAD, waiting)
assert waiting[0] == 5, waiting
assert a.recv(100) == b"12345" and a.recv(100) == b"123"

# readiness and time
poll = select.epoll()
poll.register(a, select.EPOLLIN | select.EPOLLOUT)
assert poll.poll(0) == [(a.fileno(), select.EPOLLOUT)]
poll.modify(a, select.EPOLLIN)
b.sendto(b"", at_a)
assert poll.poll(5) == [(a.fileno(), select.EPOLLIN)]
assert a.recv(1) == b""
a.settimeout(0.05)
try:
    a.recv(1)
    raise AssertionError("a datagram from nowhere")
except TimeoutError:
    pass
a.setblocking(False)
fails(errno.EAGAIN, a.recv, 1)
a.setblocking(True)
a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50000))
fails(errno.EAGAIN, a.recv, 1)

# over the wire, fragments included
for length in (0, 100, 1472, 1473, 8000, 30000):
    data = os.urandom(length)
    b.sendto(data, echo)
    b.settimeout(10)
    assert b.recvfrom(65536) == (data, echo), length

# copies and children share it, and its port is free when the last is gone
copy = os.dup(b.fileno())
b.close()
again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fails(errno.EADDRINUSE, again.bind, at_b)
if os.fork() == 0:
    child = socket.socket(fileno=copy)
    child.sendto(b"from the child", at_a)
    os._exit(0)
os.wait()
a.settimeout(5)
assert a.recvfrom(100) == (b"from the child", at_b)
os.close(copy)
again.bind(at_b)
