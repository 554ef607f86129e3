# Bytes with the SYN (RFC 7413), as a client: how calls behave, with a server that grants no cookie.
import errno, os, select, socket, sys

server_host, server_port = sys.argv[2].split(":")
server = (server_host, int(server_port))
MSG_FASTOPEN = 0x20000000
TCP_FASTOPEN_CONNECT = 30


def echoed(s, expected):
    got = b""
    while len(got) < len(expected):
        got += s.recv(100)
    assert got == expected, got


# sendto() connects and sends
s = socket.socket()
assert s.sendto(b"hello", MSG_FASTOPEN, server) == 5
assert s.getpeername() == server
echoed(s, b"hello")
assert s.send(b"again") == 5
echoed(s, b"again")
try:
    s.sendto(b"more", MSG_FASTOPEN, server)
    raise AssertionError("connected twice")
except OSError as error:
    assert error.errno == errno.EISCONN, error
s.close()

# and so does sendmsg(), from several pieces
s = socket.socket()
assert s.sendmsg([b"one ", b"two"], [], MSG_FASTOPEN, server) == 7
echoed(s, b"one two")
s.close()

# nobody waits: without a cookie the handshake is under way, or done, and only then anything is taken
s = socket.socket()
s.setblocking(False)
try:
    taken = s.sendto(b"hello", MSG_FASTOPEN, server)
except BlockingIOError as error:
    assert error.errno == errno.EINPROGRESS, error
    taken = 0
assert select.select([], [s], [], 10)[1] == [s]
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
s.setblocking(True)
s.sendall(b"hello"[taken:])
echoed(s, b"hello")
s.close()

# nobody listens
s = socket.socket()
try:
    s.sendto(b"hello", MSG_FASTOPEN, (server_host, 9))
    raise AssertionError("connected to nobody")
except ConnectionRefusedError:
    pass
s.close()

# as an option: connect() as ever
s = socket.socket()
assert s.getsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT) == 0
s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
assert s.getsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT) == 1
s.connect(server)
s.sendall(b"hello")
echoed(s, b"hello")
s.close()

# what a sender says of its bytes changes nothing about them
s = socket.create_connection(server)
assert s.send(b"a", socket.MSG_MORE) == 1
assert s.send(b"b", socket.MSG_EOR) == 1
assert s.send(b"c") == 1
echoed(s, b"abc")
s.close()
