# A listener shared by forked workers: each connection goes to exactly one of them.
import os, socket, sys

host = sys.argv[1]
WORKERS, CONNECTIONS = 4, 40
listener = socket.create_server((host, 0), backlog=64)
address = listener.getsockname()
workers = []
for _ in range(WORKERS):
    pid = os.fork()
    if pid == 0:
        while True:
            connection, _ = listener.accept()
            with connection:
                request = connection.recv(100)
                if request == b"end":
                    os._exit(0)
                connection.sendall(request + b" by %d" % os.getpid())
    workers.append(pid)

by = set()
for number in range(CONNECTIONS):
    with socket.create_connection(address) as connection:
        connection.sendall(b"%d" % number)
        reply = b""
        while part := connection.recv(100):
            reply += part
        request, _, pid = reply.partition(b" by ")
        assert request == b"%d" % number, reply
        assert int(pid) in workers
        by.add(int(pid))
for _ in workers:
    with socket.create_connection(address) as connection:
        connection.sendall(b"end")
for pid in workers:
    _, status = os.waitpid(pid, 0)
    assert status == 0, status

# A connection made before the fork belongs to both; it ends when the last one closes it.
left = socket.create_connection(address)
right, _ = listener.accept()
pid = os.fork()
if pid == 0:
    right.close()
    left.sendall(b"from the child")
    os._exit(0)
left.close()
os.waitpid(pid, 0)
data = b""
while part := right.recv(100):
    data += part
assert data == b"from the child", data
