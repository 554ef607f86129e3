# Addresses, ports in use, and the families that are not Narrows' business.
import errno, os, socket, sys

host = sys.argv[1]
first = socket.socket()
first.bind((host, 0))
assert first.getsockname()[0] == host and first.getsockname()[1] > 0
first.listen()
second = socket.socket()
try:
    second.bind(first.getsockname())
    raise AssertionError("one port, two listeners")
except OSError as error:
    assert error.errno == errno.EADDRINUSE, error
try:
    second.bind(("192.0.2.99", 0))
    raise AssertionError("bound to another machine's address")
except OSError as error:
    assert error.errno == errno.EADDRNOTAVAIL, error
try:
    second.connect(("192.0.2.99", 1))
    raise AssertionError("connected without a route")
except OSError as error:
    assert error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH), error
second.close()

# any address, and loopback
anywhere = socket.socket()
anywhere.bind(("0.0.0.0", 0))
anywhere.listen()
port = anywhere.getsockname()[1]
for name in ("127.0.0.1", host):
    client = socket.create_connection((name, port))
    server, peer = anywhere.accept()
    assert server.getsockname() == (name, port) and peer == client.getsockname()
    client.close()
    server.close()

# Unix sockets stay the kernel's
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
left.send(b"x")
assert right.recv(1) == b"x"
left.close()
right.close()

# a listener that is closed refuses, and its port can be had again
address = first.getsockname()
first.close()
try:
    socket.create_connection(address)
    raise AssertionError("a closed listener took a connection")
except ConnectionRefusedError:
    pass
again = socket.create_server(address)
again.close()
