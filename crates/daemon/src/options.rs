//! The engine's words as the programs': errors, options, states.

use narrows_ipc::{
    Error,
    message::{OptionName, PathMtuDiscovery, Repair, SocketKind, SocketOption, TcpInfo, TcpState},
};
use narrows_stack::{
    request::{
        Error as EngineError, SocketInfo, SocketKind as EngineKind, SocketOption as EngineOption,
    },
    table::{ip_settings::PathMtuDiscovery as EngineDiscovery, route::RouteError},
    tcp::{
        Info, State, congestion::Algorithm, ecn::Feedback, fast_open::Failure,
        info::Repair as EngineRepair,
    },
};

pub(crate) fn error(error: EngineError) -> Error {
    match error {
        EngineError::NoSuchSocket => Error::NotASocket,
        EngineError::NoSuchInterface => Error::NoSuchDevice,
        EngineError::LinkDown => Error::NetworkDown,
        EngineError::NotSupported => Error::NotSupported,
        EngineError::InvalidState | EngineError::InvalidArgument => Error::InvalidArgument,
        EngineError::AddressInUse => Error::AddressInUse,
        EngineError::AlreadyExists => Error::AlreadyExists,
        EngineError::NoSuchEntry => Error::NoSuchEntry,
        EngineError::AddressNotAvailable => Error::AddressNotAvailable,
        EngineError::FamilyNotSupported => Error::FamilyNotSupported,
        EngineError::AlreadyConnected => Error::AlreadyConnected,
        EngineError::AlreadyInProgress => Error::AlreadyInProgress,
        EngineError::NotConnected => Error::NotConnected,
        EngineError::NoDestination => Error::DestinationRequired,
        EngineError::BroadcastDenied => Error::PermissionDenied,
        EngineError::WouldBlock => Error::WouldBlock,
        EngineError::NetworkUnreachable => Error::NetworkUnreachable,
        EngineError::HostUnreachable => Error::HostUnreachable,
        EngineError::HostDown => Error::HostDown,
        EngineError::HostIsolated => Error::HostIsolated,
        EngineError::ProtocolUnavailable => Error::ProtocolUnavailable,
        EngineError::ProtocolError => Error::ProtocolError,
        EngineError::SourceRouteFailed => Error::NotSupported,
        EngineError::ConnectionRefused => Error::ConnectionRefused,
        EngineError::ConnectionReset => Error::ConnectionReset,
        EngineError::ConnectionAborted => Error::ConnectionAborted,
        EngineError::TimedOut => Error::TimedOut,
        EngineError::BrokenPipe => Error::BrokenPipe,
        EngineError::MessageTooLong => Error::MessageTooLong,
        EngineError::SourceNotBelieved => Error::ReversePath,
        EngineError::Filtered => Error::NotPermitted,
        EngineError::Prohibited => Error::PermissionDenied,
        EngineError::Route(error) => route_error(error),
        EngineError::LimitReached => Error::NoBufferSpace,
        EngineError::InUse => Error::InUse,
        EngineError::LinkLoop => Error::LinkLoop,
        EngineError::OtherZone => Error::OtherZone,
    }
}

fn route_error(error: RouteError) -> Error {
    match error {
        RouteError::Exists | RouteError::RuleExists => Error::AlreadyExists,
        RouteError::NotFound | RouteError::RuleNotFound => Error::NoSuchEntry,
        RouteError::FamilyNotSupported => Error::FamilyNotSupported,
        RouteError::NoSuchInterface => Error::NoSuchDevice,
        RouteError::NoSuchTable => Error::InvalidArgument,
        RouteError::NoNextHop | RouteError::UnexpectedNextHop | RouteError::BadWeight => {
            Error::BadNextHop
        }
        RouteError::GatewayIsOwn => Error::GatewayIsOwn,
        RouteError::GatewayNotOnLink => Error::GatewayNotOnLink,
        RouteError::SourceNotOwn => Error::SourceNotOwn,
        RouteError::LimitReached => Error::NoBufferSpace,
        RouteError::GotoBackwards => Error::GotoBackwards,
        RouteError::RuleIsPermanent => Error::RuleIsPermanent,
    }
}

