# shutdown() ends one direction and leaves the other.
import socket, sys, threading

host = sys.argv[1]
listener = socket.create_server((host, 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()

client.sendall(b"question")
client.shutdown(socket.SHUT_WR)
data = b""
while part := server.recv(100):
    data += part
assert data == b"question", data
answer = bytes(range(256)) * 4096 * 4  # more than any buffer


def reply():
    server.sendall(answer)
    server.close()


thread = threading.Thread(target=reply)
thread.start()
data = b""
while part := client.recv(1 << 16):
    data += part
thread.join()
assert data == answer, len(data)
try:
    client.send(b"more")
    raise AssertionError("sent after shutdown")
except BrokenPipeError:
    pass
client.close()

# closed with bytes unread: the other side gets a reset, not an end of file
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
client.sendall(b"never read")
server.recv(1)
server.close()
try:
    assert client.recv(1) != b"", "a reset looks like an end of file"
except ConnectionResetError:
    pass
client.close()

# files: makefile(), sendfile()
import os, tempfile

client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
with tempfile.TemporaryFile() as file:
    file.write(b"line one\nline two\n")
    file.seek(0)
    assert server.sendfile(file) == 18
server.close()
assert client.makefile("rb").readlines() == [b"line one\n", b"line two\n"]
