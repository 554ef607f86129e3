//! setsockopt() and getsockopt().

use super::{
    Fault,
    calls::{Arguments, Outcome, Program, done, errno, seconds},
    control::{self, Stamps},
    machine::Machine,
    message::names,
    script::Expression,
};
use narrows_stack::{
    Reply, Request, SocketId,
    request::{SocketInfo, SocketOption},
    tcp::{State, UNLIMITED, congestion::Algorithm, notices::Watch},
    time::Duration,
};

/// Options that a socket takes and that change nothing a script could see.
const TAKEN: [&str; 11] = [
    "SO_PRIORITY",
    "SO_MARK",
    "SO_BUSY_POLL",
    "SO_OOBINLINE",
    "SO_DEBUG",
    "SO_DONTROUTE",
    "SO_INCOMING_CPU",
    "IP_FREEBIND",
    "IP_MTU_DISCOVER",
    "IP_RECVERR",
    "IP_BIND_ADDRESS_NO_PORT",
];

/// What SO_TYPE says of every socket of a script.
const SOCK_STREAM: i64 = 1;

/// `setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4)`
pub(super) fn set(
    program: &mut Program,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
) -> Result<Outcome, Fault> {
    let socket = program.socket_of(arguments)?;
    let (level, name) = (arguments.words(1)?, arguments.words(2)?);
    let name = *name.first().ok_or_else(|| arguments.syntax(2, "the name of an option"))?;
    let request = |option| Request::SetOption { socket, option };
    match name {
        "SO_LINGER" => {
            return done(machine.request(request(SocketOption::Linger(linger(arguments)?))));
        }
        "TCP_CONGESTION" => {
            let Some(Expression::Text(text)) = arguments.get(3) else {
                return Err(arguments.syntax(3, "the name of an algorithm in quotes"));
            };
            let Some(algorithm) = Algorithm::from_name(text) else {
                return Ok(Outcome::Failed("ENOENT"));
            };
            return done(machine.request(request(SocketOption::Congestion(algorithm))));
        }
        "SO_TIMESTAMPING" | "SO_TIMESTAMPING_NEW" | "SO_TIMESTAMPING_OLD" => {
            let [flags] = arguments.list(3)? else {
                return Err(arguments.syntax(3, "flags in brackets"));
            };
            return time_stamping(program, machine, arguments, &names(flags));
        }
        _ if TAKEN.contains(&name) => return Ok(Outcome::Returned(0)),
        _ => {}
    }
    let value = match arguments.list(3)? {
        [Expression::Number(value)] => *value,
        _ => return Err(arguments.syntax(3, "one number in brackets")),
    };
    let boolean = (0..=1).contains(&value);
    match name {
        "SO_ZEROCOPY" | "TCP_INQ" if !boolean => return Ok(Outcome::Failed("EINVAL")),
        "SO_ZEROCOPY" => program.descriptor(arguments, |it| it.reports.zero_copy = value == 1)?,
        "TCP_INQ" => program.descriptor(arguments, |it| it.reports.queue = value == 1)?,
        "SO_RCVLOWAT" => {
            let low = usize::try_from(value).unwrap_or(i32::MAX as usize).max(1);
            program.descriptor(arguments, |it| it.low = low)?;
        }
        _ => {
            return match option(name, value) {
                Some(Ok(option)) => done(machine.request(request(option))),
                Some(Err(errno)) => Ok(Outcome::Failed(errno)),
                None => Err(arguments.unsupported(&format!("{} of {}", name, level.join("|")))),
            };
        }
    }
    Ok(Outcome::Returned(0))
}

