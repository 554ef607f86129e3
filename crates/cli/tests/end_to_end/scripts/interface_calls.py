# What programs ask about interfaces: ioctls, the C library's functions and rtnetlink agree.
import ctypes, errno, fcntl, os, socket, struct, sys

own = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
SIOCGIFNAME, SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFADDR = 0x8910, 0x8912, 0x8913, 0x8915
SIOCGIFBRDADDR, SIOCGIFNETMASK, SIOCGIFMTU = 0x8919, 0x891B, 0x8921
SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFTXQLEN, SIOCETHTOOL = 0x8927, 0x8933, 0x8942, 0x8946

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def ask(request, name):
    answer = fcntl.ioctl(s, request, struct.pack("16s24x", name.encode()))
    return answer[16:]


def address(answer):
    assert answer[:4] == struct.pack("HH", socket.AF_INET, 0), answer
    return socket.inet_ntoa(answer[4:8])

# the list of those that have an address
room = ctypes.create_string_buffer(40 * 16)
conf = fcntl.ioctl(s, SIOCGIFCONF, struct.pack("iL", len(room), ctypes.addressof(room)))
rows = [room.raw[at : at + 40] for at in range(0, struct.unpack("iL", conf)[0], 40)]
listed = {row[:16].rstrip(b"\0").decode(): address(row[16:]) for row in rows}
assert own in listed.values(), listed
name = next(name for name, one in listed.items() if one == own)

# one of them
index = struct.unpack_from("i", ask(SIOCGIFINDEX, name))[0]
flags = struct.unpack_from("H", ask(SIOCGIFFLAGS, name))[0]
assert flags & 0x1043 == 0x1043 and flags & 8 == 0, hex(flags)  # up, broadcast, running, multicast
assert address(ask(SIOCGIFADDR, name)) == own
assert address(ask(SIOCGIFNETMASK, name)) == "255.255.255.0"
broadcast = own.rsplit(".", 1)[0] + ".255"
mtu = struct.unpack_from("i", ask(SIOCGIFMTU, name))[0]
assert 576 <= mtu <= 65535, mtu
hardware = ask(SIOCGIFHWADDR, name)
assert hardware[:2] == struct.pack("H", 1) and any(hardware[2:8]), hardware
assert struct.unpack_from("i", ask(SIOCGIFTXQLEN, name))[0] > 0
by_index = fcntl.ioctl(s, SIOCGIFNAME, struct.pack("16xi20x", index))
assert by_index[:16].rstrip(b"\0").decode() == name

# one that is not there, and the loopback
fails(errno.ENODEV, ask, SIOCGIFINDEX, "nowhere0")
fails(errno.ENODEV, fcntl.ioctl, s, SIOCGIFNAME, struct.pack("16xi20x", 9999))
assert struct.unpack_from("H", ask(SIOCGIFFLAGS, "lo"))[0] & 8
assert ask(SIOCGIFHWADDR, "lo")[:8] == struct.pack("H6x", 772)

# the C library's functions
names = dict(socket.if_nameindex())
assert names[index] == name and "lo" in names.values(), names
assert socket.if_nametoindex(name) == index and socket.if_indextoname(index) == name
assert libc.if_nametoindex(b"nowhere0") == 0
fails(errno.ENXIO, socket.if_indextoname, 9999)


class Entry(ctypes.Structure):
    pass


Entry._fields_ = [
    ("next", ctypes.POINTER(Entry)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("own", ctypes.c_void_p),
    ("mask", ctypes.c_void_p),
    ("everyone", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
]
entries = ctypes.POINTER(Entry)()
assert libc.getifaddrs(ctypes.byref(entries)) == 0
found, entry = [], entries
while entry:
    row = entry.contents
    family = ctypes.cast(row.own, ctypes.POINTER(ctypes.c_uint16))[0]
    if row.name.decode() == name and family == socket.AF_INET:
        part = [ctypes.string_at(at, 16) for at in (row.own, row.mask, row.everyone)]
        found.append([address(bytes) for bytes in part])
    if row.name.decode() == name and family == socket.AF_PACKET:
        link = ctypes.string_at(row.own, 20)
        assert struct.unpack("HHiHBB", link[:12]) == (17, 0, index, 1, 0, 6), link
        assert link[12:18] == hardware[2:8]
    entry = row.next
libc.freeifaddrs(entries)
assert found[0] == [own, "255.255.255.0", found[0][2]], found

# rtnetlink: who asks for one interface gets one message
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
n.bind((0, 0))
n.settimeout(5)
port, groups = n.getsockname()
assert port != 0 and groups == 0, (port, groups)
request = struct.pack("IHHIIBxHiII", 32, 18, 1, 77, 0, 0, 0, index, 0, 0)
n.send(request)
answer, sender = n.recvfrom(65536)
length, kind, flags, sequence, to = struct.unpack_from("IHHII", answer)
assert (length, kind, sequence, to, sender) == (len(answer), 16, 77, port, (0, 0)), sender
assert struct.unpack_from("BxHiI", answer, 16)[:3] == (0, 1, index)

# what is peeked at stays, and says how long it is; dup and fork keep the socket what it is
copy = n.dup()
copy.sendto(request, (0, 0))
assert n.recv(0, socket.MSG_PEEK | socket.MSG_TRUNC) == b""
assert n.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC) == len(answer)
if os.fork() == 0:
    os._exit(0 if copy.recv(65536)[:6] == answer[:6] else 1)
assert os.wait()[1] == 0

# all of them: several messages, and their end
n.send(struct.pack("IHHIIBxHiII", 32, 18, 0x301, 78, 0, 0, 0, 0, 0, 0))
indices = []
while True:
    data, at = n.recv(65536), 0
    while at < len(data):
        length, kind = struct.unpack_from("IH", data, at)
        if kind == 16:
            indices.append(struct.unpack_from("BxHi", data, at + 16)[2])
        at += (length + 3) & ~3
    if kind == 3:
        break
assert sorted(indices) == sorted(names), (indices, names)

# one that is not there
n.send(struct.pack("IHHIIBxHiII", 32, 18, 1, 79, 0, 0, 0, 9999, 0, 0))
answer = n.recv(65536)
assert struct.unpack_from("IHHIIi", answer)[1:6:4] == (2, -errno.ENODEV), answer
