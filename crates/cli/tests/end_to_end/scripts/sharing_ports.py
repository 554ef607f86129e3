"""Every way in which two sockets may come to share a port, and what bind(2) and listen(2) say of the second.

Arguments: two addresses of this host. A line for each case, for the kernel's and Narrows' to be compared.
"""

import errno
import itertools
import os
import socket
import sys

OTHER_USER = 4003
FIRST_PORT = 20000

addresses = sys.argv[1:3]
ANY = "0.0.0.0"


def of(reuse, kind=socket.SOCK_STREAM):
    made = socket.socket(type=kind)
    for option in reuse:
        made.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
    return made


def said(call, *arguments):
    try:
        call(*arguments)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]


def second(kind, address, port, reuse):
    """What becomes of the second socket."""
    with of(reuse, kind) as late:
        words = [said(late.bind, (address, port))]
        if kind == socket.SOCK_STREAM and words == ["ok"]:
            words.append(said(late.listen))
    return " ".join(words)


def hold(state, address, port, reuse):
    """The first socket, brought into a state: what has to be kept of it."""
    if state == "datagrams":
        first = of(reuse, socket.SOCK_DGRAM)
        first.bind((address, port))
        return [first]
    first = of(reuse)
    first.bind((address, port))
    if state == "bound":
        return [first]
    first.listen()
    if state == "listening":
        return [first]
    there = (addresses[0] if address == ANY else address, port)
    client = socket.create_connection(there)
    server, _ = first.accept()
    first.close()
    if state == "accepted":
        return [client, server]
    # It is this end that waits.
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    client.close()
    assert server.recv(1) == b""
    server.close()
    return []


class Helper:
    """A process of a user of its own, which makes second sockets."""

    def __init__(self, user):
        questions, self.questions = os.pipe()
        self.answers, answers = os.pipe()
        if os.fork():
            os.close(questions)
            os.close(answers)
            self.questions = os.fdopen(self.questions, "w", 1)
            self.answers = os.fdopen(self.answers, "r")
            return
        os.close(self.questions)
        os.setresuid(user, user, user)
        with os.fdopen(questions) as lines, os.fdopen(answers, "w", 1) as out:
            for line in lines:
                kind, address, port, *reuse = line.split()
                print(second(int(kind), address, int(port), reuse), file=out)
        os._exit(0)

    def ask(self, kind, address, port, reuse):
        print(int(kind), address, port, *reuse, file=self.questions)
        return self.answers.readline().strip()


OPTIONS = [(), ("SO_REUSEADDR",), ("SO_REUSEPORT",), ("SO_REUSEADDR", "SO_REUSEPORT")]
PLACES = [(ANY, ANY), (ANY, addresses[0]), (addresses[0], ANY), (addresses[0],) * 2, addresses]
STATES = ["bound", "listening", "accepted", "time-wait", "datagrams"]

same, other = Helper(os.getuid()), Helper(OTHER_USER)
port = FIRST_PORT
for state, places, early, late in itertools.product(STATES, PLACES, OPTIONS, OPTIONS):
    kind = socket.SOCK_DGRAM if state == "datagrams" else socket.SOCK_STREAM
    port += 1
    held = hold(state, places[0], port, early)
    for who, helper in ("same", same), ("other", other):
        answer = helper.ask(kind, places[1], port, late)
        names = "any" if places[0] == ANY else "one", "any" if places[1] == ANY else "one"
        apart = "apart" if places == addresses else ""
        print(state, *names, apart, *early, "then", who, "user", *late, ":", answer)
    for kept in held:
        kept.close()
