"""Raw sockets; the same on the kernel's."""

import errno
import select
import socket
import struct
import sys

own, peer = sys.argv[1], sys.argv[2].split(":")[0]
ICMP_FILTER, SOL_RAW = 1, 255
IP_HDRINCL, IP_RECVERR, IP_PKTINFO, IP_OPTIONS = 3, 11, 8, 4
SO_ATTACH_FILTER, MSG_ERRQUEUE = 26, 0x2000


def raw(protocol):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    s.settimeout(20)
    return s


def refused(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        assert error.errno == number, (call, arguments, error)
    else:
        raise AssertionError((call, arguments))


def sum16(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(identifier, sequence=1):
    body = struct.pack("!HH", identifier, sequence) + b"payload"
    return struct.pack("!BBH", 8, 0, sum16(b"\x08\0\0\0" + body)) + body


def answer_to(s, identifier):
    while True:
        packet, sender = s.recvfrom(2048)
        header = (packet[0] & 15) * 4
        kind, _, _, found = struct.unpack("!BBHH", packet[header : header + 6])
        if kind == 0 and found == identifier:
            return packet, sender


# What it is.
s = raw(socket.IPPROTO_ICMP)
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_RAW
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_ICMP
assert s.getsockopt(socket.IPPROTO_IP, IP_HDRINCL) == 0
assert raw(socket.IPPROTO_RAW).getsockopt(socket.IPPROTO_IP, IP_HDRINCL) == 1
assert s.getsockname() == ("0.0.0.0", socket.IPPROTO_ICMP)
refused(errno.EPROTONOSUPPORT, raw, 0)
refused(errno.ENOTCONN, s.getpeername)
refused(errno.EOPNOTSUPP, s.listen)
refused(errno.EDESTADDRREQ, s.send, b"12345678")

# A copy with its header; the sender has no port.
s.sendto(echo(1), (peer, 99))
packet, sender = answer_to(s, 1)
assert sender == (peer, 0), sender
assert packet[0] == 0x45 and packet[9] == 1 and sum16(packet[:20]) == 0
assert socket.inet_ntoa(packet[12:16]) == peer and socket.inet_ntoa(packet[16:20]) == own
assert struct.unpack("!H", packet[2:4])[0] == len(packet) and packet.endswith(b"payload")

# Where it was sent to.
s.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
s.sendto(echo(2), (peer, 0))
while True:
    _, control, _, _ = s.recvmsg(2048, 256)
    assert [(level, kind) for level, kind, _ in control] == [(socket.IPPROTO_IP, IP_PKTINFO)]
    assert socket.inet_ntoa(control[0][2][8:12]) == own
    break

# Filters: of types, and of bytes.
s = raw(socket.IPPROTO_ICMP)
s.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("I", 0xFFFFFFFF ^ (1 << 0)))
assert s.getsockopt(SOL_RAW, ICMP_FILTER, 4) == struct.pack("I", 0xFFFFFFFE)
refused(errno.EOPNOTSUPP, raw(socket.IPPROTO_UDP).setsockopt, SOL_RAW, ICMP_FILTER, bytes(4))
s.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("I", 1 << 0))
s.sendto(echo(3), (peer, 0))
other = raw(socket.IPPROTO_ICMP)
other.sendto(echo(4), (peer, 0))
answer_to(other, 4)
assert select.select([s], [], [], 0)[0] == [], "echo replies are filtered"

import ctypes

instructions = struct.pack("HBBI", 6, 0, 0, 24)
memory = ctypes.create_string_buffer(instructions, len(instructions))
program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(memory))
cut = raw(socket.IPPROTO_ICMP)
cut.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
cut.sendto(echo(5), (peer, 0))
assert len(cut.recv(2048)) == 24

# Bound and connected.
s = raw(socket.IPPROTO_ICMP)
refused(errno.EADDRNOTAVAIL, s.bind, ("192.0.2.1", 0))
s.bind((own, 77))
assert s.getsockname() == (own, socket.IPPROTO_ICMP), s.getsockname()
s.connect((peer, 5))
assert s.getpeername() == (peer, 5)
refused(errno.EINVAL, s.bind, (own, 0))
s.send(echo(6))
answer_to(s, 6)

# Headers of one's own: what is zero is filled in.
s = raw(socket.IPPROTO_RAW)
listener = raw(socket.IPPROTO_ICMP)
header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 33, 1, 0, bytes(4), socket.inet_aton(peer))
s.sendto(header + echo(7), (peer, 0))
answer_to(listener, 7)
refused(errno.EINVAL, raw(socket.IPPROTO_RAW).sendto, b"short", (peer, 0))
refused(errno.EMSGSIZE, s.sendto, header + bytes(1600), (peer, 0))

# The route that a packet took.
s = raw(socket.IPPROTO_ICMP)
s.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, b"\x01\x07\x0f\x04" + bytes(12))
assert len(s.getsockopt(socket.IPPROTO_IP, IP_OPTIONS, 40)) == 16
s.sendto(echo(8), (peer, 0))
packet, _ = answer_to(s, 8)
assert (packet[0] & 15) * 4 == 36, packet
assert socket.inet_aton(own) + socket.inet_aton(peer) in packet[20:36], packet

# Errors are queued, with what was sent.
s = raw(socket.IPPROTO_UDP)
s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
datagram = struct.pack("!HHHH", 5555, 1, 16, 0) + b"question"
s.sendto(datagram, (peer, 0))
poll = select.poll()
poll.register(s, select.POLLIN)
assert poll.poll(20_000)[0][1] & select.POLLERR
payload, control, flags, about = s.recvmsg(2048, 512, MSG_ERRQUEUE)
assert payload == datagram and about[0] == peer and flags & MSG_ERRQUEUE, (payload, about)
level, kind, data = control[0]
number, origin, icmp_type, code = struct.unpack("IBBB", data[:7])
assert (number, origin, icmp_type, code) == (errno.ECONNREFUSED, 2, 3, 3)
s.setblocking(False)
refused(errno.EAGAIN, s.recvmsg, 2048, 512, MSG_ERRQUEUE)

# To this host itself.
s = raw(253)
s.sendto(b"myself", (own, 0))
packet, sender = s.recvfrom(2048)
assert packet[20:] == b"myself" and sender[0] == own
