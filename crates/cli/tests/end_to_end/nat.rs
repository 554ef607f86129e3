//! Address translation by Narrows beside the kernel's, with the same rules and the same traffic.

use crate::stage::{NARROWS, installed, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Daemon, Namespace, Output, Process, as_root, join};
use std::{path::Path, time::Duration};

/// No program here waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(40);

/// Who stands between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Kernel,
    Narrows,
}

/// ```text
///   client 10.1.0.1 ── 10.1.0.254 router 10.2.0.254 ── 10.2.0.1 server 10.3.0.254 ── 10.3.0.1 far
/// ```
/// Nobody beyond the router knows a way to 10.1.0.0/24.
struct Scene {
    client: Namespace,
    router: Namespace,
    server: Namespace,
    /// For its place on the wire.
    _far: Namespace,
    daemon: Option<Daemon>,
}

fn ip(namespace: &Namespace, words: &str) -> Result<String> {
    let mut command = namespace.command("ip");
    command.args(words.split_whitespace());
    succeed(command)
}

fn sysctl(namespace: &Namespace, setting: &str) -> Result<String> {
    let mut command = namespace.command("sysctl");
    command.args(["-qw", setting]);
    succeed(command)
}

impl Scene {
    fn new(by: By) -> Result<Self> {
        let (client, router) = (Namespace::new()?, Namespace::new()?);
        let (server, far) = (Namespace::new()?, Namespace::new()?);
        join((&router, "in"), (&client, "e0"))?;
        join((&router, "out"), (&server, "e0"))?;
        join((&server, "e1"), (&far, "e0"))?;
        ip(&client, "addr add 10.1.0.1/24 dev e0")?;
        ip(&client, "route add default via 10.1.0.254")?;
        ip(&server, "addr add 10.2.0.1/24 dev e0")?;
        ip(&server, "addr add 10.3.0.254/24 dev e1")?;
        ip(&server, "link set e1 mtu 1300")?;
        sysctl(&server, "net.ipv4.ip_forward=1")?;
        ip(&far, "addr add 10.3.0.1/24 dev e0")?;
        ip(&far, "route add 10.2.0.0/24 via 10.3.0.254")?;
        let daemon = match by {
            By::Kernel => {
                ip(&router, "addr add 10.1.0.254/24 dev in")?;
                ip(&router, "addr add 10.2.0.254/24 dev out")?;
                ip(&router, "route add 10.3.0.0/24 via 10.2.0.1")?;
                sysctl(&router, "net.ipv4.ip_forward=1")?;
                // No flow is forgotten because a machine is slow.
                for name in ["udp_timeout", "icmp_timeout", "tcp_timeout_close"] {
                    sysctl(&router, &format!("net.netfilter.nf_conntrack_{name}=600"))?;
                }
                None
            }
            By::Narrows => {
                let configuration = "\
                    [[interface]]\nname = \"in\"\ndevice = \"packet:in\"\n\
                    address = [\"10.1.0.254/24\"]\nforward = true\nredirects = false\n\
                    [[interface]]\nname = \"out\"\ndevice = \"packet:out\"\n\
                    address = [\"10.2.0.254/24\"]\nforward = true\n\
                    [[route]]\nto = \"10.3.0.0/24\"\nvia = \"10.2.0.1\"\n\
                    [conntrack.timeouts]\nudp = 600\nicmp = 600\ntcp_close = 600\n";
                Some(Daemon::start_with(&router, Path::new(NARROWS), configuration)?)
            }
        };
        Ok(Self { client, router, server, _far: far, daemon })
    }

    /// Both have the words of nft(8).
    fn load(&self, rules: &str) -> Result<()> {
        let file = std::env::temp_dir().join(format!("narrows-nat-{}.nft", std::process::id()));
        let file = file.with_extension(format!("{:?}.nft", std::thread::current().id()));
        std::fs::write(&file, format!("flush ruleset\n{rules}"))?;
        let result = match &self.daemon {
            Some(daemon) => {
                let output =
                    daemon.ask(&self.router, ["nft".as_ref(), "-f".as_ref(), file.as_os_str()])?;
                ensure!(output.status.success(), "{}", output.stderr);
                Ok(())
            }
            None => {
                let nft = installed("nft")?.context("nft")?;
                let mut command = self.router.command(nft);
                command.arg("-f").arg(&file);
                succeed(command).map(|_| ())
            }
        };
        std::fs::remove_file(&file)?;
        result
    }