pub(crate) fn to_engine(option: SocketOption) -> Result<EngineOption, Error> {
    let bytes = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    Ok(match option {
        SocketOption::ReuseAddress(on) => EngineOption::ReuseAddress(on),
        SocketOption::ReusePort(on) => EngineOption::ReusePort(on),
        SocketOption::KeepAlive(on) => EngineOption::KeepAlive(on),
        SocketOption::KeepAliveIdle(idle) => EngineOption::KeepAliveIdle(idle),
        SocketOption::KeepAliveInterval(interval) => EngineOption::KeepAliveInterval(interval),
        SocketOption::KeepAliveCount(count) => EngineOption::KeepAliveCount(count),
        SocketOption::NoDelay(on) => EngineOption::NoDelay(on),
        SocketOption::Cork(on) => EngineOption::Cork(on),
        SocketOption::SendBuffer(value) => EngineOption::SendBuffer(bytes(value)),
        SocketOption::ReceiveBuffer(value) => EngineOption::ReceiveBuffer(bytes(value)),
        SocketOption::Linger(linger) => EngineOption::Linger(linger),
        SocketOption::MaxSegment(mss) => EngineOption::MaxSegment(mss),
        SocketOption::UserTimeout(timeout) => EngineOption::UserTimeout(timeout),
        SocketOption::Congestion(name) => {
            // As Linux says it of an algorithm it does not have.
            let algorithm = Algorithm::from_name(&name).ok_or(Error::NoSuchOption)?;
            EngineOption::Congestion(algorithm)
        }
        SocketOption::MaxPacingRate(rate) => EngineOption::MaxPacingRate(rate),
        SocketOption::SynRetries(count) => EngineOption::SynRetries(count),
        SocketOption::FinWait2(time) => EngineOption::FinWait2(time),
        SocketOption::DeferAccept(count) => EngineOption::DeferAccept(count),
        SocketOption::UnsentLow(bytes) => EngineOption::UnsentLow(bytes),
        SocketOption::WindowClamp(bytes) => EngineOption::WindowClamp(bytes),
        SocketOption::QuickAcks(on) => EngineOption::QuickAcks(on),
        SocketOption::FastOpenBacklog(backlog) => EngineOption::FastOpenBacklog(backlog),
        SocketOption::FastOpenConnect(on) => EngineOption::FastOpenConnect(on),
        SocketOption::FastOpenWithoutCookie(on) => EngineOption::FastOpenWithoutCookie(on),
        SocketOption::TimeToLive(ttl) => EngineOption::TimeToLive(ttl),
        SocketOption::TypeOfService(tos) => EngineOption::TypeOfService(tos),
        SocketOption::Mark(mark) => EngineOption::Mark(mark),
        SocketOption::Broadcast(on) => EngineOption::Broadcast(on),
        SocketOption::PathMtuDiscovery(mode) => EngineOption::PathMtu(discovery_to_engine(mode)),
        SocketOption::ReceiveErrors(on) => EngineOption::ReceiveErrors(on),
        SocketOption::MulticastTtl(ttl) => EngineOption::MulticastTtl(ttl),
        SocketOption::MulticastLoop(on) => EngineOption::MulticastLoop(on),
        SocketOption::MulticastAll(on) => EngineOption::MulticastAll(on),
        SocketOption::SegmentSize(size) => EngineOption::SegmentSize(size),
        SocketOption::Coalesce(on) => EngineOption::Coalesce(on),
        SocketOption::NoChecksum(on) => EngineOption::NoChecksum(on),
        // What is not of every socket's: an interface by name, what only raw sockets have, what an anchor
        // attaches, what is read.
        SocketOption::Device(_)
        | SocketOption::MulticastInterface(_)
        | SocketOption::HeaderIncluded(_)
        | SocketOption::IcmpFilter(_)
        | SocketOption::IpOptions(_)
        | SocketOption::Attach { .. }
        | SocketOption::Kind(_)
        | SocketOption::OriginalDestination(_)
        | SocketOption::PathMtu(_)
        | SocketOption::Listening(_)
        | SocketOption::TcpInfo(_) => return Err(Error::NoSuchOption),
    })
}

