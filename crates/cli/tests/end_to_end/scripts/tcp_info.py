# TCP_INFO after the same transfer on the kernel and on Narrows: what the transfer decides is the same.
import socket, struct, sys, time

server_host, server_port = sys.argv[2].split(":")
s = socket.create_connection((server_host, int(server_port)))
# a question and an answer at a time: no segment is larger than it
for number in range(10):
    s.sendall(b"x" * 500)
    got = 0
    while got < 500:
        got += len(s.recv(500))
time.sleep(0.3)
raw = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
assert len(raw) >= 232, len(raw)
state, ca_state, retransmits, probes, backoff, options = struct.unpack_from("6B", raw, 0)
assert (state, ca_state, retransmits, probes, backoff) == (1, 0, 0, 0, 0)
assert options & 7 == 7, options  # timestamps, SACK, window scale
words = struct.unpack_from("24I", raw, 8)
(rto, ato, snd_mss, rcv_mss, unacked, sacked, lost, retrans, fackets) = words[:9]
(sent, ack_sent, received, ack_received, pmtu, rcv_ssthresh, rtt, rttvar) = words[9:17]
(ssthresh, cwnd, advmss, reordering, rcv_rtt, rcv_space, total_retrans) = words[17:24]
# a path's MTU less the headers; on a large one, half of the window at most
assert 200_000 <= rto < 400_000 and advmss == pmtu - 52, words
assert snd_mss == min(advmss, 32_768) and rcv_mss in (500, 536), words
assert (unacked, sacked, lost, retrans, fackets, total_retrans) == (0,) * 6, words
# the kernel counts in ticks, of up to 10 ms
assert all(290 <= since < 3000 for since in (sent, received, ack_received)), words
assert 0 < rtt < 200_000 and 0 < rttvar < 200_000, words
assert ssthresh == 0x7FFFFFFF and cwnd >= 10 and reordering == 3, words
assert rcv_ssthresh >= 32_768, words
pacing, max_pacing, acked, received = struct.unpack_from("4Q", raw, 104)
assert pacing > 0 and max_pacing == 2**64 - 1, (pacing, max_pacing)
# Linux counts its SYN, too
assert acked in (5000, 5001) and received == 5000, (acked, received)
segs_out, segs_in, notsent, min_rtt, data_in, data_out = struct.unpack_from("6I", raw, 136)
assert data_out == 10 and 10 <= data_in <= 12 and notsent == 0, (data_in, data_out, notsent)
assert segs_out >= 12 and segs_in >= 11 and 0 < min_rtt <= rtt, (segs_out, segs_in, min_rtt, rtt)
rate, busy, rwnd, sndbuf = struct.unpack_from("4Q", raw, 160)
assert busy < 2_000_000 and rwnd == 0 and sndbuf == 0, (busy, rwnd, sndbuf)
delivered, delivered_ce, bytes_sent, bytes_retrans, dsack, reord, ooo, snd_wnd = (
    struct.unpack_from("2I2Q4I", raw, 192)
)
assert (delivered, delivered_ce) == (11, 0), (delivered, delivered_ce)
assert (bytes_sent, bytes_retrans, dsack, reord, ooo) == (5000, 0, 0, 0, 0)
assert snd_wnd >= 32_768, snd_wnd
s.close()