    /// A Python script at the router, on the stack that is tried.
    fn at_router(&self, script: &str) -> Result<String> {
        let python = installed("python3")?.context("python3")?;
        let mut command = match &self.daemon {
            Some(daemon) => daemon.run(&self.router, &python),
            None => self.router.command(&python),
        };
        command.args(["-c", script]);
        said(&mut command)
    }

    /// What flows there are, without what is up to chance.
    fn flows(&self) -> Result<Vec<String>> {
        let text = match &self.daemon {
            Some(daemon) => {
                let output = daemon.ask(&self.router, ["ct", "list"])?;
                ensure!(output.status.success(), "{}", output.stderr);
                output.stdout
            }
            None => {
                let mut command = self.router.command("cat");
                command.arg("/proc/net/nf_conntrack");
                succeed(command)?
            }
        };
        let mut flows: Vec<_> = text.lines().map(plain).collect();
        flows.sort();
        // How many probes a traceroute sends is up to chance.
        flows.dedup();
        Ok(flows)
    }
}

/// Of `ipv4 2 tcp 6 119 TIME_WAIT src=…`: no family, no time, no ephemeral port or identifier, and nothing that
/// only one of the two writes.
fn plain(line: &str) -> String {
    let is_ephemeral = |word: &str| {
        let number = ["sport=", "dport=", "id="].iter().find_map(|name| word.strip_prefix(name));
        number
            .and_then(|number| number.parse::<u32>().ok())
            .is_some_and(|number| number >= 10_000 || word.starts_with("id="))
    };
    let words = line.split_whitespace().filter(|word| {
        let noise = ["use=", "zone=", "code="].iter().any(|name| word.starts_with(name));
        let number = word.parse::<u64>().is_ok();
        !(noise || number || *word == "ipv4" || is_ephemeral(word))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What a program says, whether it succeeds or not.
fn said(command: &mut std::process::Command) -> Result<String> {
    let Output { stdout, stderr, .. } = Process::output(command, PATIENCE)?;
    Ok(stdout + &stderr)
}

/// A shell script in a namespace.
fn shell(namespace: &Namespace, script: &str) -> Result<String> {
    let mut command = namespace.command("sh");
    command.args(["-c", script]);
    said(&mut command)
}

/// A server of each kind at `port`, which tells each client whom it sees; until the namespace's test ends.
const TELL: &str = r#"
import socket, sys, threading
address, port = sys.argv[1], int(sys.argv[2])
tcp = socket.create_server((address, port))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((address, port))
def datagrams():
    while True:
        data, peer = udp.recvfrom(65536)
        udp.sendto(("%s %d" % (peer[0], len(data))).encode(), peer)
threading.Thread(target=datagrams, daemon=True).start()
print("ready", flush=True)
while True:
    connection, peer = tcp.accept()
    request = connection.recv(65536)
    body = ("seen %s\n" % peer[0]) + "x" * 300000
    connection.sendall(("HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)).encode())
    connection.close()
"#;

fn tell(command: &mut std::process::Command, address: &str, port: u16) -> Result<Process> {
    use std::io::{BufRead, BufReader};
    command.args(["-c", TELL, address, &port.to_string()]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let mut process = Process::spawn(command)?;
    let mut line = String::new();
    BufReader::new(process.stdout().context("stdout")?).read_line(&mut line)?;
    ensure!(line.trim() == "ready", "the server said {line:?}");
    Ok(process)
}

/// Fetches, and shows the first line and how much there was.
fn fetch(address: &str) -> String {
    format!(
        "curl -s -m 10 http://{address}/ > /tmp/$$.got; head -1 /tmp/$$.got; wc -c < /tmp/$$.got; rm /tmp/$$.got\n"
    )
}

/// Sends a datagram, and shows what comes back and from where.
fn datagram(address: &str, port: u16, len: usize) -> String {
    format!(
        "python3 -c \"import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b'y'*{len}, ('{address}', {port})); print(*s.recvfrom(999))\"\n"
    )
}

/// Runs the same on both, and compares what was said.
fn compare(rules: &str, act: impl Fn(&Scene) -> Result<String>) -> Result<()> {
    let mut answers = Vec::new();
    for by in [By::Kernel, By::Narrows] {
        let scene = Scene::new(by)?;
        scene.load(rules)?;
        let answer = act(&scene).with_context(|| format!("by {by:?}"));
        if let Some(daemon) = &scene.daemon {
            eprintln!("the daemon's log:\n{}", daemon.log());
        }
        answers.push(answer?);
    }
    let [kernel, narrows] = answers.as_slice() else { return Ok(()) };
    eprintln!("{narrows}");
    ensure!(kernel == narrows, "by the kernel:\n{kernel}\nby Narrows:\n{narrows}");
    Ok(())
}

fn has_programs() -> Result<bool> {
    for program in ["nft", "python3", "curl", "ping", "traceroute"] {
        if installed(program)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

const MASQUERADE: &str = "\
table ip t {
  chain forward {
    type filter hook forward priority 0; policy drop
    ct state established,related accept
    ct state invalid drop
    iifname in ct state new accept
  }
  chain post {
    type nat hook postrouting priority srcnat
    oifname out masquerade
  }
}
";

/// TCP, UDP (whole and in fragments), pings, errors of routers, and refusals.
#[test]
fn a_masqueraded_client_sees_what_it_sees_behind_the_kernel() -> Result<()> {
    as_root(|| {
        if !has_programs()? {
            return Ok(());
        }
        compare(MASQUERADE, |scene| {
            let _server = tell(&mut scene.server.command("python3"), "10.2.0.1", 8000)?;
            let script = [
                fetch("10.2.0.1:8000"),
                datagram("10.2.0.1", 8000, 100),
                datagram("10.2.0.1", 8000, 5000),
                "ping -n -c 2 -i 0.2 10.2.0.1 | grep -o 'bytes from [^:]*: icmp_seq=[0-9]*'\n"
                    .into(),
                "traceroute -n -w 2 -q 1 10.3.0.1 | tail -n +2 | awk '{print $1, $2, $5}'\n".into(),
                "traceroute -n -I -w 2 -q 1 10.3.0.1 | tail -n +2 | awk '{print $1, $2, $5}'\n"
                    .into(),
                // Too long for the last wire: its router says so.
                "ping -n -M do -c 1 -W 2 -s 1372 10.3.0.1 | grep -i frag\n".into(),
                "curl -sS -m 5 http://10.2.0.1:81/ 2>&1 | grep -o 'refused\\|timed out'\n".into(),
                datagram("10.2.0.1", 81, 1)
                    .replace("s.sendto", "s.connect(('10.2.0.1',81)); s.sendto")
                    + " 2>&1 | tail -1\n",
            ]
            .concat();
            let mut text = shell(&scene.client, &script)?;
            // Nobody gets in by himself.
            text += &shell(&scene.server, "ping -n -c 1 -W 1 10.1.0.1 | grep -c 'bytes from'\n")?;
            text += &scene.flows()?.join("\n");
            Ok(text)
        })
    })
}

const DNAT: &str = "\
table ip t {
  chain pre {
    type nat hook prerouting priority dstnat
    tcp dport 8080 dnat to 10.1.0.1:8000
    udp dport 8080 dnat to 10.1.0.1:8000
    dnat to tcp dport map { 8081 : 10.1.0.1, 8000 : 10.1.0.1 }
    icmp type echo-request ip daddr 10.2.0.254 dnat to 10.1.0.1
  }
  chain post {
    type nat hook postrouting priority srcnat
    ip daddr 10.1.0.1 ct status dnat snat to 10.1.0.254
  }
}
";

/// To a server inside, from outside and (hairpin) from inside.
#[test]
fn a_server_behind_dnat_is_reached_as_behind_the_kernel() -> Result<()> {
    as_root(|| {
        if !has_programs()? {
            return Ok(());
        }
        compare(DNAT, |scene| {
            let _server = tell(&mut scene.client.command("python3"), "10.1.0.1", 8000)?;
            let script = [
                fetch("10.2.0.254:8080"),
                fetch("10.2.0.254:8000"),
                datagram("10.2.0.254", 8080, 100),
                datagram("10.2.0.254", 8080, 4000),
                "curl -sS -m 5 http://10.2.0.254:8081/ 2>&1 | grep -o 'refused\\|timed out'\n".into(),
                "ping -n -c 1 -W 2 10.2.0.254 | grep -o 'bytes from [^:]*'\n".into(),
                "traceroute -n -T -p 8080 -w 2 -q 1 10.2.0.254 | tail -n +2 | awk '{print $1, $2}'\n".into(),
                "traceroute -n -U -p 8080 -w 2 -q 1 -m 3 10.2.0.254 | tail -n +2 | awk '{print $1, $2}'\n".into(),
            ]
            .concat();
            let mut text = shell(&scene.server, &script)?;
            text += "from inside\n";
            text += &shell(
                &scene.client,
                &[fetch("10.2.0.254:8080"), datagram("10.2.0.254", 8080, 9)].concat(),
            )?;
            text += &scene.flows()?.join("\n");
            Ok(text)
        })
    })
}

const LOCAL: &str = "\
table ip t {
  chain pre {
    type nat hook prerouting priority dstnat
    tcp dport 80 redirect to :3128
  }
  chain out {
    type nat hook output priority -100
    ip daddr 192.0.2.1 tcp dport 80 dnat to 10.2.0.1:8000
    ip daddr 192.0.2.1 udp dport 80 dnat to 10.2.0.1:8000
    tcp dport 81 redirect to :3128
    ip daddr 192.0.2.1 icmp type echo-request dnat to 10.2.0.1
  }
}
";

/// A transparent proxy on the router: whom its clients wanted, and whom it reaches itself.
const PROXY: &str = r#"
import socket, struct, threading
listener = socket.create_server(("0.0.0.0", 3128))
def serve():
    while True:
        connection, peer = listener.accept()
        try:
            wanted = connection.getsockopt(socket.SOL_IP, 80, 16)
            _, port, address = struct.unpack("!HH4s8x", wanted)
            said = "wanted %s:%d" % (socket.inet_ntoa(address), port)
        except OSError as error:
            said = str(error)
        connection.recv(1000)
        connection.sendall(said.encode())
        connection.close()
threading.Thread(target=serve, daemon=True).start()
def ask(address, port):
    with socket.create_connection((address, port), 5) as s:
        s.sendall(b"GET / HTTP/1.0

")
        data = b""
        while True:
            more = s.recv(65536)
            if not more: break
            data += more
        print(s.getpeername(), len(data), data[-20:] if len(data) < 100 else "")
ask("192.0.2.1", 80)
ask("10.3.0.1", 81)
ask("10.1.0.254", 81)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(5)
for size in (10, 4000):
    u.sendto(b"z" * size, ("192.0.2.1", 80))
    print(u.recvfrom(999))
u.connect(("192.0.2.1", 80))
u.send(b"again")
print(u.recv(999))
"#;

#[test]
fn programs_of_this_host_are_translated_as_the_kernels() -> Result<()> {
    as_root(|| {
        if !has_programs()? {
            return Ok(());
        }
        compare(LOCAL, |scene| {
            // A route to answer by, and to be asked for before rules are.
            if let Some(daemon) = &scene.daemon {
                let words = ["route", "add", "192.0.2.0/24", "via", "10.2.0.1"];
                ensure!(daemon.ask(&scene.router, words)?.status.success());
            } else {
                ip(&scene.router, "route add 192.0.2.0/24 via 10.2.0.1")?;
            }
            let _server = tell(&mut scene.server.command("python3"), "10.2.0.1", 8000)?;
            let mut text = scene.at_router(PROXY)?;
            text += &scene.flows()?.join("\n");
            Ok(text)
        })
    })
}
