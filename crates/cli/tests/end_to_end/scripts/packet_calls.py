# Packet sockets: who hears what, filters, groups, and frames that programs send.
import ctypes, errno, fcntl, select, socket, struct, sys, time

own, peer = sys.argv[1], sys.argv[2].split(":")[0]
libc = ctypes.CDLL(None, use_errno=True)
ALL, IP, ARP = 3, 0x0800, 0x0806
SOL_PACKET, ADD, DROP, STATISTICS, AUXDATA, FANOUT, IGNORE_OUTGOING = 263, 1, 2, 6, 8, 18, 23
HOST, BROADCAST, OUTGOING = 0, 1, 4
SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_TIMESTAMPNS = 26, 27, 35


def find():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for index, name in socket.if_nameindex():
        try:
            found = fcntl.ioctl(s, 0x8915, struct.pack("16s24x", name.encode()))
        except OSError:
            continue
        if socket.inet_ntoa(found[20:24]) == own:
            return index, name, fcntl.ioctl(s, 0x8927, struct.pack("16s24x", name.encode()))[18:24]


index, name, mac = find()


def packet(kind, protocol, device=name):
    s = socket.socket(socket.AF_PACKET, kind, socket.htons(protocol))
    if device:
        s.bind((device, protocol))
    s.settimeout(5)
    return s

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((own, 0))
udp.connect((peer, 9))


def speak(text):
    try:
        udp.send(text)
    except ConnectionRefusedError:
        speak(text)


def heard(s, wanted):
    """The first frame that has this in it."""
    while True:
        frame, address = s.recvfrom(65536)
        if wanted in frame:
            return frame, address


def silent(s, unwanted):
    s.setblocking(False)
    try:
        while True:
            frame = s.recv(65536)
            assert unwanted not in frame, frame
    except BlockingIOError:
        s.settimeout(5)


# once each way, so that what follows finds the neighbor
everything = packet(socket.SOCK_RAW, ALL)
assert everything.getsockname() == (name, ALL, 0, 1, mac), everything.getsockname()
speak(b"first words")
frame, address = heard(everything, b"first words")
assert address[:4] == (name, IP, OUTGOING, 1) and address[4] == mac, address
assert frame[6:12] == mac and frame[12:14] == b"\x08\x00" and frame[14] == 0x45
peer_mac = frame[:6]
# and the answer: nobody is there
_, address = heard(everything, frame[14:42])
assert address[:3] == (name, IP, HOST) and address[4] == peer_mac, address

# without link headers, and only one protocol: not what is sent
cooked = packet(socket.SOCK_DGRAM, ALL)
only_ip = packet(socket.SOCK_RAW, IP)
no_outgoing = packet(socket.SOCK_RAW, ALL)
no_outgoing.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
speak(b"second words")
frame, address = heard(cooked, b"second words")
assert frame[0] == 0x45 and address[:3] == (name, IP, OUTGOING), (frame, address)
heard(everything, b"second words")
reply, address = heard(only_ip, b"\x45")
assert address[2] == HOST and reply[:6] == mac, address
silent(no_outgoing, b"second words\0")

# lengths
speak(b"third words")
while True:
    length = everything.recv_into(bytearray(4), 4, socket.MSG_PEEK | socket.MSG_TRUNC)
    frame = everything.recv(65536)
    assert length == len(frame)
    if b"third words" in frame:
        break

# a filter: only what is longer than 200 bytes, and of that 60
def program(*instructions):
    code = b"".join(struct.pack("HBBI", *each) for each in instructions)
    room = ctypes.create_string_buffer(code)
    return room, struct.pack("HL", len(instructions), ctypes.addressof(room))


room, long_ones = program((0x80, 0, 0, 0), (0x25, 0, 1, 200), (0x06, 0, 0, 60), (0x06, 0, 0, 0))
filtered = packet(socket.SOCK_RAW, ALL)
filtered.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, long_ones)
silent(filtered, b"nothing yet")
filtered.getsockopt(SOL_PACKET, STATISTICS, 8)
speak(b"short")
speak(b"long" * 100)
frame = filtered.recv(65536)
assert len(frame) == 60 and b"longlong" in frame, frame
seen, lost = struct.unpack("II", filtered.getsockopt(SOL_PACKET, STATISTICS, 8))
assert seen >= 1 and lost == 0, (seen, lost)
filtered.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
speak(b"short again")
heard(filtered, b"short again")
for bad in [program((0x05, 0, 0, 7), (0x06, 0, 0, 0)), program((0x04, 0, 0, 1))]:
    fails(errno.EINVAL, filtered.setsockopt, socket.SOL_SOCKET, SO_ATTACH_FILTER, bad[1])

