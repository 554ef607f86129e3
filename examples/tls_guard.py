#!/usr/bin/env python3
"""Blocks TLS connections by the name of the server that the client asks for.

    tls_guard.py SOCKET QUEUE NAME…       e.g. tls_guard.py /run/narrows.sock 5 ads.example

A rule of the filter gives it what clients say to servers:

    tcp dport 443 queue to 5                                (docs/inspect.md)
"""
import os, socket, struct, sys

VERSION, DROP, ACCEPT = 1, 0, 1


def attach(path, queue):
    """Asks for the packets of a queue; without an answer within 2 s they are dropped."""
    daemon = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    daemon.connect(path)
    by_rules, fail_open = 0xFF, 0
    daemon.send(struct.pack("!4sBBBBHHIIII", b"NRWI", VERSION, by_rules, fail_open, 0,
                            queue, 0, 0, 0, 2000, 1024))
    error, number = struct.unpack("!6xHI", daemon.recv(12))
    if error:
        sys.exit(f"tls_guard: {os.strerror(error)}")
    return daemon


def server_name(tls):
    """The name in a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3); None: not (yet) to be seen."""
    if len(tls) < 44 or tls[0] != 22 or tls[5] != 1:
        return None
    try:
        at = 44 + tls[43]                                       # the session's id
        at += 2 + int.from_bytes(tls[at:at + 2], "big")         # cipher suites
        at += 3 + tls[at]                                       # compression, extensions' length
        while at + 4 <= len(tls):
            kind, length = struct.unpack_from("!HH", tls, at)
            if kind == 0:
                size, = struct.unpack_from("!H", tls, at + 7)
                return tls[at + 9:at + 9 + size].decode("ascii", "replace").lower()
            at += 4 + length
    except (IndexError, struct.error):
        pass
    return None


def main(path, queue, *blocked):
    daemon = attach(path, int(queue))
    print("guarding", flush=True)
    while record := daemon.recv(65_536 + 64):
        header, packet = record[3], record[record[3]:]
        number, = struct.unpack_from("!Q", record, 8)
        ip = (packet[0] & 15) * 4
        name = server_name(packet[ip + (packet[ip + 12] >> 4) * 4:])
        verdict = DROP if name in blocked else ACCEPT
        if name:
            print("drop" if verdict == DROP else "pass", name, flush=True)
        daemon.send(struct.pack("!BBBBIQI", VERSION, verdict, 0, 0, 0, number, 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
