//! What a script's shell commands do: set the stack up, and ask it.
//!
//! Scripts were written to run beside a kernel. Here names under `net.ipv4` and `net.inet.tcp` are
//! settings of the stack under test, and what looks at the kernel's tables looks at the stack's.

use super::{
    Fault,
    machine::{LOCAL, Machine, REMOTE},
};
use narrows_stack::{
    Config,
    config::{FastOpenConfig, FastOpenKey, FastOpenMode, SynCookies},
    counters::DropReason,
    tcp::{
        State, accurate_ecn::CountersSent, congestion::Algorithm, ecn::EcnMode,
        mtu_probe::MtuProbing,
    },
    time::Duration,
};

/// The stack's configuration as the commands so far have set it.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub config: Config,
    /// What the route to the remote host takes, once a command has said.
    pub mtu: Option<u16>,
    /// The device cuts long segments up.
    pub segmentation: Segmentation,
    /// The device takes no frames.
    pub stalled: bool,
    /// Counters when they were last looked at.
    looked: [u64; COUNTERS.len()],
}

/// What the device does with long segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Segmentation {
    #[default]
    Device,
    Stack,
}

/// Settings that the stack does not have, with the values that say what it does anyhow.
const AS_IT_IS: [(&str, &str); 35] = [
    ("net.inet.tcp.blackhole", "0"),
    ("net.inet.tcp.delayed_ack", "1"),
    ("net.inet.tcp.fastopen.server_enable", "0"),
    ("net.inet.tcp.fastopen.client_enable", "0"),
    ("net.inet.tcp.initcwnd_segments", "10"),
    ("net.inet.tcp.path_mtu_discovery", "1"),
    ("net.inet.tcp.rexmit_drop_options", "0"),
    ("net.inet.tcp.rexmit_initial", "1000"),
    ("net.inet.tcp.rexmit_slop", "200"),
    ("net.inet.tcp.rfc3042", "1"),
    ("net.inet.tcp.rfc6675_pipe", "1"),
    ("net.inet.tcp.do_prr", "1"),
    ("net.inet.tcp.ts_offset_per_conn", "1"),
    ("net.ipv4.tcp_abort_on_overflow", "0"),
    ("net.ipv4.tcp_autocorking", "0"),
    ("net.ipv4.tcp_dsack", "1"),
    ("net.ipv4.tcp_early_retrans", "3"),
    ("net.ipv4.tcp_ecn_fallback", "1"),
    ("net.ipv4.tcp_ecn_option_beacon", "3"),
    ("net.ipv4.tcp_fastopen_blackhole_timeout_sec", "0"),
    ("net.ipv4.tcp_frto", "1"),
    ("net.ipv4.tcp_frto", "2"),
    ("net.ipv4.tcp_moderate_rcvbuf", "1"),
    ("net.ipv4.tcp_no_metrics_save", "1"),
    ("net.ipv4.tcp_orphan_retries", "0"),
    ("net.ipv4.tcp_recovery", "1"),
    ("net.ipv4.tcp_reordering", "3"),
    ("net.ipv4.tcp_retries1", "3"),
    ("net.ipv4.tcp_retries2", "15"),
    ("net.ipv4.tcp_shrink_window", "0"),
    ("net.ipv4.tcp_slow_start_after_idle", "1"),
    ("net.ipv4.tcp_stdurg", "0"),
    ("net.ipv4.tcp_synack_retries", "5"),
    ("net.ipv4.tcp_thin_linear_timeouts", "0"),
    ("net.ipv4.tcp_workaround_signed_windows", "0"),
];

/// Commands about what lies around a kernel under test, and isn't there in virtual time: files that
/// scripts send from, how segments are cut before they are counted.
const SURROUNDINGS: [&str; 5] = ["/bin/rm ", "/bin/dd ", "rm -f /tmp/", "dd ", "ethtool -K tun0 "];

/// What slow start looks at before it ends: round trips, alone (2) or with how acknowledgments follow each other (3). HyStart++
/// has the first; a script that needs the second fails.
const SLOW_START_ENDS: [&str; 2] = [
    "echo 2 > /sys/module/tcp_cubic/parameters/hystart_detect",
    "echo 3 > /sys/module/tcp_cubic/parameters/hystart_detect",
];

