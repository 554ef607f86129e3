# Descriptors that are duplicated, inherited and go through exec are the same socket.
import os, socket, subprocess, sys

host = sys.argv[1]
listener = socket.create_server((host, 0))
left = socket.create_connection(listener.getsockname())
right, peer = listener.accept()
assert peer == left.getsockname(), (peer, left.getsockname())

# dup and dup2
copy = socket.socket(fileno=os.dup(left.fileno()))
assert copy.getpeername() == listener.getsockname()
left.close()
copy.sendall(b"through a copy")
assert right.recv(100) == b"through a copy"
os.set_inheritable(copy.fileno(), True)

# exec: the child finds a socket by its number, and names it
program = """
import socket, sys
s = socket.socket(fileno=int(sys.argv[1]))
assert s.family == socket.AF_INET and s.type == socket.SOCK_STREAM, s
assert "%s:%d" % s.getpeername() == sys.argv[2], s.getpeername()
s.sendall(b"from " + s.recv(100))
"""
right.sendall(b"exec")
subprocess.run(
    [sys.executable, "-c", program, str(copy.fileno()), "%s:%d" % copy.getpeername()],
    pass_fds=[copy.fileno()],
    check=True,
)
assert right.recv(100) == b"from exec"

# as standard input and output, as inetd does it
cat = subprocess.Popen(["cat"], stdin=copy, stdout=copy)
copy.close()
right.sendall(b"to cat and back")
assert right.recv(100) == b"to cat and back"
right.shutdown(socket.SHUT_WR)
assert cat.wait() == 0
assert right.recv(100) == b""

# close-on-exec is set as Python asks for, and not otherwise
plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
assert not plain.get_inheritable()
plain.set_inheritable(True)
assert os.get_inheritable(plain.fileno())
