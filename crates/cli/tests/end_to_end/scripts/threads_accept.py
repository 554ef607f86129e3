# Many threads in accept(), in recv() and in send() on the same sockets.
import socket, sys, threading

host = sys.argv[1]
THREADS, CONNECTIONS = 8, 80
listener = socket.create_server((host, 0), backlog=128)
address = listener.getsockname()
served = []


def serve():
    while True:
        connection, peer = listener.accept()
        with connection:
            request = connection.recv(100)
            if request == b"end":
                return
            served.append(peer)
            connection.sendall(request[::-1])


threads = [threading.Thread(target=serve) for _ in range(THREADS)]
for thread in threads:
    thread.start()
names = []
failures = []


def ask(number):
    try:
        with socket.create_connection(address) as connection:
            names.append(connection.getsockname())
            connection.sendall(b"%06d" % number)
            assert connection.recv(100) == (b"%06d" % number)[::-1]
    except Exception as error:
        failures.append(error)


clients = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
for client in clients:
    client.start()
for client in clients:
    client.join()
for _ in threads:
    with socket.create_connection(address) as connection:
        connection.sendall(b"end")
for thread in threads:
    thread.join()
assert not failures, failures
assert sorted(served) == sorted(names)

# both directions at once over one socket
client = socket.create_connection(address)
server, _ = listener.accept()
AMOUNT = 8 << 20


def send(sock, byte):
    sock.sendall(byte * AMOUNT)
    sock.shutdown(socket.SHUT_WR)


senders = [
    threading.Thread(target=send, args=(client, b"c")),
    threading.Thread(target=send, args=(server, b"s")),
]
results = {}


def receive(sock, byte):
    count = 0
    while part := sock.recv(1 << 16):
        assert part == byte * len(part)
        count += len(part)
    results[byte] = count


receivers = [
    threading.Thread(target=receive, args=(client, b"s")),
    threading.Thread(target=receive, args=(server, b"c")),
]
for thread in senders + receivers:
    thread.start()
for thread in senders + receivers:
    thread.join()
assert results == {b"c": AMOUNT, b"s": AMOUNT}, results