/// What a name and a number ask the engine for, or Linux's error for such a number.
fn option(name: &str, value: i64) -> Option<Result<SocketOption, &'static str>> {
    let on = value != 0;
    let bytes = usize::try_from(value).unwrap_or(0);
    let word = u32::try_from(value);
    let within = |range: core::ops::RangeInclusive<i64>| range.contains(&value);
    let small = u8::try_from(value).unwrap_or(0);
    Some(Ok(match name {
        "SO_REUSEADDR" => SocketOption::ReuseAddress(on),
        "SO_REUSEPORT" => SocketOption::ReusePort(on),
        "SO_KEEPALIVE" => SocketOption::KeepAlive(on),
        "SO_SNDBUF" | "SO_SNDBUFFORCE" => SocketOption::SendBuffer(bytes),
        "SO_RCVBUF" | "SO_RCVBUFFORCE" => SocketOption::ReceiveBuffer(bytes),
        "IP_TOS" => SocketOption::TypeOfService(value as u8),
        "IP_TTL" if within(1..=255) => SocketOption::TimeToLive(small),
        "SO_MAX_PACING_RATE" => SocketOption::MaxPacingRate(word.map_or(UNLIMITED, u64::from)),
        "TCP_NODELAY" => SocketOption::NoDelay(on),
        "TCP_CORK" | "TCP_NOPUSH" => SocketOption::Cork(on),
        "TCP_MAXSEG" if within(88..=32_767) => SocketOption::MaxSegment(value as u16),
        "TCP_KEEPIDLE" if within(1..=32_767) => SocketOption::KeepAliveIdle(seconds(value)),
        "TCP_KEEPINTVL" if within(1..=32_767) => SocketOption::KeepAliveInterval(seconds(value)),
        "TCP_KEEPCNT" if within(1..=127) => SocketOption::KeepAliveCount(small),
        "TCP_SYNCNT" if within(1..=127) => SocketOption::SynRetries(small),
        "TCP_USER_TIMEOUT" if value >= 0 => {
            let timeout = Duration::from_millis(u64::try_from(value).unwrap_or(0));
            SocketOption::UserTimeout(on.then_some(timeout))
        }
        "TCP_LINGER2" if value == 0 => SocketOption::FinWait2(Duration::from_secs(60)),
        "TCP_LINGER2" => SocketOption::FinWait2(seconds(value)),
        "TCP_DEFER_ACCEPT" => SocketOption::DeferAccept(defer(value)),
        "TCP_NOTSENT_LOWAT" => SocketOption::UnsentLow(match word {
            Ok(0) | Err(_) => u32::MAX,
            Ok(bytes) => bytes,
        }),
        "TCP_WINDOW_CLAMP" => SocketOption::WindowClamp(match word {
            Ok(0) | Err(_) => u32::MAX,
            Ok(bytes) => bytes,
        }),
        "TCP_QUICKACK" => SocketOption::QuickAcks(on),
        "TCP_FASTOPEN" => match word {
            Ok(backlog) => SocketOption::FastOpenBacklog(backlog),
            Err(_) => return Some(Err("EINVAL")),
        },
        "TCP_FASTOPEN_CONNECT" if within(0..=1) => SocketOption::FastOpenConnect(on),
        "TCP_FASTOPEN_NO_COOKIE" if within(0..=1) => SocketOption::FastOpenWithoutCookie(on),
        "IP_TTL"
        | "TCP_MAXSEG"
        | "TCP_KEEPIDLE"
        | "TCP_KEEPINTVL"
        | "TCP_KEEPCNT"
        | "TCP_SYNCNT"
        | "TCP_USER_TIMEOUT"
        | "TCP_FASTOPEN_CONNECT"
        | "TCP_FASTOPEN_NO_COOKIE" => return Some(Err("EINVAL")),
        _ => return None,
    }))
}

/// As Linux turns seconds into how often a SYN-ACK is sent again in them.
fn defer(seconds: i64) -> u8 {
    let (mut count, mut timeout, mut period) = (0, 1, 1);
    if seconds > 0 {
        count = 1;
        while seconds > period && count < u8::MAX {
            count += 1;
            timeout = (timeout * 2).min(120);
            period += timeout;
        }
    }
    count
}

/// `[SOF_TIMESTAMPING_TX_ACK | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID]`
fn time_stamping(
    program: &mut Program,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
    flags: &[&str],
) -> Result<Outcome, Fault> {
    let mut watch = Watch::empty();
    let (mut numbered, mut only, mut told) = (false, false, false);
    for flag in flags {
        match flag.strip_prefix("SOF_TIMESTAMPING_") {
            Some("TX_SCHED") => watch |= Watch::SCHEDULED,
            Some("TX_SOFTWARE") => watch |= Watch::SENT,
            Some("TX_ACK") => watch |= Watch::ACKNOWLEDGED,
            Some("OPT_ID") => numbered = true,
            Some("OPT_TSONLY") => only = true,
            Some("SOFTWARE") => told = true,
            _ => return Err(arguments.unsupported(flag)),
        }
    }
    let socket = program.socket_of(arguments)?;
    let from = numbered.then(|| control::octets(machine, socket));
    let stamps = (told && !watch.is_empty()).then_some(Stamps { watch, from, only });
    program.descriptor(arguments, |it| it.reports.stamps = stamps)?;
    Ok(Outcome::Returned(0))
}

/// `{onoff=1, linger=0}` or `[1, 0]`
fn linger(arguments: &Arguments<'_>) -> Result<Option<Duration>, Fault> {
    let wrong = || arguments.syntax(3, "{onoff=…, linger=…}");
    let (Some(Expression::Record(parts)) | Some(Expression::List(parts))) = arguments.get(3) else {
        return Err(wrong());
    };
    let number = |part: &Expression| match part {
        Expression::Number(number) => Some(*number),
        Expression::Field(_, value) => match **value {
            Expression::Number(number) => Some(number),
            _ => None,
        },
        _ => None,
    };
    match parts.iter().map(number).collect::<Option<Vec<_>>>().as_deref() {
        Some([0, _]) => Ok(None),
        Some([_, time]) => Ok(Some(seconds(*time))),
        _ => Err(wrong()),
    }
}