/// Names of nstat(8) and what counts the same here.
const COUNTERS: [(&str, DropReason); 2] = [
    ("TcpExtOutOfWindowIcmps", DropReason::IcmpUnmatched),
    ("TcpExtBeyondWindow", DropReason::TcpOutOfWindow),
];

impl Settings {
    /// The cookie that the stack gives the remote host of scripts.
    pub(super) fn cookie(&self) -> Vec<u8> {
        let key = self.config.fast_open.keys[0].unwrap_or(SUITES_KEY);
        key.cookie(REMOTE.into(), LOCAL.into()).as_slice().to_vec()
    }

    /// Does all commands of one event; changes hold from now on.
    pub(super) fn run(
        &mut self,
        line: usize,
        text: &str,
        machine: Option<&mut Machine>,
    ) -> Result<(), Fault> {
        let text = text.replace("\\\n", " ");
        let mut machine = machine;
        for command in text.split(['\n', ';']) {
            let command = command.trim();
            if !command.is_empty() {
                self.command(line, command, machine.as_deref_mut())?;
            }
        }
        if let Some(machine) = machine {
            machine.shard.set_config(self.config.clone());
            machine.surround(self.mtu, self.stalled)?;
        }
        Ok(())
    }

    fn command(
        &mut self,
        line: usize,
        command: &str,
        machine: Option<&mut Machine>,
    ) -> Result<(), Fault> {
        let unsupported = || Fault::unsupported(line, format!("the command `{command}`"));
        if command.starts_with("ethtool -K tun0 ") && command.contains("so off") {
            self.segmentation = Segmentation::Stack;
        }
        if SURROUNDINGS.iter().any(|known| command.starts_with(known))
            || SLOW_START_ENDS.contains(&command)
        {
            return Ok(());
        }
        let (program, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match program.rsplit('/').next().unwrap_or(program) {
            "defaults.sh" => self.config = defaults(),
            "set_sysctls.py" => {
                for assignment in rest.split_whitespace() {
                    let path = assignment.strip_prefix("/proc/sys/").ok_or_else(unsupported)?;
                    let (name, value) = path.split_once('=').ok_or_else(unsupported)?;
                    self.set(line, &name.replace('/', "."), value)?;
                }
            }
            "sysctl" => {
                for (name, value) in assignments(rest).ok_or_else(unsupported)? {
                    self.set(line, name, value)?;
                }
            }
            name if name.starts_with("sysctl_restore_") => self.config = Config::default(),
            // No connection leaves anything to those after it.
            "ip" if rest.starts_with("tcp_metrics flush") => {}
            "ip" => self.mtu = Some(route_mtu(rest).ok_or_else(unsupported)?),
            "tc" => self.stalled = stalls(rest).ok_or_else(unsupported)?,
            "nstat" => self.nstat(line, command, machine.as_deref())?,
            "sockstat" => sockstat(line, command, machine.as_deref())?,
            "tcpdrop" if rest == "-s TIME_WAIT" => {
                if let Some(machine) = machine {
                    machine.shard.end_time_wait();
                }
            }
            _ => return Err(unsupported()),
        }
        Ok(())
    }

    /// One sysctl of Linux or FreeBSD.
    fn set(&mut self, line: usize, name: &str, value: &str) -> Result<(), Fault> {
        let unsupported = || Fault::unsupported(line, format!("the setting {name}={value}"));
        let number = || value.parse::<u64>().map_err(|_| unsupported());
        let on = || number().map(|value| value != 0);
        let bytes = || number().and_then(|value| usize::try_from(value).map_err(|_| unsupported()));
        let millis = || number().map(Duration::from_millis);
        let seconds = || number().map(Duration::from_secs);
        let tcp = &mut self.config.tcp;
        match name {
            "net.inet.tcp.rfc1323" => {
                (tcp.timestamps, tcp.window_scaling) = (on()?, on()?);
            }
            "net.ipv4.tcp_timestamps" => tcp.timestamps = on()?,
            "net.ipv4.tcp_window_scaling" => tcp.window_scaling = on()?,
            "net.ipv4.tcp_sack" | "net.inet.tcp.sack.enable" => tcp.sack = on()?,
            "net.inet.tcp.insecure_rst" => tcp.reset_in_window = on()?,
            "net.inet.tcp.insecure_syn" => tcp.reset_on_syn = on()?,
            "net.inet.tcp.drop_synfin" => tcp.refuse_syn_fin = on()?,
            "net.ipv4.tcp_ecn" | "net.inet.tcp.ecn.enable" => {
                tcp.ecn = match value {
                    "0" => EcnMode::Off,
                    "1" => EcnMode::Active,
                    "2" => EcnMode::Passive,
                    "3" => EcnMode::Accurate,
                    "4" => EcnMode::AccuratePassiveClassicActive,
                    "5" => EcnMode::AccuratePassive,
                    _ => return Err(unsupported()),
                };
            }
            "net.ipv4.tcp_ecn_option" => {
                tcp.ecn_option = match value {
                    "0" => CountersSent::Never,
                    "1" => CountersSent::Sparse,
                    "2" => CountersSent::Always,
                    _ => return Err(unsupported()),
                };
            }
            "net.ipv4.tcp_fastopen" => {
                self.config.fast_open.mode = fast_open_mode(value).ok_or_else(unsupported)?
            }
            "net.ipv4.tcp_fastopen_key" => {
                self.config.fast_open.keys = fast_open_keys(value).ok_or_else(unsupported)?;
            }
            "net.ipv4.tcp_syncookies" | "net.inet.tcp.syncookies" => {
                self.config.syn_cookies = match value {
                    "0" => SynCookies::Never,
                    "1" => SynCookies::WhenFull,
                    "2" => SynCookies::Always,
                    _ => return Err(unsupported()),
                };
            }
            "net.inet.tcp.syncookies_only" => {
                let only = on()?;
                self.config.syn_cookies =
                    if only { SynCookies::Always } else { SynCookies::WhenFull };
            }
            "net.ipv4.tcp_max_syn_backlog" => self.config.limits.half_open = bytes()?,
            "net.core.somaxconn" | "kern.ipc.soacceptqueue" => {
                self.config.limits.backlog = bytes()?;
            }
            "net.ipv4.tcp_mtu_probing" => {
                tcp.mtu_probing = match value {
                    "0" => MtuProbing::Never,
                    "1" => MtuProbing::BlackHole,
                    "2" => MtuProbing::Always,
                    _ => return Err(unsupported()),
                };
            }
            "net.ipv4.tcp_base_mss" => {
                tcp.base_segment = u16::try_from(number()?).map_err(|_| unsupported())?;
            }
            "net.ipv4.tcp_tso_win_divisor" => {
                tcp.deferred_part = u32::try_from(number()?).map_err(|_| unsupported())?;
            }
            "net.ipv4.tcp_syn_retries" => {
                tcp.syn_retries = u8::try_from(number()?).map_err(|_| unsupported())?;
            }
            "net.ipv4.tcp_congestion_control" => {
                tcp.congestion = Algorithm::from_name(value).ok_or_else(unsupported)?;
            }
            "net.ipv4.tcp_fin_timeout" => tcp.fin_wait_2 = seconds()?,
            "net.ipv4.tcp_notsent_lowat" => {
                tcp.unsent_low = u32::try_from(number()?).map_err(|_| unsupported())?;
            }
            "net.inet.tcp.recvspace" => tcp.receive_limit = bytes()?,
            "net.inet.tcp.sendspace" => tcp.send_limit = bytes()?,
            "net.inet.tcp.keepidle" => tcp.keep_alive_idle = millis()?,
            "net.inet.tcp.keepintvl" => tcp.keep_alive_interval = millis()?,
            "net.inet.tcp.keepcnt" | "net.ipv4.tcp_keepalive_probes" => {
                tcp.keep_alive_count = u8::try_from(number()?).map_err(|_| unsupported())?;
            }
            "net.ipv4.tcp_keepalive_time" => tcp.keep_alive_idle = seconds()?,
            "net.ipv4.tcp_keepalive_intvl" => tcp.keep_alive_interval = seconds()?,
            // The middle of three: what a connection begins with, which is all that it may have.
            "net.ipv4.tcp_rmem" => {
                tcp.receive_limit = last_of_three(value).ok_or_else(unsupported)?;
            }
            "net.ipv4.tcp_wmem" => tcp.send_limit = last_of_three(value).ok_or_else(unsupported)?,
            "net.inet.tcp.hostcache.purgenow" | "kern.ipc.maxsockbuf" => {}
            _ if AS_IT_IS.contains(&(name, value)) => {}
            // How segments are joined before they are cut: segments here leave as long as they may.
            "net.ipv4.tcp_min_tso_segs" => {}
            _ => return Err(unsupported()),
        }
        Ok(())
    }

    /// `nstat` remembers; `nstat | grep NAME` asks whether it counted since.
    fn nstat(
        &mut self,
        line: usize,
        command: &str,
        machine: Option<&Machine>,
    ) -> Result<(), Fault> {
        let count = |reason| machine.map_or(0, |it| it.shard.counters().dropped(reason));
        let mut pipes = command.split('|').skip(1).map(str::trim);
        let Some(first) = pipes.next() else {
            self.looked = COUNTERS.map(|(_, reason)| count(reason));
            return Ok(());
        };
        let name = first.trim_start_matches("grep").split_whitespace().next().unwrap_or("");
        let known = COUNTERS.iter().position(|(known, _)| *known == name);
        let index = known.ok_or_else(|| Fault::unsupported(line, format!("the counter {name}")))?;
        let counted = count(COUNTERS[index].1) - self.looked[index];
        let wanted = pipes.next().and_then(|grep| grep.split('"').nth(1));
        let fits = wanted.map_or(counted > 0, |wanted| wanted.trim() == counted.to_string());
        if fits {
            return Ok(());
        }
        Err(Fault::mismatch(
            line,
            format!("`{command}` to succeed"),
            format!("{name} is {counted}"),
        ))
    }
}

/// What `sysctl -q -w NAME=VALUE NAME="VALUE VALUE"` sets.
fn assignments(rest: &str) -> Option<Vec<(&str, &str)>> {
    let mut rest = rest.trim();
    while let Some(flag) = rest.strip_prefix('-') {
        rest = flag.split_once(' ')?.1.trim_start();
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        found.push((name.trim(), value));
        rest = left.trim_start();
    }
    (!found.is_empty()).then_some(found)
}

/// `route change … mtu lock 640 …`: the MTU. What a SYN tells follows from it.
fn route_mtu(rest: &str) -> Option<u16> {
    let rest = rest.strip_prefix("route change ").or(rest.strip_prefix("route replace "))?;
    let mut words = rest.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    words.find(|word| *word != "lock")?.parse().ok()
}

/// `qdisc … root pfifo limit 0` lets nothing out, until it is deleted.
fn stalls(rest: &str) -> Option<bool> {
    let stalls = rest.trim_end().ends_with("root pfifo limit 0");
    let over = rest.starts_with("qdisc del");
    (rest.starts_with("qdisc ") && (stalls || over)).then_some(stalls)
}

/// The key that the suites' scripts make cookies with.
const SUITES_KEY: FastOpenKey =
    FastOpenKey(*b"\xa1\xa1\xa1\xa1\xb2\xb2\xb2\xb2\xc3\xc3\xc3\xc3\xd4\xd4\xd4\xd4");

/// A number, perhaps hexadecimal, of which bits that mean nothing are left out.
fn fast_open_mode(value: &str) -> Option<FastOpenMode> {
    let bits = match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => value.parse().ok()?,
    };
    Some(FastOpenMode::from_bits_truncate(bits))
}

