"""scapy, by packet sockets and by raw ones."""

import sys

from scapy.all import ICMP, IP, L3RawSocket, TCP, conf, get_if_addr, sr1

own, peer = sys.argv[1:3]
conf.verb = 0
interface, source, _ = conf.route.route(peer)
assert source == own and get_if_addr(interface) == own, conf.route
conf.iface = interface
for kind in (conf.L3socket, L3RawSocket):
    conf.L3socket = kind
    answer = sr1(IP(dst=peer) / ICMP(), timeout=20)
    assert answer is not None and answer[ICMP].type == 0, (kind, answer)
    answer = sr1(IP(dst=peer) / TCP(dport=7001, flags="S"), timeout=20)
    assert answer is not None and answer[TCP].flags == "SA", (kind, answer)
