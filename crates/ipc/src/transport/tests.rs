use super::*;
use crate::{Listener, Reply, Request};
use rustix::fs::{OFlags, fcntl_setfl};
use std::{
    fs::File,
    io::{Read, Write},
    thread,
};

fn nonblocking(endpoint: &Endpoint) {
    fcntl_setfl(endpoint.as_fd(), OFlags::NONBLOCK).unwrap();
}

#[test]
fn a_descriptor_arrives_close_on_exec() {
    let (mut a, mut b) = Endpoint::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    a.send(&Request::TakeError, Some(null.as_fd())).unwrap();
    let (request, anchor) = b.recv::<Request>().unwrap().unwrap();
    assert_eq!(request, Request::TakeError);
    let flags = rustix::io::fcntl_getfd(anchor.unwrap()).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn nothing_there_is_none_and_closed_is_an_error() {
    let (a, mut b) = Endpoint::pair().unwrap();
    nonblocking(&b);
    assert!(b.recv::<Request>().unwrap().is_none());
    drop(a);
    assert!(matches!(b.recv::<Request>(), Err(TransportError::Closed)));
    assert!(matches!(b.send(&Request::Stop, None), Err(TransportError::Closed)));
}

#[test]
fn a_peer_that_never_reads_is_full() {
    let (mut a, _b) = Endpoint::pair().unwrap();
    nonblocking(&a);
    let error = (0..100_000).find_map(|_| a.send(&Request::Stop, None).err());
    assert!(matches!(error, Some(TransportError::Full)), "{error:?}");
}

#[test]
fn malformed_packets_do_not_end_the_session() {
    let (a, mut b) = Endpoint::pair().unwrap();
    let mut raw = File::from(a.into_socket());
    raw.write_all(&[0xff; 9]).unwrap();
    raw.write_all(&[0; MAX_PACKET + 1]).unwrap();
    raw.write_all(codec::encode(&Request::Stop, &mut [0; 8]).unwrap()).unwrap();
    assert!(matches!(b.recv::<Request>(), Err(TransportError::Malformed(_))));
    assert!(matches!(b.recv::<Request>(), Err(TransportError::Malformed(_))));
    assert!(matches!(b.recv::<Request>(), Ok(Some((Request::Stop, _)))));
}

#[test]
fn more_descriptors_than_allowed_are_refused_and_closed() {
    let (mut a, mut b) = Endpoint::pair().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    for many in [2, 3, 200] {
        let descriptors = vec![writer.as_fd(); many];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(200))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(a.as_fd(), &[IoSlice::new(&[1])], &mut control, SendFlags::empty()).unwrap();
        assert!(matches!(b.recv::<Request>(), Err(TransportError::DescriptorLost)), "{many}");
    }
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "no copy of the writer is left open");
    a.send(&Reply::Done, None).unwrap();
    assert!(matches!(b.recv::<Reply>(), Ok(Some((Reply::Done, _)))));
}

#[test]
fn versions_are_compared_when_a_session_opens() {
    let directory = tempdir();
    let path = directory.join("narrows.sock");
    for (daemon, agrees) in [(VERSION, true), (VERSION + 1, false)] {
        let listener = Listener::bind(&path, 0o600).unwrap();
        let client = thread::spawn({
            let path = path.clone();
            move || Endpoint::connect(&path)
        });
        let mut endpoint = loop {
            match listener.accept().unwrap() {
                Some(endpoint) => break endpoint,
                None => thread::yield_now(),
            }
        };
        let hello: Hello = loop {
            match endpoint.recv().unwrap() {
                Some((hello, _)) => break hello,
                None => thread::yield_now(),
            }
        };
        let welcome = if hello.version == daemon {
            Welcome::Ready
        } else {
            Welcome::VersionMismatch { daemon }
        };
        endpoint.send(&welcome, None).unwrap();
        match client.join().unwrap() {
            Ok(_) => assert!(agrees),
            Err(TransportError::VersionMismatch { daemon: said }) => {
                assert!(!agrees);
                assert_eq!(said, daemon);
            }
            Err(other) => panic!("{other}"),
        }
    }
    std::fs::remove_dir(directory).unwrap();
}

fn tempdir() -> std::path::PathBuf {
    let name = format!("narrows-ipc-transport-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}
