# connect() that does not wait: writable when done, the error in SO_ERROR when not.
import errno, os, select, socket, sys, time

host = sys.argv[1]
server_host, server_port = sys.argv[2].split(":")


def start(address):
    s = socket.socket()
    s.setblocking(False)
    error = s.connect_ex(address)
    assert error in (0, errno.EINPROGRESS), os.strerror(error)
    return s


s = start((server_host, int(server_port)))
assert select.select([], [s], [], 10)[1] == [s]
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
assert s.getpeername() == (server_host, int(server_port))
# Linux may say once more that it is done.
assert s.connect_ex((server_host, int(server_port))) in (0, errno.EISCONN)
assert s.connect_ex((server_host, int(server_port))) == errno.EISCONN
s.setblocking(True)
s.sendall(b"hello")
assert s.recv(5) == b"hello"
s.close()

# nobody listens there
for target in ((server_host, 9), (host, 9)):
    s = start(target)
    poll = select.poll()
    poll.register(s, select.POLLOUT)
    events = poll.poll(10000)
    assert events and events[0][1] & (select.POLLERR | select.POLLHUP), (target, events)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0  # told once
    s.close()
    try:
        socket.create_connection(target)
        raise AssertionError("connected to nobody")
    except ConnectionRefusedError:
        pass

# not connected
s = socket.socket()
try:
    s.getpeername()
    raise AssertionError("a peer from nowhere")
except OSError as error:
    assert error.errno == errno.ENOTCONN, error
s.close()

# a time limit on a connect() to a machine that is not there
network = server_host.rsplit(".", 1)[0]
s = socket.socket()
s.settimeout(0.3)
began = time.monotonic()
try:
    s.connect((network + ".200", 1))
    raise AssertionError("connected to nobody")
except (TimeoutError, OSError) as error:
    assert time.monotonic() - began < 5, error
