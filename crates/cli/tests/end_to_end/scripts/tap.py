"""Taps IPv4's way through the stack until a frame ends, and notes where each was (docs/frames.md)."""

import errno
import os
import socket
import struct
import sys

SOL_NARROWS, TAP = 0x4E52, 2
STAGES = {1: "filter", 2: "reassembled", 4: "transmit", 8: "drop"}
interface, bits, notes, user = sys.argv[1], int(sys.argv[2]), open(sys.argv[3], "w"), int(sys.argv[4])
os.setgid(user)
os.setuid(user)

packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
try:
    packets.setsockopt(SOL_NARROWS, TAP, 16)
except OSError as error:
    assert error.errno == errno.EINVAL, error
packets.setsockopt(SOL_NARROWS, TAP, bits)
packets.bind((interface, 0x0800))
print("taps", flush=True)
stage = 0
while stage != 8:
    frame, control, _, _ = packets.recvmsg(65536, 200)
    [told] = [data for level, kind, data in control if (level, kind) == (SOL_NARROWS, TAP)]
    [stage] = struct.unpack("I", told[:4])
    [length] = struct.unpack("!H", frame[16:18])
    print(STAGES[stage], length, told[4:].decode(), file=notes, flush=True)