/// The value of an option of a socket that a program holds.
pub(crate) fn read(info: &SocketInfo, name: OptionName) -> Result<SocketOption, Error> {
    let settings = info.settings.as_ref().ok_or(Error::InvalidArgument)?;
    let ip = info.ip.as_ref().ok_or(Error::InvalidArgument)?;
    let bytes = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(match name {
        // Flows know it, not sockets.
        OptionName::OriginalDestination => return Err(Error::NoSuchEntry),
        OptionName::ReuseAddress => SocketOption::ReuseAddress(info.reuse_address),
        OptionName::ReusePort => SocketOption::ReusePort(info.reuse_port),
        OptionName::KeepAlive => SocketOption::KeepAlive(settings.keep_alive),
        OptionName::KeepAliveIdle => SocketOption::KeepAliveIdle(settings.keep_alive_idle),
        OptionName::KeepAliveInterval => {
            SocketOption::KeepAliveInterval(settings.keep_alive_interval)
        }
        OptionName::KeepAliveCount => SocketOption::KeepAliveCount(settings.keep_alive_count),
        OptionName::NoDelay => SocketOption::NoDelay(settings.no_delay),
        OptionName::Cork => SocketOption::Cork(settings.cork),
        OptionName::SendBuffer => SocketOption::SendBuffer(bytes(settings.send_limit)),
        OptionName::ReceiveBuffer => SocketOption::ReceiveBuffer(bytes(settings.receive_limit)),
        OptionName::Linger => SocketOption::Linger(settings.linger),
        OptionName::MaxSegment => SocketOption::MaxSegment(max_segment(info)),
        OptionName::UserTimeout => SocketOption::UserTimeout(settings.user_timeout),
        OptionName::Congestion => SocketOption::Congestion(settings.congestion.name().into()),
        OptionName::SynRetries => SocketOption::SynRetries(settings.syn_retries),
        OptionName::FinWait2 => SocketOption::FinWait2(settings.fin_wait_2),
        OptionName::DeferAccept => SocketOption::DeferAccept(settings.defer_accept),
        OptionName::UnsentLow => SocketOption::UnsentLow(settings.unsent_low),
        OptionName::WindowClamp => SocketOption::WindowClamp(settings.window_clamp),
        OptionName::QuickAcks => {
            SocketOption::QuickAcks(info.tcp.as_ref().is_none_or(|tcp| tcp.quick_acks))
        }
        OptionName::FastOpenBacklog => SocketOption::FastOpenBacklog(settings.fast_open_backlog),
        OptionName::FastOpenConnect => SocketOption::FastOpenConnect(settings.fast_open_connect),
        OptionName::FastOpenWithoutCookie => {
            SocketOption::FastOpenWithoutCookie(settings.fast_open_without_cookie)
        }
        OptionName::MaxPacingRate => SocketOption::MaxPacingRate(settings.max_pacing_rate),
        OptionName::TimeToLive => SocketOption::TimeToLive(ip.ttl),
        OptionName::TypeOfService => SocketOption::TypeOfService(ip.tos),
        OptionName::Mark => SocketOption::Mark(ip.mark),
        OptionName::Broadcast => SocketOption::Broadcast(ip.broadcast),
        OptionName::PathMtuDiscovery => {
            SocketOption::PathMtuDiscovery(discovery_to_program(ip.path_mtu))
        }
        OptionName::ReceiveErrors => SocketOption::ReceiveErrors(ip.receive_errors),
        OptionName::MulticastTtl => SocketOption::MulticastTtl(ip.multicast_ttl),
        OptionName::MulticastLoop => SocketOption::MulticastLoop(ip.multicast_loop),
        OptionName::MulticastAll => SocketOption::MulticastAll(ip.multicast_all),
        OptionName::SegmentSize => SocketOption::SegmentSize(info.segment_size),
        OptionName::Coalesce => SocketOption::Coalesce(info.coalesce),
        OptionName::NoChecksum => SocketOption::NoChecksum(info.no_checksum),
        OptionName::Kind => SocketOption::Kind(match info.kind {
            EngineKind::Tcp => SocketKind::Tcp,
            EngineKind::Udp => SocketKind::Udp,
            EngineKind::Ping => SocketKind::Ping,
            // Which protocol is another question, and asked elsewhere.
            EngineKind::Packet => SocketKind::Packet { cooked: false, protocol: 0 },
            EngineKind::Raw => SocketKind::Raw { protocol: 0 },
        }),
        OptionName::Device
        | OptionName::MulticastInterface
        | OptionName::HeaderIncluded
        | OptionName::IcmpFilter
        | OptionName::IpOptions
        | OptionName::Attach
        | OptionName::PathMtu => {
            return Err(Error::NoSuchOption);
        }
        OptionName::Listening => SocketOption::Listening(info.state == State::Listen),
        OptionName::TcpInfo => SocketOption::TcpInfo(Box::new(tcp_info(info))),
    })
}

fn discovery_to_engine(mode: PathMtuDiscovery) -> EngineDiscovery {
    match mode {
        PathMtuDiscovery::Dont => EngineDiscovery::Dont,
        PathMtuDiscovery::Want => EngineDiscovery::Want,
        PathMtuDiscovery::Do => EngineDiscovery::Do,
        PathMtuDiscovery::Probe => EngineDiscovery::Probe,
        PathMtuDiscovery::Interface => EngineDiscovery::Interface,
        PathMtuDiscovery::Omit => EngineDiscovery::Omit,
    }
}

fn discovery_to_program(mode: EngineDiscovery) -> PathMtuDiscovery {
    match mode {
        EngineDiscovery::Dont => PathMtuDiscovery::Dont,
        EngineDiscovery::Want => PathMtuDiscovery::Want,
        EngineDiscovery::Do => PathMtuDiscovery::Do,
        EngineDiscovery::Probe => PathMtuDiscovery::Probe,
        EngineDiscovery::Interface => PathMtuDiscovery::Interface,
        EngineDiscovery::Omit => PathMtuDiscovery::Omit,
    }
}

