use super::*;
use crate::message::{
    Answer, OptionName, Reply, Request, SocketKind, SocketOption, SocketRow, TcpInfo, TcpState,
};
use crate::{Error, Hello, VERSION};
use std::time::Duration;

fn requests() -> Vec<Request> {
    vec![
        Request::Socket { kind: SocketKind::Tcp },
        Request::Bind { local: "10.77.0.2:80".parse().unwrap() },
        Request::Connect { remote: "[2001:db8::7]:443".parse().unwrap() },
        Request::Listen { backlog: 511 },
        Request::SetOption(SocketOption::Linger(Some(Duration::from_secs(3)))),
        Request::SetOption(SocketOption::Congestion("cubic".into())),
        Request::GetOption(OptionName::TcpInfo),
        Request::TakeError,
        Request::Sockets { after: u64::MAX },
        Request::Ping {
            destination: "10.77.0.1".parse().unwrap(),
            sequence: 7,
            payload_len: 56,
            timeout: Duration::from_millis(1500),
        },
        Request::Stop,
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Ok(Reply::Done),
        Ok(Reply::Failure(Some(Error::ConnectionRefused))),
        Ok(Reply::Option(SocketOption::TcpInfo(Box::default()))),
        Ok(Reply::Sockets {
            rows: vec![SocketRow {
                id: 1,
                protocol: "tcp".into(),
                local: "0.0.0.0:80".parse().unwrap(),
                remote: None,
                state: TcpState::Listen,
                receive_queue: 0,
                send_queue: 0,
                lost: 0,
                cut_through: false,
                peer: None,
                owner: None,
                tcp: Some(Box::new(TcpInfo::default())),
            }],
            more: true,
        }),
        Err(Error::PermissionDenied),
    ]
}

fn encoded<T: Serialize>(message: &T) -> Vec<u8> {
    let mut buffer = vec![0; MAX_PACKET];
    let bytes = encode(message, &mut buffer).unwrap().to_vec();
    assert_eq!(encoded_len(message), bytes.len());
    bytes
}

#[test]
fn messages_survive_the_trip() {
    for request in requests() {
        assert_eq!(decode(&encoded(&request)), Ok(request));
    }
    for answer in answers() {
        assert_eq!(decode(&encoded(&answer)), Ok(answer));
    }
}

/// A program of any version can read this one's hello, and refuse it by its number.
#[test]
fn hello_stays_as_it_is() {
    assert_eq!(encoded(&Hello { version: VERSION }), [VERSION as u8]);
}

#[test]
fn every_cut_and_every_extra_byte_is_malformed() {
    for request in requests() {
        let mut bytes = encoded(&request);
        for len in 0..bytes.len() {
            assert_eq!(decode::<Request>(&bytes[..len]), Err(Malformed), "{request:?} at {len}");
        }
        bytes.push(0);
        assert_eq!(decode::<Request>(&bytes), Err(Malformed), "{request:?} and a byte");
    }
}

/// Whatever the bytes are, decoding ends, and a list's claimed length costs no memory.
#[test]
fn any_bytes_are_a_message_or_malformed() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let len = random() as usize % 96;
        let mut bytes: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first %= 24;
        }
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Answer>(&bytes);
    }
    let mut claims_a_lot = encoded(&Ok::<_, Error>(Reply::Reloaded(Vec::new())));
    claims_a_lot.pop();
    claims_a_lot.extend([0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(decode::<Answer>(&claims_a_lot), Err(Malformed));
}

#[test]
fn too_long_is_an_error() {
    let long = Request::SetOption(SocketOption::Congestion("x".repeat(MAX_PACKET)));
    assert_eq!(encode(&long, &mut vec![0; MAX_PACKET]), Err(TooLong));
}
