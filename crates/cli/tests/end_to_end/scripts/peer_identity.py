# Says who is at the other end of one connection and of one pair of connected UDP sockets.
# Arguments: "server" or "client", the server's address, its port, whether both are on this host; whose
# the process is to be: user, group and further groups.
import encodings.idna  # while the libraries can be read
import os, socket, struct, sys

role, host, port, local = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "here"
SO_PEERGROUPS, SO_PEERPIDFD = 59, 77
user, group, groups = sys.argv[5], sys.argv[6], sys.argv[7].split(",")
os.setgroups([int(group) for group in groups])
os.setgid(int(group))
os.setuid(int(user))


def identity(s):
    credentials = struct.unpack("iii", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        groups = s.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)
        groups = list(struct.unpack(f"{len(groups) // 4}I", groups))
    except OSError as error:
        groups = error.errno
    try:
        process = s.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        with open(f"/proc/self/fdinfo/{process}") as info:
            process = next(int(line.split()[1]) for line in info if line.startswith("Pid:"))
    except OSError as error:
        process = error.errno
    return credentials, groups, process


def show(what, s):
    (pid, uid, gid), groups, process = identity(s)
    if not local:
        # No identity, rather than a wrong one.
        assert (pid, uid, gid, groups, process) == (0, -1, -1, 61, 61), (pid, uid, gid, groups, process)
        return
    assert process == pid, (process, pid)
    print(what, pid, uid, gid, *groups, flush=True)


if role == "server":
    listener = socket.create_server((host, port))
    show_none = socket.socket()
    assert identity(show_none) == ((0, -1, -1), 61, 61), identity(show_none)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((host, port))
    print("ready", os.getpid(), flush=True)
    s, _ = listener.accept()
    s.recv(1)
    show("tcp", s)
    data, sender = datagrams.recvfrom(10)
    datagrams.connect(sender)
    show("udp", datagrams)
    datagrams.send(data)
    # One that has gone is still the one that it was.
    s.sendall(b"x")
    assert s.recv(1) == b""
    show("gone", s)
else:
    s = socket.create_connection((host, port))
    show("tcp", s)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.connect((host, port))
    datagrams.send(b"x")
    s.sendall(b"x")
    assert datagrams.recv(10) == b"x"
    show("udp", datagrams)
    assert s.recv(1) == b"x"
    print("self", os.getpid(), flush=True)
    s.close()
