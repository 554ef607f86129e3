"""A victim: the server of a private service, or its client, as a user of its own.

Arguments: server or client, the user's number, the server's address, the client's. The client does what
it reads, a line each, and answers with a line.
"""

import encodings.idna  # while the libraries can be read
import os
import socket
import sys
import threading

PORT = 5000
SECRET = b"the secret of both"
FORGED = b"forged"

role, user, server, client = sys.argv[1:5]
os.setgroups([])
os.setresgid(int(user), int(user), int(user))
os.setresuid(int(user), int(user), int(user))
heard = []


def listen_to_datagrams(datagrams):
    while True:
        data, peer = datagrams.recvfrom(2000)
        heard.append(data)
        datagrams.sendto(data, peer)


def answer(connection):
    with connection:
        while data := connection.recv(2000):
            connection.sendall(data if data != b"heard?" else FORGED if FORGED in heard else b"-")


def serve():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((server, PORT))
    listener.listen()
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    datagrams.bind((server, PORT + 1))
    threading.Thread(target=listen_to_datagrams, args=[datagrams], daemon=True).start()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=[connection], daemon=True).start()


def connect():
    connection = socket.socket()
    connection.settimeout(30)
    connection.bind((client, 0))
    connection.connect((server, PORT))
    return connection


def exchange(connection, data):
    connection.sendall(data)
    return connection.recv(2000)


def echo():
    """When this has come back, the server has heard all that was sent before."""
    sender = socket.socket(type=socket.SOCK_DGRAM)
    sender.settimeout(30)
    sender.bind((client, 0))
    sender.sendto(b"echo", (server, PORT + 1))
    sender.recv(100)


def ask():
    kept = connect()
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    datagrams.settimeout(30)
    datagrams.bind((client, 0))
    datagrams.connect((server, PORT + 1))
    segments = kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            if line == "kept\n":
                said = exchange(kept, SECRET)
                if said != SECRET:
                    raise OSError("they hear what the other did not say")
                if kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) < segments:
                    raise OSError("their packets have become shorter")
                if exchange(datagrams, SECRET) != SECRET:
                    raise OSError("their datagrams are not theirs")
            else:
                if line == "heard\n":
                    echo()
                with connect() as fresh:
                    said = exchange(fresh, b"heard?" if line == "heard\n" else SECRET)
            print("ok", said.decode(), flush=True)
        except OSError as error:
            print("broken", error, flush=True)


serve() if role == "server" else ask()
