# What the two ends of a TCP connection on one host see of each other, a line each: the same lines
# whoever carries the bytes.
import array, errno, fcntl, hashlib, os, select, socket, struct, sys, termios, threading, time

host = sys.argv[1]
LINGER_0 = struct.pack("ii", 1, 0)
RDHUP = 0x2000


def say(what, *values):
    print(what, *values, flush=True)


def connection():
    listener = socket.create_server((host, 0))
    client = socket.create_connection(listener.getsockname())
    server, peer = listener.accept()
    assert peer == client.getsockname()
    listener.close()
    return client, server


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def read_all(s):
    """Everything up to the end, and how it ended."""
    data = b""
    while True:
        part = outcome(s.recv, 65536)
        if not part or isinstance(part, str):
            return data, part
        data += part


def eventually(value, wanted):
    deadline = time.monotonic() + 30
    while (found := value()) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def polled(s, events=select.POLLIN | select.POLLOUT | RDHUP):
    poll = select.poll()
    poll.register(s, events)
    found = dict(poll.poll(0)).get(s.fileno(), 0)
    names = {1: "IN", 4: "OUT", 8: "ERR", 16: "HUP", RDHUP: "RDHUP"}
    return "|".join(name for bit, name in names.items() if found & bit)


def tcp_state(s):
    return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


# names and options
client, server = connection()
say("names", client.getsockname() == server.getpeername(), client.getpeername() == server.getsockname())
say("family", client.family == socket.AF_INET, client.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
say("states", tcp_state(client), tcp_state(server))
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
say("options", client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
    server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
say("again", outcome(client.connect, server.getsockname()))
say("rebind", outcome(client.bind, (host, 0)))
say("listen", outcome(server.listen))

# bytes, looking ahead, how many wait, timeouts
say("idle", polled(client), polled(server))
client.sendall(b"one two")
say("ready", eventually(lambda: polled(server), "IN|OUT"))
say("peek", server.recv(3, socket.MSG_PEEK), server.recv(7, socket.MSG_WAITALL))
client.sendall(b"12345")
eventually(lambda: polled(server), "IN|OUT")
waiting = array.array("i", [0])
fcntl.ioctl(server, termios.FIONREAD, waiting)
say("waiting", waiting[0], server.recv(10))
say("nothing", outcome(server.recv, 1, socket.MSG_DONTWAIT))
server.settimeout(0.01)
try:
    say("timeout", server.recv(1))
except TimeoutError:
    say("timeout")
server.settimeout(None)

# each direction ends by itself
client.shutdown(socket.SHUT_WR)
say("half", server.recv(1), eventually(lambda: polled(server), "IN|OUT|RDHUP"))
say("states", eventually(lambda: tcp_state(server), 8), eventually(lambda: tcp_state(client), 5))
say("still", server.send(b"still"), client.recv(10), outcome(client.send, b"x"))
server.close()
say("over", read_all(client), eventually(lambda: polled(client), "IN|OUT|HUP|RDHUP"))
say("error", client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
client.close()

# writing to who has closed
client, server = connection()
server.close()
say("closed", client.recv(1))


def write_until_it_fails():
    while True:
        failure = outcome(client.send, b"x")
        if isinstance(failure, str):
            return failure
        time.sleep(0.01)


say("broken", write_until_it_fails())
client.close()

# resets, and bytes before them
client, server = connection()
client.sendall(b"never read")
eventually(lambda: polled(server), "IN|OUT")
server.close()
say("unread", read_all(client), outcome(client.recv, 1))
client.close()
client, server = connection()
server.sendall(b"last words")
server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
eventually(lambda: polled(client), "IN|OUT")
server.close()
say("linger", read_all(client), outcome(client.recv, 1))
client.close()

# shut down both ways
client, server = connection()
client.shutdown(socket.SHUT_RDWR)
say("both", read_all(server), outcome(client.send, b"x"))
server.shutdown(socket.SHUT_RDWR)
say("hung up", eventually(lambda: polled(server), "IN|OUT|HUP|RDHUP"), read_all(server))
client.close()
server.close()

# before the accept
listener = socket.create_server((host, 0))
client = socket.create_connection(listener.getsockname())
client.sendall(b"early")
client.close()
server, _ = listener.accept()
say("early", read_all(server))
server.close()
clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
clients[1].sendall(b"unread")
server, _ = listener.accept()
address = listener.getsockname()
listener.close()
say("never accepted", *[read_all(client) for client in clients[1:]])
say("accepted", clients[0].send(b"x"), server.recv(1))
server.close()
say("accepted", read_all(clients[0]))
say("refused", outcome(socket.create_connection, address))

# accepted by a child, and used by both
listener = socket.create_server((host, 0))
child = os.fork()
if child == 0:
    server, _ = listener.accept()
    server.sendall(server.recv(100).upper())
    os._exit(0)
client = socket.create_connection(listener.getsockname())
client.sendall(b"to the child")
say("child", read_all(client), os.waitpid(child, 0)[1])
client.close()

# a descriptor passed on keeps the connection
client, server = connection()
left, right = socket.socketpair()
socket.send_fds(left, [b"x"], [server.fileno()])
server.close()
client.sendall(b"passed")
_, [number], _, _ = socket.recv_fds(right, 1, 1)
server = socket.socket(fileno=number)
say("passed", server.recv(100), server.getpeername() == client.getsockname())
server.close()
say("passed", read_all(client))

# much, both ways at once
client, server = connection()
text = bytes(range(256)) * (1 << 15)


def send(s):
    s.sendall(text)
    s.shutdown(socket.SHUT_WR)


threads = [threading.Thread(target=send, args=[s]) for s in (client, server)]
results = {}


def receive(name, s):
    results[name] = hashlib.sha256(read_all(s)[0]).hexdigest()


threads += [threading.Thread(target=receive, args=each) for each in (("c", client), ("s", server))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
say("much", results["c"], results["s"])
