# One epoll with sockets of every kind in it: ready exactly when the kernel's would be.
import os, select, socket, sys

host = sys.argv[1]
epoll = select.epoll()
listener = socket.create_server((host, 0))
listener.setblocking(False)
pipe_out, pipe_in = os.pipe()
unix_left, unix_right = socket.socketpair()
for readable in (listener.fileno(), pipe_out, unix_left.fileno()):
    epoll.register(readable, select.EPOLLIN)

assert epoll.poll(0) == []
os.write(pipe_in, b"x")
unix_right.send(b"x")
assert dict(epoll.poll(1)) == {pipe_out: select.EPOLLIN, unix_left.fileno(): select.EPOLLIN}
os.read(pipe_out, 1)
unix_left.recv(1)
assert epoll.poll(0) == []

client = socket.create_connection(listener.getsockname())
assert epoll.poll(5) == [(listener.fileno(), select.EPOLLIN)]
server, _ = listener.accept()
server.setblocking(False)
assert epoll.poll(0) == []
try:
    listener.accept()
    raise AssertionError("a second connection")
except BlockingIOError:
    pass

epoll.register(server.fileno(), select.EPOLLIN | select.EPOLLET)
try:
    server.recv(1)
    raise AssertionError("bytes from nowhere")
except BlockingIOError:
    pass
client.sendall(b"one")
assert epoll.poll(5) == [(server.fileno(), select.EPOLLIN)]
assert epoll.poll(0) == []  # edge-triggered: once
client.sendall(b"two")
assert epoll.poll(5) == [(server.fileno(), select.EPOLLIN)]
assert server.recv(3, socket.MSG_PEEK) == b"one"
data = b""
while len(data) < 6:
    data += server.recv(100)
assert data == b"onetwo", data

# full: not writable until the other side has read
epoll.modify(server.fileno(), select.EPOLLOUT)
assert epoll.poll(5) == [(server.fileno(), select.EPOLLOUT)]
sent = 0
while True:
    try:
        sent += server.send(bytes(1 << 16))
    except BlockingIOError:
        if not select.select([], [server], [], 0.2)[1]:
            break
assert sent > 0
received = 0
client.settimeout(10)
while received < sent:
    received += len(client.recv(1 << 20))
assert epoll.poll(5) == [(server.fileno(), select.EPOLLOUT)]

# the end, by poll(2) and select(2)
client.close()
poll = select.poll()
poll.register(server, select.POLLIN)
assert poll.poll(5000)[0][1] & select.POLLIN
assert select.select([server], [], [], 5)[0] == [server]
assert server.recv(1) == b""
