//! setsockopt() and getsockopt().

use super::{
    Fault,
    calls::{Arguments, Outcome, done, errno, seconds},
    machine::Machine,
    script::Expression,
};
use narrows_stack::{
    Reply, Request, SocketId,
    request::{SocketInfo, SocketOption},
    tcp::congestion::Algorithm,
    time::Duration,
};

/// `setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4)`
pub(super) fn set(
    socket: SocketId,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
) -> Result<Outcome, Fault> {
    let (level, name) = (arguments.words(1)?, arguments.words(2)?);
    let name = *name.first().ok_or_else(|| arguments.syntax(2, "the name of an option"))?;
    if name == "SO_LINGER" {
        let option = SocketOption::Linger(linger(arguments)?);
        return done(machine.request(Request::SetOption { socket, option }));
    }
    if name == "TCP_CONGESTION" {
        let Some(Expression::Text(text)) = arguments.get(3) else {
            return Err(arguments.syntax(3, "the name of an algorithm in quotes"));
        };
        let Some(algorithm) = Algorithm::from_name(text) else {
            return Ok(Outcome::Failed("ENOENT"));
        };
        let option = SocketOption::Congestion(algorithm);
        return done(machine.request(Request::SetOption { socket, option }));
    }
    let value = match arguments.list(3)? {
        [Expression::Number(value)] => *value,
        _ => return Err(arguments.syntax(3, "one number in brackets")),
    };
    let on = value != 0;
    let bytes = usize::try_from(value).unwrap_or(0);
    let option = match name {
        "SO_REUSEADDR" => SocketOption::ReuseAddress(on),
        "SO_REUSEPORT" => SocketOption::ReusePort(on),
        "SO_KEEPALIVE" => SocketOption::KeepAlive(on),
        "SO_SNDBUF" => SocketOption::SendBuffer(bytes),
        "SO_RCVBUF" => SocketOption::ReceiveBuffer(bytes),
        "TCP_NODELAY" => SocketOption::NoDelay(on),
        "TCP_CORK" | "TCP_NOPUSH" => SocketOption::Cork(on),
        "TCP_MAXSEG" => match u16::try_from(value) {
            Ok(size) => SocketOption::MaxSegment(size),
            Err(_) => return Ok(Outcome::Failed("EINVAL")),
        },
        "TCP_KEEPIDLE" => SocketOption::KeepAliveIdle(seconds(value)),
        "TCP_KEEPINTVL" => SocketOption::KeepAliveInterval(seconds(value)),
        "TCP_KEEPCNT" => SocketOption::KeepAliveCount(u8::try_from(value).unwrap_or(u8::MAX)),
        "TCP_USER_TIMEOUT" => {
            let timeout = Duration::from_millis(u64::try_from(value).unwrap_or(0));
            SocketOption::UserTimeout(on.then_some(timeout))
        }
        _ => return Err(arguments.unsupported(&format!("{} of {}", name, level.join("|")))),
    };
    done(machine.request(Request::SetOption { socket, option }))
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
        let value = value(&info, name).ok_or_else(|| arguments.unsupported(name))?;
        value.to_string()
    };
    if matches(&came) {
        return Ok(Outcome::Returned(0));
    }
    let expected = match expected {
        Expression::Number(number) => number.to_string(),
        Expression::Word(word) => word.clone(),
        _ => "another value".into(),
    };
    Err(Fault::mismatch(arguments.line, format!("{name} of {expected}"), format!("it is {came}")))
}

fn value(info: &SocketInfo, name: &str) -> Option<i64> {
    let settings = info.settings.as_ref()?;
    let secs = |time: Duration| time.as_secs() as i64;
    Some(match name {
        "SO_REUSEADDR" => i64::from(info.reuse_address),
        "SO_REUSEPORT" => i64::from(info.reuse_port),
        "SO_KEEPALIVE" => i64::from(settings.keep_alive),
        "TCP_NODELAY" => i64::from(settings.no_delay),
        "TCP_CORK" => i64::from(settings.cork),
        "TCP_KEEPIDLE" => secs(settings.keep_alive_idle),
        "TCP_KEEPINTVL" => secs(settings.keep_alive_interval),
        "TCP_KEEPCNT" => i64::from(settings.keep_alive_count),
        "TCP_USER_TIMEOUT" => settings.user_timeout.map_or(0, |time| time.as_millis() as i64),
        "TCP_MAXSEG" => match &info.tcp {
            Some(tcp) => i64::from(tcp.send_mss),
            None => i64::from(settings.max_segment?),
        },
        _ => return None,
    })
}
