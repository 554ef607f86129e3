use crate::rig::{Rig, events, take_record, write};
use narrows_ipc::Error;
use rustix::event::PollFlags;

#[test]
fn a_burst_arrives_once_each_and_in_order() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    // More than wait in the listener's anchor, so that some wait in the engine.
    let clients: Vec<_> = (0..200u8).map(|_| rig.connect(&mut program, address)).collect();
    for (number, client) in clients.iter().enumerate() {
        rig.until("a connection", |_| events(client).contains(PollFlags::OUT).then_some(()));
        write(client, &[number as u8]).expect("write");
    }
    assert_eq!(rig.worker.anchors.len(), 1 + 200 + 64 + 1, "64 wait in the anchor and one is held");
    for number in 0..200u8 {
        let (server, _) = rig.accept(&listener);
        assert_eq!(rig.read(&server), Ok(vec![number]));
    }
    rig.settle();
    assert!(take_record(&listener).is_none());
}

#[test]
fn closing_a_listener_resets_who_was_never_accepted() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    let clients: Vec<_> = (0..100).map(|_| rig.connect(&mut program, address)).collect();
    let (first, _) = rig.accept(&listener);
    write(&first, b"welcome").expect("write");
    rig.settle();
    drop(listener);
    let (taken, rest) = clients.split_first().expect("clients");
    for client in rest {
        rig.until("the end", |_| events(client).contains(PollFlags::HUP).then_some(()));
        assert_eq!(rig.take_error(&mut program, client), Some(Error::ConnectionReset));
    }
    assert_eq!(rig.read(taken), Ok(b"welcome".to_vec()));
    drop((clients, first));
    rig.until("anchors to go", |rig| (rig.worker.anchors.len() == 0).then_some(()));
}

#[test]
fn who_was_accepted_may_outlive_the_listener_in_silence() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    let client = rig.connect(&mut program, address);
    let (server, _) = rig.accept(&listener);
    drop(listener);
    rig.settle();
    drop(server);
    assert_eq!(rig.read_to_end(&client), Ok(vec![]));
    assert_eq!(rig.take_error(&mut program, &client), None);
}

#[test]
fn a_listener_shut_down_for_reading_keeps_nothing() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Read).expect("shutdown");
    let client = rig.connect(&mut program, address);
    rig.until("the end", |_| events(&client).contains(PollFlags::HUP).then_some(()));
}