/// `a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4`, and perhaps another after a comma.
fn fast_open_keys(value: &str) -> Option<[Option<FastOpenKey>; 2]> {
    let one = |text: &str| {
        let mut key = [0; 16];
        let words = text.split('-').map(|word| u32::from_str_radix(word, 16).ok());
        let words = words.collect::<Option<Vec<_>>>().filter(|words| words.len() == 4)?;
        let octets = words.into_iter().flat_map(u32::to_le_bytes);
        key.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet);
        Some(FastOpenKey(key))
    };
    match value.split_once(',') {
        Some((first, second)) => Some([Some(one(first)?), Some(one(second)?)]),
        None => Some([Some(one(value)?), None]),
    }
}

/// What scripts of the Linux suites begin with: the stack's own settings, but for the receive buffer,
/// whose size shows in the window scale.
fn defaults() -> Config {
    let mut config = Config::default();
    config.tcp.receive_limit = 15 << 20;
    config.tcp.syn_retries = 5;
    config.fast_open = FastOpenConfig {
        mode: FastOpenMode::CLIENT | FastOpenMode::SERVER | FastOpenMode::EVERY_LISTENER,
        keys: [Some(SUITES_KEY), None],
    };
    config
}

/// `4096 131072 $((32*1024*1024))`: the last, which may be a product.
fn last_of_three(value: &str) -> Option<usize> {
    let last = value.split_whitespace().nth(2)?;
    let factors = last.trim_start_matches("$((").trim_end_matches("))").split('*');
    factors
        .map(|factor| factor.parse::<usize>().ok())
        .try_fold(1_usize, |product, factor| product.checked_mul(factor?))
}

