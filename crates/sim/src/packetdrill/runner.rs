//! The timeline: one event of the script after the other, each at its time.
//!
//! Calls, packets from the network, commands and code happen when the script says so. A packet of
//! the stack is waited for, and then its time is checked. A call that blocks goes on beside the
//! events after it, and its result and the time of its end are checked when it has one; the next
//! call waits for it.

use super::{
    Failure, Fault, Options,
    calls::{Outcome, Program},
    code::{self, Names},
    machine::{Machine, START, Sent},
    packets::{self, Seen},
    script::{
        Action, Body, Call, Event, Expected, Moment, Packet, Script, Start, TcpOption, TcpOptions,
        TcpPacket, flag,
    },
    settings::Settings,
    variables,
};
use narrows_stack::{Instant, time::Duration};

/// The segment size of large packets from the network, unless the script names one.
const SEGMENT_SIZE: u16 = 1460;
const MTU: u16 = 1500;
/// How long a packet with any time is waited for.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How far a timestamp may be from what the times of packets let expect, in milliseconds.
const STAMP_TOLERANCE: u32 = 10;

pub(super) fn run(script: &Script, options: &Options) -> Result<(), Failure> {
    let mut runner = Runner {
        tolerance: options.tolerance,
        mtu: MTU,
        segment_size: SEGMENT_SIZE,
        strict_segments: false,
        check_stamps: false,
        settings: Settings::default(),
        machine: None,
        program: Program { tolerance: options.tolerance, ..Program::default() },
        names: Names::default(),
        base: START,
        blocked: None,
        exchange: Vec::new(),
    };
    runner.script(script, options).map_err(|fault| Failure { fault, exchange: runner.exchange })
}

struct Runner<'a> {
    tolerance: Duration,
    mtu: u16,
    segment_size: u16,
    /// Segments must be cut as the script has them, not only contain the same.
    strict_segments: bool,
    /// The script says how fast timestamps count.
    check_stamps: bool,
    settings: Settings,
    /// Made at the first event that needs it, as it is set by then.
    machine: Option<Machine>,
    program: Program,
    names: Names,
    /// The time of the event before.
    base: Instant,
    blocked: Option<Blocked<'a>>,
    exchange: Vec<String>,
}

/// A call that waits.
struct Blocked<'a> {
    line: usize,
    call: &'a Call,
    /// When it must end.
    end: Instant,
}

impl<'a> Runner<'a> {
    fn script(&mut self, script: &'a Script, options: &Options) -> Result<(), Fault> {
        for option in &script.options {
            let value = option.value.as_deref().unwrap_or("");
            self.option(option.line, &option.name, value)?;
        }
        let mut events = script.events.as_slice();
        while let [first, rest @ ..] = events {
            let needs_machine = !matches!(first.action, Action::Shell(_));
            if needs_machine && self.machine.is_none() {
                let capture = options.capture.as_deref();
                self.machine = Some(Machine::new(&self.settings, self.mtu, capture)?);
            }
            self.event(first)?;
            events = rest;
        }
        self.finish_blocked()
    }

    /// `--name=value`
    fn option(&mut self, line: usize, name: &str, value: &str) -> Result<(), Fault> {
        let wrong = || Fault::syntax(line, format!("--{name}={value}: not a number that fits"));
        match name {
            "ip_version" if value == "ipv4" => {}
            "ip_version" => return Err(Fault::unsupported(line, "IPv6")),
            "tolerance_usecs" => {
                self.tolerance = Duration::from_micros(value.parse().map_err(|_| wrong())?);
                self.program.tolerance = self.tolerance;
            }
            "mtu" => self.mtu = value.parse().map_err(|_| wrong())?,
            "mss" => self.segment_size = value.parse().map_err(|_| wrong())?,
            "strict_segments" => self.strict_segments = true,
            "tcp_ts_tick_usecs" => self.check_stamps = value != "0",
            "local_ip" | "remote_ip" | "send_omit_free" | "init_scripts" | "tcp_ts_ecr_scaled" => {}
            _ => return Err(Fault::unsupported(line, format!("the option --{name}"))),
        }
        Ok(())
    }

