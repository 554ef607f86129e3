# Opens and closes connections on one host, each closed first by another end. Arguments: the address,
# a port, how many.
import socket, sys

listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=128)
for number in range(int(sys.argv[3])):
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.send(b"x")
    assert server.recv(1) == b"x"
    first, second = (client, server) if number % 2 else (server, client)
    first.close()
    second.close()