/// `sockstat … | grep -c STATE | grep N`: are that many connections in the state?
fn sockstat(line: usize, command: &str, machine: Option<&Machine>) -> Result<(), Fault> {
    let unsupported = || Fault::unsupported(line, format!("the command `{command}`"));
    let greps: Vec<&str> = command.split('|').skip(1).map(str::trim).collect();
    let counted = greps.iter().find_map(|grep| grep.strip_prefix("grep -c "));
    let wanted = greps.last().and_then(|grep| grep.strip_prefix("grep "));
    let (Some(state), Some(wanted)) = (counted, wanted) else { return Err(unsupported()) };
    let state_of = STATES.iter().find(|(name, _)| *name == state);
    let (_, looked_for) = state_of.ok_or_else(unsupported)?;
    // Before the first call there is no stack, and nothing in it.
    let sockets = machine.into_iter().flat_map(|it| it.shard.sockets(it.now));
    let count = sockets.filter(|socket| socket.state == *looked_for).count();
    if count.to_string().contains(wanted) {
        return Ok(());
    }
    let expected = format!("{wanted} connection(s) in {state}");
    Err(Fault::mismatch(line, expected, format!("there are {count}")))
}

/// As FreeBSD's sockstat(1) has them.
const STATES: [(&str, State); 11] = [
    ("CLOSED", State::Closed),
    ("LISTEN", State::Listen),
    ("SYN_SENT", State::SynSent),
    ("SYN_RCVD", State::SynReceived),
    ("ESTABLISHED", State::Established),
    ("CLOSE_WAIT", State::CloseWait),
    ("FIN_WAIT_1", State::FinWait1),
    ("CLOSING", State::Closing),
    ("LAST_ACK", State::LastAck),
    ("FIN_WAIT_2", State::FinWait2),
    ("TIME_WAIT", State::TimeWait),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_sets_several() {
        let buffers = "net.ipv4.tcp_rmem=\"4096 131072 $((32*1024*1024))\" net.ipv4.tcp_sack=0";
        for (text, expected) in [
            ("-q a=1", Some(vec![("a", "1")])),
            ("-q -w a=1 b=2", Some(vec![("a", "1"), ("b", "2")])),
            (
                buffers,
                Some(vec![
                    ("net.ipv4.tcp_rmem", "4096 131072 $((32*1024*1024))"),
                    ("net.ipv4.tcp_sack", "0"),
                ]),
            ),
            ("-q", None),
            ("a", None),
            ("a=\"1", None),
            ("", None),
        ] {
            assert_eq!(assignments(text), expected, "{text}");
        }
    }
}
