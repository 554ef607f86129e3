"""Claims the UDP datagrams to a port, and answers them itself (docs/frames.md)."""

import errno
import os
import socket
import struct
import sys

SOL_NARROWS, CLAIM = 0x4E52, 1
interface, port = sys.argv[1], int(sys.argv[2])
if len(sys.argv) > 3:
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))

packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
packets.bind((interface, 0x0800))
number = socket.if_nametoindex(interface)
claim = struct.pack("=IHBx4s4sBBxx4H", number, 0, 17, bytes(4), bytes(4), 0, 0, 0, 0, port, port)
try:
    packets.setsockopt(SOL_NARROWS, CLAIM, claim)
except OSError as error:
    sys.exit(errno.errorcode[error.errno])
print("claimed", flush=True)


def total(data):
    data += b"\0" * (len(data) % 2)
    number = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while number >> 16:
        number = (number & 0xFFFF) + (number >> 16)
    return ~number & 0xFFFF


while True:
    frame = packets.recv(65536)
    ip, udp = frame[14:34], frame[34:42]
    if ip[9] != 17 or struct.unpack("!H", udp[2:4])[0] != port:
        continue
    length = struct.unpack("!H", udp[4:6])[0]
    text = b"claimed: " + frame[42 : 34 + length]
    datagram = udp[2:4] + udp[0:2] + struct.pack("!HH", 8 + len(text), 0) + text
    header = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17)
    ends = ip[16:20] + ip[12:16]
    header += struct.pack("!H", total(header + b"\0\0" + ends)) + ends
    packets.send(frame[6:12] + frame[0:6] + frame[12:14] + header + datagram)
