//! LACP with Open vSwitch, which has it in user space.
//!
//! Its datapath there reads frames from the wires as they are, and passes checksums on that the kernel
//! leaves to the hardware: so the wires have no offloads here, as for the kernel's own TCP.

use super::*;
use narrows_testbed::join;

/// A switch with two wires to Narrows, bonded, and one to a host of the kernel's, 10.9.0.1.
struct Switch {
    namespace: Namespace,
    directory: tempfile::TempDir,
    _processes: [Process; 2],
}

impl Switch {
    /// `None`: it is not installed.
    fn new(network: &Network) -> Result<Option<Self>> {
        let programs = ["ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-vswitchd"];
        for program in programs {
            if installed(program)?.is_none() {
                return Ok(None);
            }
        }
        let (namespace, directory) = (Namespace::new()?, tempfile::tempdir()?);
        let host = &network.kernel;
        for (own, name, port) in [
            (&network.narrows, "left", "s0"),
            (&network.narrows, "right", "s1"),
            (host, "e0", "s2"),
        ] {
            join((own, name), (&namespace, port))?;
            without_offloads(own, name)?;
        }
        ip(host, "addr add 10.9.0.1/24 dev e0")?;
        let path = |name: &str| directory.path().join(name).display().to_string();
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        let mut create = Command::new("ovsdb-tool");
        create.args(["create", &path("db"), schema]);
        succeed(create)?;
        let server = [path("db"), format!("--remote=punix:{}", path("socket"))];
        let daemon = [format!("unix:{}", path("socket")), "--disable-system".into()];
        let start = |program: &str, words: &[String]| {
            let mut command = namespace.command(program);
            command.args(words).arg(format!("--unixctl={}", path(&format!("{program}.ctl"))));
            command.arg(format!("--log-file={}", path(&format!("{program}.log"))));
            command.envs(["OVS_RUNDIR", "OVS_LOGDIR"].map(|name| (name, directory.path())));
            Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
        };
        let server = start("ovsdb-server", &server)?;
        eventually("the database answers", || Ok(Path::new(&path("socket")).exists()))?;
        let set = |words: &str| {
            let mut command = Command::new("ovs-vsctl");
            command.arg("--timeout=20").arg(format!("--db=unix:{}", path("socket")));
            succeed({
                command.args(words.split_whitespace());
                command
            })
        };
        set("--no-wait init")?;
        let daemon = start("ovs-vswitchd", &daemon)?;
        set("add-br br0 -- set bridge br0 datapath_type=netdev")?;
        set(
            "add-bond br0 bond0 s0 s1 lacp=active bond_mode=balance-tcp other_config:lacp-time=fast",
        )?;
        set("add-port br0 s2")?;
        Ok(Some(Self { namespace, directory, _processes: [server, daemon] }))
    }
}

/// Shown with a test that failed.
impl Drop for Switch {
    fn drop(&mut self) {
        let log = std::fs::read_to_string(self.directory.path().join("ovs-vswitchd.log"));
        eprintln!("the switch's log:\n{}", log.unwrap_or_default());
    }
}

/// The kernel finishes checksums and segments itself (ETHTOOL_STXCSUM).
fn without_offloads(namespace: &Namespace, device: &str) -> Result<()> {
    let script = "import ctypes, fcntl, socket, struct, sys\n\
                  value = ctypes.create_string_buffer(struct.pack('II', 0x17, 0))\n\
                  request = struct.pack('16sP16x', sys.argv[1].encode(), ctypes.addressof(value))\n\
                  fcntl.ioctl(socket.socket(), 0x8946, request)\n";
    let mut python = namespace.command("python3");
    python.args(["-c", script, device]);
    succeed(python).map(drop)
}

/// Members of the bond whose two ends agree that they carry frames.
fn carrying(stage: &Stage) -> Result<usize> {
    let bonds = json(stage, "-j bond")?;
    let members = bonds[0]["members"].as_array().context("no members")?;
    // In sync, collecting and distributing (IEEE 802.1AX-2014 §6.4.2.3).
    let carries = |state: &Value| state.as_u64().is_some_and(|state| state & 0x38 == 0x38);
    let agreed = members.iter().filter(|member| {
        member["mii_status"] == "UP"
            && carries(&member["ad_actor_oper_port_state"])
            && carries(&member["ad_partner_oper_port_state"])
    });
    Ok(agreed.count())
}

#[test]
fn open_vswitch_bonds_with_narrows_and_one_wire_may_be_cut() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let Some(switch) = Switch::new(&network)? else { return Ok(()) };
        let configuration = interface("a", "packet:left", "")
            + &interface("b", "packet:right", "")
            + &interface(
                "bond0",
                "bond",
                "members = [\"a\", \"b\"]\nmode = \"802.3ad\"\nlacp_rate = \"fast\"\n\
                 xmit_hash_policy = \"layer3+4\"\naddress = [\"10.9.0.2/24\"]",
            );
        let stage = up(network, &configuration)?;
        eventually("both wires are agreed upon", || Ok(carrying(&stage)? == 2))?;
        // The switch, which has a core's leftovers here, forwards a moment after it says that it does.
        told(&stage, "ping -c 10 -i 0.3 10.9.0.1")?;
        transfer(&stage, SocketAddrV4::new([10, 9, 0, 1].into(), 7001), 16 << 20, || {
            ip(&switch.namespace, "link set s0 down")?;
            eventually("one wire is left", || Ok(carrying(&stage)? == 1))
        })?;
        ip(&switch.namespace, "link set s0 up")?;
        eventually("both wires are agreed upon again", || Ok(carrying(&stage)? == 2))
    })
}