# what comes with a frame
everything.setsockopt(SOL_PACKET, AUXDATA, 1)
everything.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
speak(b"fourth words")
while True:
    frame, control, flags, address = everything.recvmsg(65536, 200)
    if b"fourth words" in frame and control:
        break
kinds = {(level, kind): data for level, kind, data in control}
assert len(kinds[socket.SOL_SOCKET, SO_TIMESTAMPNS]) == 16
status, length, snapped, at, network, tag, protocol = struct.unpack("IIIHHHH", kinds[SOL_PACKET, AUXDATA])
assert status & 1 and (length, snapped, network) == (len(frame), len(frame), 14), kinds

# when the last one came, which nothing has to ask for beforehand
for request, scale in [(0x8906, 1000), (0x8907, 1)]:
    seconds, part = struct.unpack("qq", fcntl.ioctl(everything, request, bytes(16)))
    assert abs(seconds + part * scale / 1e9 - time.time()) < 60, (seconds, part)
fails(errno.ENOENT, fcntl.ioctl, packet(socket.SOCK_RAW, 0x88B6), 0x8906, bytes(16))

# promiscuous, and groups of stations
for kind, part in [(1, b""), (2, b""), (0, bytes([1, 0, 0x5E, 0, 0, 77]))]:
    member = struct.pack("iHH8s", index, kind, len(part), part)
    everything.setsockopt(SOL_PACKET, ADD, member)
    everything.setsockopt(SOL_PACKET, DROP, member)
fails(errno.ENODEV, everything.setsockopt, SOL_PACKET, ADD, struct.pack("iHH8s", 9999, 1, 0, b""))
fails(errno.ENODEV, everything.bind, ("nowhere0", ALL))

# an ARP question of the program's own is answered
arp = packet(socket.SOCK_RAW, ARP)
question = struct.pack("!HHBBH6s4s6s4s", 1, IP, 6, 4, 1, mac, socket.inet_aton(own), b"", socket.inet_aton(peer))
assert arp.send(b"\xff" * 6 + mac + b"\x08\x06" + question) == 42
answer, address = heard(arp, mac + socket.inet_aton(own))
assert answer[20:22] == b"\0\2" and answer[22:28] == peer_mac and address[2] == HOST, answer
cooked_arp = packet(socket.SOCK_DGRAM, ARP)
assert cooked_arp.sendto(question, (name, ARP, 0, 0, b"\xff" * 6)) == 28
heard(cooked_arp, mac + socket.inet_aton(own))
# nobody hears of his own frames, and others do
silent(arp, question)
fails(errno.EINVAL, arp.send, b"short")
fails(errno.EMSGSIZE, arp.send, b"\xff" * 6 + mac + b"\x08\x06" + bytes(70_000 if name == "lo" else 9_500))

# groups: each frame is one member's
members = [packet(socket.SOCK_RAW, ALL) for _ in range(2)]
for member in members:
    member.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 0)
    member.setsockopt(SOL_PACKET, FANOUT, 77 | 1 << 16)
fails(errno.EINVAL, packet(socket.SOCK_RAW, ALL).setsockopt, SOL_PACKET, FANOUT, 77 | 2 << 16)
for turn in range(6):
    speak(b"turn %d." % turn)
    heard(everything, b"turn %d." % turn)
shares = []
for member in members:
    member.setblocking(False)
    mine = []
    try:
        while True:
            frame, address = member.recvfrom(65536)
            mine += [turn for turn in range(6) if address[2] == OUTGOING and b"turn %d." % turn in frame]
    except BlockingIOError:
        shares.append(mine)
assert sorted(shares[0] + shares[1]) == list(range(6)), shares

# the loopback
loop = packet(socket.SOCK_RAW, ALL, "lo")
assert loop.getsockname()[3] == 772
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.bind(("127.0.0.1", 0))
udp_lo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp_lo.sendto(b"inside", echo.getsockname())
kinds = [heard(loop, b"inside")[1][2] for _ in range(2)]
assert sorted(kinds) == [HOST, OUTGOING], kinds

# poll
poll = select.poll()
quiet = packet(socket.SOCK_RAW, 0x88B5)
poll.register(quiet, select.POLLIN)
assert poll.poll(0) == []
everything.send(b"\xff" * 6 + mac + b"\x88\xb5" + bytes(50))
assert poll.poll(0) == []