/// `getsockopt(3, SOL_SOCKET, SO_ERROR, [0], [4])`
pub(super) fn get(
    socket: SocketId,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
) -> Result<Outcome, Fault> {
    let names = arguments.words(2)?;
    let name = *names.first().ok_or_else(|| arguments.syntax(2, "the name of an option"))?;
    let expected = match arguments.list(3)? {
        [expected] => expected,
        _ => return Err(arguments.syntax(3, "one value in brackets")),
    };
    let matches = |came: &str| match expected {
        Expression::Any => true,
        Expression::Text(text) => text == came,
        Expression::Number(number) => number.to_string() == came,
        Expression::Word(word) => word == came,
        _ => false,
    };
    let came = if name == "SO_ERROR" {
        match machine.request(Request::TakeError { socket }) {
            Ok(Reply::Error(error)) => error.map_or("0", errno).to_owned(),
            _ => "0".to_owned(),
        }
    } else {
        let info = machine
            .info(socket)
            .map_err(|error| Fault::mismatch(arguments.line, "a socket", format!("{error}")))?;
        match (name, &info.settings) {
            ("TCP_CONGESTION", Some(settings)) => settings.congestion.name().to_owned(),
            _ => {
                let value = value(&info, name, machine);
                value.ok_or_else(|| arguments.unsupported(name))?.to_string()
            }
        }
    };
    if matches(&came) {
        return Ok(Outcome::Returned(0));
    }
    let expected = match expected {
        Expression::Number(number) => number.to_string(),
        Expression::Word(text) | Expression::Text(text) => text.clone(),
        _ => "another value".into(),
    };
    Err(Fault::mismatch(arguments.line, format!("{name} of {expected}"), format!("it is {came}")))
}

fn value(info: &SocketInfo, name: &str, machine: &Machine) -> Option<i64> {
    let settings = info.settings.as_ref()?;
    let secs = |time: Duration| time.as_secs() as i64;
    Some(match name {
        "SO_REUSEADDR" => i64::from(info.reuse_address),
        "SO_REUSEPORT" => i64::from(info.reuse_port),
        "SO_KEEPALIVE" => i64::from(settings.keep_alive),
        "SO_TYPE" => SOCK_STREAM,
        "SO_ACCEPTCONN" => i64::from(info.state == State::Listen),
        "SO_MAX_PACING_RATE" => {
            i64::from(u32::try_from(settings.max_pacing_rate).unwrap_or(u32::MAX))
        }
        "TCP_NODELAY" => i64::from(settings.no_delay),
        "TCP_CORK" => i64::from(settings.cork),
        "TCP_KEEPIDLE" => secs(settings.keep_alive_idle),
        "TCP_KEEPINTVL" => secs(settings.keep_alive_interval),
        "TCP_KEEPCNT" => i64::from(settings.keep_alive_count),
        "TCP_USER_TIMEOUT" => settings.user_timeout.map_or(0, |time| time.as_millis() as i64),
        "TCP_SYNCNT" => i64::from(settings.syn_retries),
        "TCP_LINGER2" => secs(settings.fin_wait_2),
        "TCP_DEFER_ACCEPT" => {
            // As Linux turns it back.
            let count = i64::from(settings.defer_accept);
            (0..count).map(|shift| (1_i64 << shift.min(7)).min(120)).sum()
        }
        // What the sysctl says is not the socket's.
        "TCP_NOTSENT_LOWAT" if settings.unsent_low == machine.unsent_low() => 0,
        "TCP_NOTSENT_LOWAT" => i64::from(settings.unsent_low),
        "TCP_WINDOW_CLAMP" if settings.window_clamp == u32::MAX => 0,
        "TCP_WINDOW_CLAMP" => i64::from(settings.window_clamp),
        "TCP_QUICKACK" => i64::from(info.tcp.as_ref().is_none_or(|tcp| tcp.quick_acks)),
        "TCP_FASTOPEN" => i64::from(settings.fast_open_backlog),
        "TCP_FASTOPEN_CONNECT" => i64::from(settings.fast_open_connect),
        "TCP_FASTOPEN_NO_COOKIE" => i64::from(settings.fast_open_without_cookie),
        "IP_TOS" => i64::from(info.ip.as_ref()?.tos),
        "IP_TTL" => i64::from(info.ip.as_ref()?.ttl),
        // Linux counts its bookkeeping in, and says twice what it was told.
        "SO_SNDBUF" => 2 * settings.send_limit as i64,
        "SO_RCVBUF" => 2 * settings.receive_limit as i64,
        "TCP_MAXSEG" => match &info.tcp {
            Some(tcp) => i64::from(tcp.send_mss),
            None => i64::from(settings.max_segment?),
        },
        _ => return None,
    })
}