/// As on Linux: what is in use once connected, before that what was set, or RFC 9293's default.
fn max_segment(info: &SocketInfo) -> u16 {
    const DEFAULT: u16 = 536;
    let set = info.settings.as_ref().and_then(|settings| settings.max_segment);
    info.tcp.as_ref().map(|tcp| tcp.send_mss).or(set).unwrap_or(DEFAULT)
}

pub(crate) fn tcp_info(info: &SocketInfo) -> TcpInfo {
    let state = tcp_state(info.state);
    let Some(tcp) = &info.tcp else { return TcpInfo { state, ..TcpInfo::default() } };
    let Info {
        state: _,
        algorithm,
        congestion_window,
        slow_start_threshold,
        pacing_rate,
        max_pacing_rate,
        delivery_rate,
        delivery_rate_app_limited,
        send_window,
        receive_window,
        send_mss,
        receive_mss,
        peer_segment,
        path_mtu,
        send_window_scale,
        receive_window_scale,
        timestamps,
        sack,
        ecn,
        marks: _,
        smoothed_rtt,
        rtt_variance,
        min_rtt,
        retransmission_timeout,
        acknowledgment_timeout,
        bytes_in_flight,
        bytes_sent,
        bytes_acknowledged,
        bytes_received,
        bytes_retransmitted,
        segments_sent,
        segments_received,
        text_segments_sent,
        text_segments_received,
        busy,
        window_limited,
        buffer_limited,
        history,
        reordering,
        reorderings,
        receive_limit,
        probes,
        retransmissions,
        backoff,
        bytes_outstanding,
        bytes_sacked,
        bytes_lost,
        bytes_in_repair,
        bytes_unsent,
        since_sent,
        since_received,
        since_acknowledged,
        repair,
        quick_acks: _,
        syn_text,
        fast_open_failure,
        delivered,
        urgent_offset: _,
    } = *tcp;
    TcpInfo {
        state,
        congestion: algorithm.name().into(),
        congestion_window,
        slow_start_threshold: slow_start_threshold.unwrap_or(u32::MAX),
        pacing_rate,
        max_pacing_rate,
        delivery_rate,
        delivery_rate_app_limited,
        send_window,
        receive_window,
        send_mss,
        receive_mss,
        peer_segment,
        path_mtu,
        send_window_scale,
        receive_window_scale,
        timestamps,
        sack,
        ecn: ecn != Feedback::None,
        accurate_ecn: ecn == Feedback::Accurate,
        smoothed_rtt,
        rtt_variance,
        min_rtt,
        retransmission_timeout,
        acknowledgment_timeout,
        bytes_in_flight,
        bytes_sent,
        bytes_acknowledged,
        bytes_received,
        bytes_retransmitted,
        segments_sent,
        segments_received,
        text_segments_sent,
        text_segments_received,
        busy,
        window_limited,
        buffer_limited,
        reordering,
        reorderings,
        duplicates_reported: history.duplicates_reported,
        out_of_order: history.out_of_order,
        delivered_marked: history.delivered_marked,
        timeouts: history.timeouts,
        timeout_recoveries: history.timeout_recoveries,
        timeout_time: history.timeout_time,
        receive_limit,
        probes,
        retransmissions,
        backoff,
        bytes_outstanding,
        bytes_sacked,
        bytes_lost,
        bytes_in_repair,
        bytes_unsent,
        since_sent,
        since_received,
        since_acknowledged,
        syn_text,
        fast_open_failure: match fast_open_failure {
            Failure::None => 0,
            Failure::NoCookie => 1,
            Failure::TextNotTaken => 2,
            Failure::SynLost => 3,
        },
        delivered,
        repair: match repair {
            EngineRepair::Open => Repair::Open,
            EngineRepair::Disorder => Repair::Disorder,
            EngineRepair::Recovery => Repair::Recovery,
            EngineRepair::Timeout => Repair::Timeout,
        },
    }
}

pub(crate) fn tcp_state(state: State) -> TcpState {
    match state {
        State::Closed => TcpState::Closed,
        State::Listen => TcpState::Listen,
        State::SynSent => TcpState::SynSent,
        State::SynReceived => TcpState::SynReceived,
        State::Established => TcpState::Established,
        State::FinWait1 => TcpState::FinWait1,
        State::FinWait2 => TcpState::FinWait2,
        State::CloseWait => TcpState::CloseWait,
        State::Closing => TcpState::Closing,
        State::LastAck => TcpState::LastAck,
        State::TimeWait => TcpState::TimeWait,
    }
}
