"""Several programs want the same frames in every mixture of ways that Linux has too; who got what.

`who_gets.py send INTERFACE` sends them; `who_gets.py hear INTERFACE FILE` opens the sockets, says so, and
writes what each one got. It must be as a simple model says, on the kernel and on Narrows alike.
"""

import json
import random
import select
import socket
import struct
import sys

SOL_PACKET, FANOUT = 263, 18
ALL, IP, OTHER, END = 0x0003, 0x0800, 0x88B5, 0x88B6
HASH, IN_TURN, ROLLOVER, RANDOM = 0, 1, 3, 4
SENDER = bytes([2, 0, 0, 0, 0, 0x77])
FLOWS, OF_EACH, OTHERS = 8, 5, 10


def total(data):
    number = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while number >> 16:
        number = (number & 0xFFFF) + (number >> 16)
    return ~number & 0xFFFF


def packet(flow, number):
    payload = struct.pack("!I", number)
    ends = bytes([198, 51, 100, flow]) + bytes([203, 0, 113, 1])
    header = struct.pack("!BBHHHBB", 0x45, 0, 28 + len(payload), number, 0, 64, 17)
    header += struct.pack("!H", total(header + b"\0\0" + ends)) + ends
    return header + struct.pack("!HHHH", 4000 + flow, 53, 8 + len(payload), 0) + payload


def frames():
    link = b"\xff" * 6 + SENDER
    made = [(IP, flow, packet(flow, at * FLOWS + flow)) for at in range(OF_EACH) for flow in range(FLOWS)]
    made += [(OTHER, None, struct.pack("!I", 1000 + at) + bytes(46)) for at in range(OTHERS)]
    random.Random(5).shuffle(made)
    made.append((END, None, struct.pack("!I", 2000) + bytes(46)))
    return [(kind, flow, link + struct.pack("!H", kind) + rest) for kind, flow, rest in made]


def number(frame):
    at = 14 + 28 if frame[12:14] == b"\x08\0" else 14
    return struct.unpack("!I", frame[at : at + 4])[0]


sockets, groups = [], {}
everything = {number(frame): (kind, flow) for kind, flow, frame in frames()}


def observe(random):
    kind = random.choice([ALL, IP, OTHER])
    wanted = [at for at, (own, _) in everything.items() if kind in (ALL, own)]
    sockets.append((opened(kind), sorted(wanted)))


def share(random, scene):
    group = scene * 10 + random.randrange(2)
    how = groups.setdefault(group, (random.choice([HASH, IN_TURN, ROLLOVER, RANDOM]), []))
    member = opened(ALL)
    member.setsockopt(SOL_PACKET, FANOUT, group | how[0] << 16)
    how[1].append(member)


def opened(kind):
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    made.bind((sys.argv[2], kind))
    return made


def heard(sources, count):
    """What came of the sender's, by socket, until so much did; and what came at once besides."""
    got, patience = {source: [] for source in sources}, 60_000
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    while ready := poll.poll(patience):
        for descriptor, _ in ready:
            source = next(one for one in sources if one.fileno() == descriptor)
            frame = source.recv(65536)
            if frame[6:12] == SENDER:
                got[source].append(number(frame))
        if sum(map(len, got.values())) >= count:
            patience = 0
    return list(got.values())


if sys.argv[1] == "send":
    sender = opened(ALL)
    for _, _, frame in frames():
        sender.send(frame)
    sys.exit()

random_ways = random.Random(11)
for scene, programs in enumerate([2, 2, 3, 3, 3, 10, 10]):
    for _ in range(programs):
        observe(random_ways) if random_ways.randrange(2) else share(random_ways, scene)
print("ready", flush=True)
told = []
for source, wanted in sockets:
    [got] = heard([source], len(wanted))
    assert got == [number(frame) for _, _, frame in frames() if number(frame) in wanted], (got, wanted)
    told.append(len(got))
for group, (how, members) in sorted(groups.items()):
    shares = heard(members, len(everything))
    assert sorted(sum(shares, [])) == sorted(everything), (group, how, shares)
    if how == HASH:
        for flow in range(FLOWS):
            parts = [share for share in shares if any(everything[at] == (IP, flow) for at in share)]
            assert len(parts) == 1, (flow, shares)
    if how == ROLLOVER:
        assert max(map(len, shares)) == len(everything), shares
    if how == IN_TURN:
        lengths = [len(share) for share in shares]
        assert min(lengths) > 0, shares
    told.append([how, len(members), sum(map(len, shares))])
with open(sys.argv[3], "w") as file:
    json.dump(told, file)
