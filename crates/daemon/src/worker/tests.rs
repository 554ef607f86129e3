use super::*;
use crate::rig::Rig;
use narrows_stack::{
    request::NewLink,
    table::{autoconf::AddressSource, bridge::BridgeSettings},
};

/// A worker whose engine has something to do at a time that is in the future.
fn waiting() -> (Rig, Instant) {
    let mut rig = Rig::new();
    let worker = &mut rig.worker;
    let new =
        Request::AddLink { name: "br0".into(), link: NewLink::Bridge(BridgeSettings::default()) };
    let now = worker.clock.now();
    let reply = worker.shard.request(now, EnginePrincipal::default(), new);
    let Ok(Reply::Interface(interface)) = reply else { panic!("{reply:?}") };
    worker.request_quietly(Request::SetAddressSource { interface, source: AddressSource::Dhcp });
    let due = worker.shard.next_timeout().expect("a server is asked again");
    (rig, due)
}

#[test]
fn deadlines_wait_for_frames_but_not_for_ever() {
    let (mut rig, due) = waiting();
    for _ in 0..HELD_TURNS {
        rig.worker.expire(due, true);
        assert_eq!(rig.worker.shard.next_timeout(), Some(due));
    }
    rig.worker.expire(due, true);
    assert!(rig.worker.shard.next_timeout().is_some_and(|at| at > due));
}

#[test]
fn without_frames_what_is_due_is_done() {
    let (mut rig, due) = waiting();
    rig.worker.expire(due, true);
    rig.worker.expire(due, false);
    assert!(rig.worker.shard.next_timeout().is_some_and(|at| at > due));
}
