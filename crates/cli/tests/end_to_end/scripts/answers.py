"""Sends the same frames to two hosts, and compares what they answer.

    answers.py SEED CASES DEVICE MAC DEVICE MAC

Both hosts are 10.77.0.2, each on a wire of its own. Every case comes from a station of its own, so that limits
of ICMP errors, which are for each station, have no part in it; an echo request ends it, so nothing waits for time.

Left out: echo requests with a code, which Linux answers (RFC 792 knows none), and timestamp requests, which it
answers by default.
"""

import random
import socket
import struct
import sys

HOST = socket.inet_aton("10.77.0.2")
STATION = bytes([2, 0, 0, 0, 0, 9])
ECHO, ECHO_REPLY = 8, 0


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def packet(source, protocol, payload, to=HOST, ident=0, offset=0, more=False, ttl=64, tos=0,
           options=b"", version=4, words=None, total=None, wrong=0):
    words = 5 + len(options) // 4 if words is None else words
    total = 20 + len(options) + len(payload) if total is None else total
    fragment = offset // 8 | (0x2000 if more else 0)
    header = struct.pack("!BBHHHBBH4s4s", version << 4 | words, tos, total, ident, fragment, ttl,
                         protocol, 0, source, to) + options
    sum_ = checksum(header) ^ wrong
    return header[:10] + struct.pack("!H", sum_) + header[12:] + payload


def icmp(kind, code, rest, body=b"", wrong=0):
    message = struct.pack("!BBH", kind, code, 0) + rest + body
    return message[:2] + struct.pack("!H", checksum(message) ^ wrong) + message[4:]


def echo(number, body):
    return icmp(ECHO, 0, struct.pack("!HH", 0x4E57, number), body)


def udp(source, port, body, to=HOST, sum_=None, length=None):
    length = 8 + len(body) if length is None else length
    header = struct.pack("!HHHH", 40000, port, length, 0)
    pseudo = source + to + struct.pack("!HH", 17, length)
    if sum_ is None:
        sum_ = checksum(pseudo + header + body) or 0xFFFF
    return header[:6] + struct.pack("!H", sum_) + body


