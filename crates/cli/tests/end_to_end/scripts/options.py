# Options are taken, kept and given back; an unknown one is ENOPROTOOPT.
import errno, socket, struct, sys

host = sys.argv[1]
s = socket.socket()
SOL, TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP
for level, option, value in [
    (SOL, socket.SO_REUSEADDR, 1),
    (SOL, socket.SO_KEEPALIVE, 1),
    (TCP, socket.TCP_NODELAY, 1),
    (TCP, socket.TCP_KEEPIDLE, 11),
    (TCP, socket.TCP_KEEPINTVL, 12),
    (TCP, socket.TCP_KEEPCNT, 3),
    (TCP, socket.TCP_USER_TIMEOUT, 9000),
]:
    s.setsockopt(level, option, value)
    assert s.getsockopt(level, option) == value, (level, option, s.getsockopt(level, option))
s.setsockopt(SOL, socket.SO_LINGER, struct.pack("ii", 1, 7))
assert struct.unpack("ii", s.getsockopt(SOL, socket.SO_LINGER, 8)) == (1, 7)
s.setsockopt(SOL, socket.SO_LINGER, struct.pack("ii", 0, 0))
for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
    s.setsockopt(SOL, buffer, 65536)
    assert s.getsockopt(SOL, buffer) >= 65536
for name in (b"cubic", b"reno", b"dctcp", b"bbr"):
    try:
        s.setsockopt(TCP, socket.TCP_CONGESTION, name)
    except (PermissionError, FileNotFoundError):
        continue  # a kernel may not have it, or not allow it here
    assert s.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == name
try:
    s.setsockopt(TCP, socket.TCP_CONGESTION, b"nobody's")
    raise AssertionError("an algorithm that does not exist")
except FileNotFoundError:
    pass
PACING = 47  # SO_MAX_PACING_RATE
s.setsockopt(SOL, PACING, 50_000_000)
assert s.getsockopt(SOL, PACING) == 50_000_000
assert s.getsockopt(SOL, socket.SO_TYPE) == socket.SOCK_STREAM
assert s.getsockopt(SOL, socket.SO_DOMAIN) == socket.AF_INET
assert s.getsockopt(SOL, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
assert s.getsockopt(SOL, socket.SO_ACCEPTCONN) == 0
assert s.getsockopt(SOL, socket.SO_ERROR) == 0
try:
    s.setsockopt(TCP, 999, 1)
    raise AssertionError("an option that does not exist")
except OSError as error:
    assert error.errno == errno.ENOPROTOOPT, error

s.bind((host, 0))
s.listen(5)
assert s.getsockopt(SOL, socket.SO_ACCEPTCONN) == 1
client = socket.create_connection(s.getsockname())
server, _ = s.accept()
assert server.getsockopt(TCP, socket.TCP_NODELAY) == 1  # inherited
client.sendall(b"x" * 1000)
assert len(server.recv(1000, socket.MSG_WAITALL)) == 1000
assert client.getsockopt(TCP, socket.TCP_MAXSEG) >= 500
info = client.getsockopt(TCP, socket.TCP_INFO, 192)
assert info[0] == 1, info[0]  # TCP_ESTABLISHED
server.settimeout(0.05)
try:
    server.recv(1)
    raise AssertionError("bytes from nowhere")
except TimeoutError:
    pass
server.setblocking(True)
server.setsockopt(SOL, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50000))
try:
    server.recv(1)
    raise AssertionError("bytes from nowhere")
except BlockingIOError:
    pass

# SO_LINGER with zero: a reset
client.setsockopt(SOL, socket.SO_LINGER, struct.pack("ii", 1, 0))
client.close()
server.settimeout(5)
try:
    server.recv(1)
    raise AssertionError("a reset looks like an end of file")
except ConnectionResetError:
    pass