    fn event(&mut self, event: &'a Event) -> Result<(), Fault> {
        if let Action::Outbound(packet) = &event.action {
            return self.outbound(event, packet);
        }
        let start = match event.when.start {
            Start::At(moment) | Start::Between(moment, _) => self.moment(moment),
            Start::Any => self.base,
        };
        let end = event.when.end.map(|moment| self.moment(moment));
        self.base = start;
        self.advance(start)?;
        match &event.action {
            Action::Call(call) => self.call(event.line, call, start, end)?,
            Action::Inbound(packet) => self.inbound(packet)?,
            Action::Shell(text) => {
                self.settings.run(event.line, text, self.machine.as_mut())?;
                self.log(&format!("`{}`", text.trim()));
            }
            Action::Code(text) => self.code(event.line, text)?,
            Action::Outbound(_) => {}
        }
        self.retry_blocked()
    }

    fn moment(&self, moment: Moment) -> Instant {
        match moment {
            Moment::Absolute(time) => START + time,
            Moment::Relative(time) => self.base + time,
        }
    }

    fn machine(&mut self) -> Result<&mut Machine, Fault> {
        self.machine.as_mut().ok_or_else(|| Fault::syntax(0, "the script has no event"))
    }

    /// Lets time pass until `until`, with all that the stack does in it.
    fn advance(&mut self, until: Instant) -> Result<(), Fault> {
        while let Some(machine) = &mut self.machine {
            let more = machine.step(until)?;
            self.retry_blocked()?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        line: usize,
        call: &'a Call,
        start: Instant,
        end: Option<Instant>,
    ) -> Result<(), Fault> {
        self.finish_blocked()?;
        let machine = self.machine.as_mut().ok_or_else(|| Fault::syntax(line, "no stack"))?;
        self.program.woken(machine);
        let outcome = self.program.call(machine, line, call)?;
        machine.settle()?;
        if outcome == Outcome::Blocked {
            self.blocked = Some(Blocked { line, call, end: end.unwrap_or(start) });
            return Ok(());
        }
        self.check_result(line, call, &outcome)?;
        end.map_or(Ok(()), |end| self.check_time(line, "the end of the call", end, end))
    }

    /// Tries a waiting call again.
    fn retry_blocked(&mut self) -> Result<(), Fault> {
        let (Some(blocked), Some(machine)) = (&self.blocked, &mut self.machine) else {
            return Ok(());
        };
        let (line, call, end) = (blocked.line, blocked.call, blocked.end);
        self.program.woken(machine);
        let outcome = self.program.call(machine, line, call)?;
        machine.settle()?;
        if outcome == Outcome::Blocked {
            let late = machine.now > end + self.tolerance;
            let expected = format!("{}() to return", call.name);
            return if late {
                Err(Fault::mismatch(line, expected, "it still waits".to_owned()))
            } else {
                Ok(())
            };
        }
        self.blocked = None;
        self.check_result(line, call, &outcome)?;
        self.check_time(line, "the end of the call", end, end)
    }

    /// Lets time pass until the waiting call, if there is one, has returned.
    fn finish_blocked(&mut self) -> Result<(), Fault> {
        while let Some(blocked) = &self.blocked {
            let (line, name) = (blocked.line, blocked.call.name.clone());
            let limit = blocked.end + self.tolerance;
            let more = self.machine()?.step(limit)?;
            self.retry_blocked()?;
            if !more && self.blocked.is_some() {
                let expected = format!("{name}() to return");
                return Err(Fault::mismatch(line, expected, "it still waits"));
            }
        }
        Ok(())
    }

    fn check_result(&mut self, line: usize, call: &Call, outcome: &Outcome) -> Result<(), Fault> {
        let came = match outcome {
            Outcome::Returned(value) => value.to_string(),
            Outcome::Failed(errno) => format!("-1 {errno}"),
            Outcome::Blocked => "nothing yet".into(),
        };
        self.log(&format!("{}() = {came}", call.name));
        let expected = match &call.result {
            Expected::Anything => return Ok(()),
            Expected::Value(value) => value.to_string(),
            Expected::Errno(errno) if errno == "EWOULDBLOCK" => "-1 EAGAIN".into(),
            Expected::Errno(errno) => format!("-1 {errno}"),
        };
        if expected == came {
            return Ok(());
        }
        let expected = format!("{}() to return {expected}", call.name);
        Err(Fault::mismatch(line, expected, format!("it returned {came}")))
    }

    /// Is it between `first` and `last`, give or take the tolerance?
    fn check_time(
        &mut self,
        line: usize,
        what: &str,
        first: Instant,
        last: Instant,
    ) -> Result<(), Fault> {
        let now = self.machine()?.now;
        self.check_moment(line, what, now, first, last)
    }

    fn check_moment(
        &self,
        line: usize,
        what: &str,
        at: Instant,
        first: Instant,
        last: Instant,
    ) -> Result<(), Fault> {
        if at + self.tolerance >= first && at <= last + self.tolerance {
            return Ok(());
        }
        let seconds = |at: Instant| at.since(START).as_secs_f64();
        let expected = if first == last {
            format!("{what} at {:.6}", seconds(first))
        } else {
            format!("{what} between {:.6} and {:.6}", seconds(first), seconds(last))
        };
        Err(Fault::mismatch(line, expected, format!("it came at {:.6}", seconds(at))))
    }

    fn inbound(&mut self, packet: &Packet) -> Result<(), Fault> {
        if let Body::Tcp(tcp) = &packet.body {
            let (syn, ack) = (tcp.flags & flag::SYN != 0, tcp.flags & flag::ACK != 0);
            self.program.flow.inbound(syn, ack, tcp.sequence);
            self.log(&format!("< {}", packets::show(tcp)));
        } else {
            self.log(&format!("< {:?}", packet.body));
        }
        let cookie = self.settings.cookie();
        let bytes = packets::inbound(packet, &self.program.flow, &cookie);
        let segment_size = match &packet.body {
            Body::Tcp(tcp) if tcp.payload > u32::from(self.segment_size) => Some(self.segment_size),
            _ => None,
        };
        self.machine()?.receive(&bytes, segment_size)
    }

    fn outbound(&mut self, event: &'a Event, packet: &Packet) -> Result<(), Fault> {
        let Body::Tcp(expected) = &packet.body else {
            return Err(Fault::unsupported(event.line, "a packet of the stack other than TCP"));
        };
        let (first, last) = match event.when.start {
            Start::At(moment) => (self.moment(moment), self.moment(moment)),
            Start::Between(first, last) => (self.moment(first), self.moment(last)),
            Start::Any => (self.base, self.base + PATIENCE),
        };
        let (at, seen) = loop {
            let sent = self.wait_for_packet(event.line, expected, last)?;
            let seen = packets::outbound(event.line, &sent.bytes)?;
            if !self.program.is_past((seen.local_port, seen.remote_port)) {
                break (sent.at, seen);
            }
        };
        let whole = self.join(event.line, expected, seen)?;
        self.compare(event.line, packet, expected, &whole)?;
        if !matches!(event.when.start, Start::Any) {
            self.check_moment(event.line, "the packet", at, first, last)?;
        }
        self.base = if matches!(event.when.start, Start::At(_)) { first } else { at };
        Ok(())
    }

    /// The next packet of the stack, which must be there soon after `last`.
    fn wait_for_packet(
        &mut self,
        line: usize,
        expected: &TcpPacket,
        last: Instant,
    ) -> Result<Sent, Fault> {
        let limit = last + self.tolerance;
        loop {
            if let Some(sent) = self.machine()?.take_sent() {
                return Ok(sent);
            }
            let more = self.machine()?.step(limit)?;
            self.retry_blocked()?;
            let machine = self.machine()?;
            if !more {
                let seconds = machine.now.since(START).as_secs_f64();
                let sent = machine.take_sent();
                return sent.ok_or_else(|| {
                    let came = format!("nothing came until {seconds:.6}");
                    Fault::mismatch(line, format!("> {}", packets::show(expected)), came)
                });
            }
        }
    }

    /// A long segment of the script may leave as several, unless it is strict.
    fn join(&mut self, line: usize, expected: &TcpPacket, first: Seen) -> Result<Seen, Fault> {
        let mut whole = first;
        let joins = !self.strict_segments && whole.packet.payload > 0;
        while joins && whole.packet.payload < expected.payload {
            let Some(sent) = self.machine()?.take_sent() else { break };
            let next = packets::outbound(line, &sent.bytes)?;
            let end = whole.packet.sequence.wrapping_add(whole.packet.payload);
            let continues = next.packet.sequence == end
                && next.packet.payload > 0
                && whole.packet.payload + next.packet.payload <= expected.payload;
            if !continues {
                self.machine()?.put_back(sent);
                break;
            }
            whole.packet.payload += next.packet.payload;
            whole.packet.flags |= next.packet.flags;
        }
        Ok(whole)
    }

    fn compare(
        &mut self,
        line: usize,
        packet: &Packet,
        expected: &TcpPacket,
        seen: &Seen,
    ) -> Result<(), Fault> {
        let flow = &mut self.program.flow;
        if seen.packet.flags & flag::SYN != 0 {
            flow.outbound_syn(expected.sequence, seen.packet.sequence);
        }
        let came = packets::in_script_terms(&seen.packet, flow);
        let shown = packets::show(&came);
        let wrong = || {
            let expected = format!("> {}", packets::show(expected));
            Fault::mismatch(line, expected, format!("> {shown} came"))
        };
        let ports = (seen.local_port, seen.remote_port) == (flow.local_port, flow.remote_port);
        let fields = (came.flags, came.sequence, came.payload, came.acknowledgment)
            == (expected.flags, expected.sequence, expected.payload, expected.acknowledgment);
        let window = expected.window.is_none_or(|window| came.window == Some(window));
        let urgent = expected.urgent.is_none_or(|pointer| came.urgent == Some(pointer));
        self.log(&format!("> {shown}"));
        if !fields || !window || !urgent {
            return Err(wrong());
        }
        if !ports {
            let came = format!("it went from port {} to {}", seen.local_port, seen.remote_port);
            return Err(Fault::mismatch(line, "a packet of this connection", came));
        }
        let ip = &packet.ip;
        if ip.ecn.is_some_and(|ecn| seen.tos & 3 != ecn)
            || ip.tos.is_some_and(|tos| seen.tos != tos)
            || ip.ttl.is_some_and(|ttl| seen.ttl != ttl)
        {
            let came = format!("it has TOS {:#04x} and TTL {}", seen.tos, seen.ttl);
            return Err(Fault::mismatch(line, format!("{ip:?}"), came));
        }
        if let (TcpOptions::These(wanted), TcpOptions::These(options)) =
            (&expected.options, &came.options)
            && !self.same_options(wanted, options)
        {
            return Err(wrong());
        }
        Ok(())
    }

    /// The stack's timestamps are its own: the script's stand for them.
    fn same_options(&mut self, wanted: &[TcpOption], came: &[TcpOption]) -> bool {
        let check = self.check_stamps;
        let flow = &mut self.program.flow;
        wanted.len() == came.len()
            && wanted.iter().zip(came).all(|pair| match pair {
                (
                    TcpOption::Timestamps { value: script, echo: wanted },
                    TcpOption::Timestamps { value: real, echo },
                ) => {
                    let fits = flow.stamp(*script, *real, STAMP_TOLERANCE);
                    wanted == echo && (fits || !check)
                }
                (wanted, came) => wanted == came,
            })
    }

    fn code(&mut self, line: usize, text: &str) -> Result<(), Fault> {
        let subject = self.program.subject;
        let info = match (subject, &mut self.machine) {
            (Some(socket), Some(machine)) => machine.info(socket).ok(),
            _ => None,
        };
        code::run(line, text, &mut self.names, &|name| variables::value(name, info.as_ref()))
    }

    fn log(&mut self, what: &str) {
        let now = self.machine.as_ref().map_or(START, |machine| machine.now);
        self.exchange.push(format!("{:12.6} {what}", now.since(START).as_secs_f64()));
    }
}
