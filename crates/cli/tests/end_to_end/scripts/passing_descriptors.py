# A connection handed to another process over a Unix socket, as SCM_RIGHTS.
import os, socket, sys

host = sys.argv[1]
listener = socket.create_server((host, 0))
left, right = socket.socketpair()
pid = os.fork()
if pid == 0:
    left.close()
    listener.close()
    _, descriptors, _, _ = socket.recv_fds(right, 1, 1)
    connection = socket.socket(fileno=descriptors[0])
    assert connection.family == socket.AF_INET, connection
    connection.sendall(b"%s:%d" % (connection.getpeername()[0].encode(), connection.getpeername()[1]))
    connection.close()
    os._exit(0)
right.close()
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
socket.send_fds(left, [b"x"], [server.fileno()])
server.close()
data = b""
while part := client.recv(100):
    data += part
assert data == b"%s:%d" % (client.getsockname()[0].encode(), client.getsockname()[1]), data
_, status = os.waitpid(pid, 0)
assert status == 0, status
