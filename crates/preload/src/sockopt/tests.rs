use super::*;

fn int(value: c_int) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

fn ints(values: &[c_int]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

#[test]
fn what_the_engine_honours_goes_to_the_daemon() {
    use SocketOption as O;
    let second = Duration::from_secs(1);
    let (socket, tcp) = (libc::SOL_SOCKET, libc::IPPROTO_TCP);
    for (level, name, value, option) in [
        (socket, libc::SO_REUSEADDR, int(1), O::ReuseAddress(true)),
        (socket, libc::SO_REUSEADDR, int(0), O::ReuseAddress(false)),
        (socket, libc::SO_REUSEPORT, int(-1), O::ReusePort(true)),
        (socket, libc::SO_KEEPALIVE, int(1), O::KeepAlive(true)),
        (socket, libc::SO_SNDBUF, int(65_536), O::SendBuffer(65_536)),
        (socket, libc::SO_RCVBUF, int(-1), O::ReceiveBuffer(i32::MAX as u32)),
        (socket, libc::SO_LINGER, ints(&[1, 5]), O::Linger(Some(5 * second))),
        (socket, libc::SO_LINGER, ints(&[1, 0]), O::Linger(Some(Duration::ZERO))),
        (socket, libc::SO_LINGER, ints(&[0, 5]), O::Linger(None)),
        (tcp, libc::TCP_NODELAY, int(1), O::NoDelay(true)),
        (tcp, libc::TCP_CORK, int(1), O::Cork(true)),
        (tcp, libc::TCP_KEEPIDLE, int(7200), O::KeepAliveIdle(7200 * second)),
        (tcp, libc::TCP_KEEPINTVL, int(1), O::KeepAliveInterval(second)),
        (tcp, libc::TCP_KEEPCNT, int(9), O::KeepAliveCount(9)),
        (tcp, libc::TCP_MAXSEG, int(1400), O::MaxSegment(1400)),
        (tcp, libc::TCP_USER_TIMEOUT, int(1000), O::UserTimeout(Some(second))),
        (tcp, libc::TCP_USER_TIMEOUT, int(0), O::UserTimeout(None)),
        (tcp, libc::TCP_SYNCNT, int(3), O::SynRetries(3)),
        (tcp, libc::TCP_LINGER2, int(0), O::FinWait2(60 * second)),
        (tcp, libc::TCP_LINGER2, int(5), O::FinWait2(5 * second)),
        (tcp, libc::TCP_LINGER2, int(-1), O::FinWait2(Duration::ZERO)),
        (tcp, libc::TCP_DEFER_ACCEPT, int(5), O::DeferAccept(3)),
        (tcp, libc::TCP_DEFER_ACCEPT, int(0), O::DeferAccept(0)),
        (tcp, libc::TCP_WINDOW_CLAMP, int(0), O::WindowClamp(u32::MAX)),
        (tcp, libc::TCP_QUICKACK, int(0), O::QuickAcks(false)),
        (tcp, libc::TCP_FASTOPEN, int(16), O::FastOpenBacklog(16)),
        (tcp, libc::TCP_FASTOPEN_CONNECT, int(1), O::FastOpenConnect(true)),
        (tcp, libc::TCP_CONGESTION, b"cubic".to_vec(), O::Congestion("cubic".into())),
        (socket, libc::SO_MAX_PACING_RATE, int(1_000_000), O::MaxPacingRate(1_000_000)),
        (socket, libc::SO_MAX_PACING_RATE, int(-1), O::MaxPacingRate(u64::MAX)),
        (
            socket,
            libc::SO_MAX_PACING_RATE,
            (1u64 << 40).to_ne_bytes().to_vec(),
            O::MaxPacingRate(1 << 40),
        ),
        (
            tcp,
            libc::TCP_CONGESTION,
            b"reno\0ignored-and-long".to_vec(),
            O::Congestion("reno".into()),
        ),
    ] {
        assert_eq!(set(level, name, &value), Ok(Set::Daemon(option)), "{level} {name}");
    }
}

#[test]
fn values_are_judged_as_linux_does() {
    let (socket, tcp) = (libc::SOL_SOCKET, libc::IPPROTO_TCP);
    for (level, name, value, errno) in [
        (socket, libc::SO_REUSEADDR, vec![1], Errno::INVAL),
        (socket, libc::SO_LINGER, int(1), Errno::INVAL),
        (tcp, libc::TCP_NODELAY, vec![], Errno::INVAL),
        (tcp, libc::TCP_KEEPIDLE, int(0), Errno::INVAL),
        (tcp, libc::TCP_KEEPIDLE, int(32_768), Errno::INVAL),
        (tcp, libc::TCP_KEEPCNT, int(128), Errno::INVAL),
        (tcp, libc::TCP_MAXSEG, int(87), Errno::INVAL),
        (tcp, libc::TCP_USER_TIMEOUT, int(-1), Errno::INVAL),
        (tcp, libc::TCP_SYNCNT, int(0), Errno::INVAL),
        (tcp, libc::TCP_SYNCNT, int(128), Errno::INVAL),
        (tcp, libc::TCP_FASTOPEN, int(-1), Errno::INVAL),
        (tcp, libc::TCP_FASTOPEN_CONNECT, int(2), Errno::INVAL),
        (tcp, libc::TCP_CONGESTION, vec![], Errno::INVAL),
        (tcp, libc::TCP_CONGESTION, vec![0xff], Errno::NOENT),
    ] {
        assert_eq!(set(level, name, &value), Err(errno), "{level} {name}");
    }
}

#[test]
fn what_could_mislead_is_unknown() {
    const TCP_ULP: c_int = 31;
    for (level, name) in [
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
        (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
        (libc::SOL_SOCKET, libc::SO_PASSCRED),
        (libc::IPPROTO_TCP, TCP_ULP),
        (libc::IPPROTO_TCP, libc::TCP_MD5SIG),
        (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        (libc::IPPROTO_UDP, 1),
    ] {
        assert_eq!(set(level, name, &int(1)), Err(Errno::NOPROTOOPT), "{level} {name}");
    }
}

#[test]
fn hints_are_taken_and_answered() {
    for name in [libc::IP_RECVERR, libc::IP_BIND_ADDRESS_NO_PORT] {
        assert_eq!(set(libc::IPPROTO_IP, name, &int(1)), Ok(Set::Hint), "{name}");
        assert!(matches!(get(libc::IPPROTO_IP, name), Ok(Get::Number(_))), "{name}");
    }
}

#[test]
fn values_are_written_as_linux_does() {
    use SocketOption as O;
    let second = Duration::from_secs(1);
    for (option, bytes) in [
        (O::NoDelay(true), int(1)),
        (O::Listening(false), int(0)),
        (O::SendBuffer(65_536), int(131_072)),
        (O::ReceiveBuffer(u32::MAX), int(i32::MAX)),
        (O::KeepAliveIdle(7200 * second), int(7200)),
        (O::KeepAliveCount(9), int(9)),
        (O::Linger(None), ints(&[0, 0])),
        (O::Linger(Some(5 * second)), ints(&[1, 5])),
        (O::UserTimeout(Some(second)), int(1000)),
        (O::UserTimeout(None), int(0)),
        (O::DeferAccept(3), int(7)),
        (O::FinWait2(Duration::ZERO), int(-1)),
        (O::UnsentLow(u32::MAX), int(0)),
        (O::WindowClamp(5000), int(5000)),
        (O::Congestion("cubic".into()), b"cubic\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
    ] {
        assert_eq!(encode(&option), bytes, "{option:?}");
    }
    assert_eq!(encode(&O::TcpInfo(Box::default())).len(), tcp_info::LEN);
}
