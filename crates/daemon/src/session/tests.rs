use crate::rig::{Program, Rig};
use narrows_ipc::{
    Answer, Error, Hello, Reply, Request, TransportError, VERSION, Welcome, message::SocketKind,
};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg,
};
use std::{
    fs::File,
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

fn send_raw(program: &Program, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent =
        sendmsg(&program.endpoint, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(bytes.len()));
}

fn ended(rig: &mut Rig, program: &mut Program) {
    rig.until("the end of the session", |_| match program.endpoint.recv::<Answer>() {
        Err(TransportError::Closed) => Some(()),
        Ok(None) => None,
        other => panic!("{other:?}"),
    });
}

#[test]
fn another_version_is_told_and_the_session_ends() {
    for hello in [VERSION + 1, 0, u32::MAX] {
        let mut rig = Rig::new();
        let mut program = rig.stranger();
        program.endpoint.send(&Hello { version: hello }, None).expect("send");
        let welcome = rig.until("a welcome", |_| program.endpoint.recv::<Welcome>().expect("recv"));
        assert_eq!(welcome.0, Welcome::VersionMismatch { daemon: VERSION });
        ended(&mut rig, &mut program);
        assert_eq!(rig.worker.sessions.len(), 0);
    }
}

#[test]
fn what_is_not_hello_is_another_version() {
    let mut rig = Rig::new();
    let mut program = rig.stranger();
    send_raw(&program, &[0xff; 300], &[]);
    let welcome = rig.until("a welcome", |_| program.endpoint.recv::<Welcome>().expect("recv"));
    assert_eq!(welcome.0, Welcome::VersionMismatch { daemon: VERSION });
    ended(&mut rig, &mut program);
}

#[test]
fn garbage_is_refused_and_the_session_stays_in_step() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let packets: [&[u8]; 4] = [&[0xff], &[0xff; 65_000], b"GET / HTTP/1.0\r\n\r\n", &[0, 0, 0, 0]];
    for packet in packets {
        send_raw(&program, packet, &[]);
        assert_eq!(rig.answer(&mut program).0, Err(Error::BadMessage));
    }
    rig.socket(&mut program);
}

#[test]
fn requests_need_the_descriptor_they_are_about_and_no_other() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let anchor = rig.socket(&mut program);
    let file: OwnedFd = File::open("/dev/null").expect("/dev/null").into();
    let (stream, _other) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("socketpair");
    let own = program.endpoint.as_fd().try_clone_to_owned().expect("dup");
    let cases = [
        (Request::LocalAddress, None, Error::BadMessage),
        (Request::LocalAddress, Some(&file), Error::NotASocket),
        (Request::LocalAddress, Some(&stream), Error::NotASocket),
        (Request::LocalAddress, Some(&own), Error::NotASocket),
        (Request::TakeError, Some(&file), Error::NotASocket),
        (Request::Socket { kind: SocketKind::Tcp }, Some(&anchor), Error::BadMessage),
        (Request::Statistics, Some(&anchor), Error::BadMessage),
        (Request::Stop, Some(&file), Error::BadMessage),
    ];
    for (request, descriptor, error) in cases {
        assert_eq!(rig.ask(&mut program, request.clone(), descriptor), Err(error), "{request:?}");
    }
    let any = Reply::Address(std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
    assert_eq!(rig.ask(&mut program, Request::LocalAddress, Some(&anchor)), Ok(any));
    assert!(!rig.worker.stopping);
}

#[test]
fn too_many_descriptors_are_refused_and_closed() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (kept, sent) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("socketpair");
    send_raw(&program, &[0; 8], &[sent.as_fd(); 64]);
    drop(sent);
    assert_eq!(rig.answer(&mut program).0, Err(Error::NoBufferSpace));
    rig.until("the last copy to be closed", |_| crate::rig::read_now(&kept))
        .expect("an end of file");
    rig.socket(&mut program);
}

#[test]
fn who_does_not_read_answers_loses_the_session_and_nothing_else() {
    let mut rig = Rig::new();
    let mut other = rig.program();
    let mut program = rig.program();
    let anchor = rig.socket(&mut program);
    rig.until("the end of the session", |rig| {
        // Fails once the session is over, or its queue full for now.
        let _ = program.endpoint.send(&Request::Statistics, None);
        (rig.worker.sessions.len() == 1).then_some(())
    });
    let request = Request::LocalAddress;
    assert!(rig.ask(&mut other, request, Some(&anchor)).is_ok(), "sockets outlive sessions");
}

#[test]
fn a_flood_of_requests_does_not_keep_others_waiting() {
    let mut rig = Rig::new();
    let mut flooder = rig.program();
    let mut other = rig.program();
    for _ in 0..64 {
        if flooder.endpoint.send(&Request::Links { after: 0 }, None).is_err() {
            break;
        }
    }
    other.endpoint.send(&Request::Links { after: 0 }, None).expect("send");
    rig.step();
    rig.step();
    assert!(matches!(other.endpoint.recv::<Answer>(), Ok(Some((Ok(Reply::Links(_)), None)))));
}

#[test]
fn sessions_that_vanish_leave_nothing() {
    let mut rig = Rig::new();
    for _ in 0..200 {
        let program = rig.stranger();
        rig.step();
        drop(program);
    }
    rig.until("all to be gone", |rig| (rig.worker.sessions.len() == 0).then_some(()));
}

#[test]
fn a_stop_is_answered_before_the_end() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    assert_eq!(rig.ask(&mut program, Request::Stop, None), Ok(Reply::Done));
    assert!(rig.worker.stopping);
}