def fragments(draw, source, number):
    """An echo request in pieces: in any order, some twice, some missing, some over others."""
    message = echo(number, draw.randbytes(draw.randrange(64, 200)))
    cuts = sorted(draw.sample(range(8, len(message), 8), draw.randrange(1, 5)))
    bounds = list(zip([0] + cuts, cuts + [len(message)]))
    how = draw.choice(["whole", "whole", "twice", "missing", "overlap", "past the end", "ends twice"])
    pieces = [(start, message[start:end], end < len(message)) for start, end in bounds]
    if how == "twice":
        pieces += draw.sample(pieces, draw.randrange(1, len(pieces) + 1))
    elif how == "missing":
        pieces.remove(draw.choice(pieces))
    elif how == "overlap":
        # Over the border of two others: no part of one.
        border = draw.choice(cuts)
        pieces.append((border - 8, message[border - 8:border + 8], border + 8 < len(message)))
    elif how == "past the end":
        pieces.append((len(message) // 8 * 8 + 16, b"x" * 16, True))
    elif how == "ends twice":
        start = len(message) // 8 * 8 + 16
        pieces.append((start, b"x" * 16, False))
    draw.shuffle(pieces)
    ident = draw.randrange(1, 65536)
    return how, [packet(source, 1, data, ident=ident, offset=at, more=more)
                 for at, data, more in pieces]


def options(draw):
    slots = draw.randrange(1, 4)
    length = 3 + 4 * slots
    record = bytes([7, length, 4]) + b"\0" * (4 * slots)
    pad = lambda raw: raw + b"\0" * (-len(raw) % 4)
    return draw.choice([
        pad(record),
        pad(bytes([7, length, 4 + 4 * slots]) + b"\1" * (4 * slots)),  # full
        pad(bytes([7, length, 3]) + b"\0" * (4 * slots)),  # no such slot
        pad(bytes([7, 2])),
        pad(bytes([7, 60, 4])),
        pad(bytes([68, 2, 5, 0])),
        pad(bytes([148, 4, 0, 0])),
        pad(bytes([131, 7, 4]) + HOST),
        pad(bytes([137, 7, 4]) + HOST),
        pad(bytes([1, 1, 0])),
        pad(bytes([200, 4, 1, 2])),
    ])


def case(draw, source, number):
    """What it is, and the packets."""
    body = draw.randbytes(draw.randrange(0, 80))
    everybody = socket.inet_aton(draw.choice(["10.77.0.255", "255.255.255.255", "224.0.0.1"]))
    kind = draw.randrange(14)
    if kind < 6:
        how, sent = fragments(draw, source, number)
        return f"fragments, {how}", sent
    one = [
        lambda: ("echo", packet(source, 1, echo(number, body), tos=draw.choice([0, 8, 0xB8]))),
        lambda: ("port", packet(source, 17, udp(source, 9, body), ttl=draw.choice([1, 64]))),
        lambda: ("protocol", packet(source, draw.choice([0, 99, 132, 253]), body)),
        lambda: ("options", packet(source, 1, echo(number, body), options=options(draw))),
        lambda: ("to everybody", draw.choice([
            packet(source, 1, echo(number, body), to=everybody),
            packet(source, 17, udp(source, 9, body, to=everybody), to=everybody),
            packet(source, 99, body, to=everybody)])),
        lambda: ("header", packet(source, 1, echo(number, body), **draw.choice([
            {"version": 5}, {"words": 4}, {"words": 15}, {"total": 19}, {"total": 2000},
            {"wrong": 1}]))),
        lambda: ("checksum", draw.choice([
            packet(source, 17, udp(source, 9, body, sum_=draw.choice([0, 0x1234]))),
            packet(source, 17, udp(source, 9, body, length=draw.choice([7, 8 + len(body) + 1]))),
            packet(source, 1, icmp(ECHO, 0, b"\0\0\0\0", body, wrong=1)),
            packet(source, 1, icmp(draw.choice([3, 11, 12, 5, 42]), 0, b"\0\0\0\0", body)),
            packet(source, 1, b"\x08\0")])),
        lambda: ("source", packet(socket.inet_aton(draw.choice(
            ["0.0.0.0", "127.0.0.1", "224.0.0.9", "255.255.255.255", "10.77.0.2", "240.0.0.1"])),
            1, echo(number, body))),
    ]
    what, sent = one[kind - 6]()
    return what, [sent]


class Wire:
    def __init__(self, device, mac):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((device, 0))
        self.socket.settimeout(30)
        self.mac = bytes.fromhex(mac.replace(":", ""))

    def send(self, payload, kind=0x0800, to=None):
        frame = (to or self.mac) + STATION + struct.pack("!H", kind) + payload
        self.socket.send(frame.ljust(60, b"\0"))

    def answers(self, source, sent, number):
        """Type, code and what is quoted or sent back, of each answer but the last echo's."""
        for one in sent:
            group = one[16:20] if one[16] >= 224 else None
            to = {None: None, b"\xff\xff\xff\xff": b"\xff" * 6}.get(group, b"\1\0\x5e\0\0\1")
            self.send(one, to=b"\xff" * 6 if one[19] == 255 else to)
        self.send(packet(source, 1, icmp(ECHO, 0, struct.pack("!HH", 0x454E, number))))
        found = []
        while True:
            frame, about = self.socket.recvfrom(65535)
            if about[2] == socket.PACKET_OUTGOING:
                continue
            kind, = struct.unpack("!H", frame[12:14])
            if kind == 0x0806 and frame[20:22] == b"\0\1" and frame[38:42] == source:
                reply = frame[14:20] + b"\0\2" + STATION + source + frame[22:28] + frame[28:32]
                self.send(reply, 0x0806)
            if kind != 0x0800 or frame[30:34] != source:
                continue
            total, = struct.unpack("!H", frame[16:18])
            ip = frame[14:14 + total]
            words = (ip[0] & 15) * 4
            message = ip[words:]
            if message[0] == ECHO_REPLY and message[4:6] == b"\x45\x4e":
                return found
            found.append((message[0], message[1], ip[1], ip[20:words].hex(),
                          message[4:8 + 28].hex() if message[0] else message[4:].hex()))


def main():
    seed, cases = int(sys.argv[1]), int(sys.argv[2])
    wires = [Wire(*sys.argv[3:5]), Wire(*sys.argv[5:7])]
    draw = random.Random(seed)
    differ, answered = 0, 0
    for number in range(cases):
        source = bytes([10, 77, 0, 10 + number % 240])
        what, sent = case(draw, source, number)
        found = [wire.answers(source, sent, number) for wire in wires]
        answered += bool(found[0])
        if found[0] != found[1]:
            differ += 1
            print(f"seed {seed}, case {number}: {what}")
            print("  sent", " ".join(one.hex() for one in sent))
            for name, answer in zip(["first", "second"], found):
                print(f"  {name} answers {answer}")
    print(f"{cases} cases, {answered} answered, {differ} differ")
    sys.exit(differ > 0)


main()
