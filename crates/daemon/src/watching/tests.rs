use super::*;
use crate::rig::{Program as Caller, Rig};
use narrows_ipc::{Reply, Request};
use narrows_policy::{ActKind, Effect, Origin, Permit, Rule, Who};
use rustix::net::RecvFlags;

fn options(stages: &[Stage], journeys: bool) -> WatchOptions {
    WatchOptions { interface: 0, filter: None, stages: stages.to_vec(), journeys, snap: 1 << 16 }
}

fn watch(rig: &mut Rig, caller: &mut Caller, options: WatchOptions) -> Result<OwnedFd, Error> {
    caller.endpoint.send(&Request::Watch(Box::new(options)), None).expect("send");
    match rig.answer(caller) {
        (Ok(Reply::Done), Some(records)) => Ok(records),
        (Err(error), None) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn next(records: &OwnedFd) -> Option<Told> {
    let mut bytes = vec![0; Told::MAX_LEN];
    match rustix::net::recv(records, &mut bytes[..], RecvFlags::DONTWAIT) {
        Ok((count, _)) => Some(Told::decode(&bytes[..count]).expect("a record")),
        Err(Errno::AGAIN) => None,
        Err(errno) => panic!("{errno}"),
    }
}

#[test]
fn a_journey_names_the_listener_and_its_program() {
    let mut rig = Rig::new();
    let mut caller = rig.program();
    let records = watch(&mut rig, &mut caller, options(&[], true)).expect("allowed");
    let (_client, _server) = rig.connection(&mut caller);
    rig.settle();
    let mut texts = Vec::new();
    while let Some(told) = next(&records) {
        let Told::Journey(journey) = told else { panic!("{told:?}") };
        assert_eq!(journey.packet.name, "lo");
        texts.push((journey.verdict, journey.because));
    }
    let pid = format!("pid={}))", std::process::id());
    let is_listener = |(verdict, text): &(String, String)| {
        verdict == "taken"
            && text.contains("listener tcp LISTEN 127.0.0.1:")
            && text.ends_with(&pid)
    };
    assert!(texts.iter().any(is_listener), "{texts:?}");
}

#[test]
fn closing_ends_it_and_places_are_a_users_own() {
    let mut rig = Rig::new();
    let mut caller = rig.program();
    let all: Vec<_> = (0..MAX_PER_USER)
        .map(|_| watch(&mut rig, &mut caller, options(&[Stage::Receive], false)).expect("room"))
        .collect();
    let one_more = options(&[Stage::Drop], false);
    let refused = watch(&mut rig, &mut caller, one_more.clone());
    assert_eq!(refused.err(), Some(Error::NoBufferSpace));
    drop(all);
    rig.until("an end of all", |rig| rig.worker.watches.readers.is_empty().then_some(()));
    assert!(watch(&mut rig, &mut caller, one_more).is_ok());
}

#[test]
fn who_may_not_observe_is_refused_and_whole_ways_want_more() {
    let mut rig = Rig::new();
    let stranger = || Rc::new(Principal::fake(1000, &[], "/bin/x", "/"));
    let refused = try_open(&mut rig.worker, stranger(), options(&[Stage::Drop], false));
    assert_eq!(refused.err(), Some(Error::NotPermitted));
    let who = Who { user: Some(1000), ..Who::default() };
    let origin = Origin::File { file: "n.toml".into(), line: 1 };
    let rule = |effect, kind, words| {
        let permit = Permit::parse(kind, words).expect("grammar");
        Rule { effect, who: who.clone(), permit, origin: origin.clone() }
    };
    rig.worker.authority.policy.add([
        rule(Effect::Grant, ActKind::Packet, "observe *"),
        rule(Effect::Deny, ActKind::Inspect, ""),
    ]);
    assert!(try_open(&mut rig.worker, stranger(), options(&[Stage::Drop], false)).is_ok());
    let refused = try_open(&mut rig.worker, stranger(), options(&[], true));
    assert_eq!(refused.err(), Some(Error::NotPermitted));
}

#[test]
fn hostile_options_are_refused() {
    let mut rig = Rig::new();
    let mut caller = rig.program();
    let good = options(&[Stage::Receive], false);
    for (bad, error) in [
        (WatchOptions { filter: Some(vec![(5, 0, 0, 9)]), ..good.clone() }, Error::InvalidArgument),
        (WatchOptions { filter: Some(Vec::new()), ..good.clone() }, Error::InvalidArgument),
        (WatchOptions { interface: u32::MAX, ..good }, Error::NoSuchDevice),
    ] {
        assert_eq!(watch(&mut rig, &mut caller, bad).err(), Some(error));
    }
    assert!(rig.worker.watches.readers.is_empty());
}

#[test]
fn a_slow_reader_loses_records_and_is_told_how_many() {
    let pair = pair::of_records().expect("a pair");
    let mut rig = Rig::new();
    let mut caller = rig.program();
    let _records = watch(&mut rig, &mut caller, options(&[], false)).expect("allowed");
    let (_, reader) = rig.worker.watches.readers.iter_mut().next().expect("a reader");
    reader.end = pair.end;
    let packet = Seen {
        time: 0,
        interface: 1,
        name: "lo".into(),
        direction: Direction::ToUs,
        user: None,
        length: 60_000,
        bytes: vec![1; 60_000],
    };
    let told = Told::Frame { packet: Box::new(packet), stage: Stage::Receive, reason: None };
    for _ in 0..200 {
        reader.tell(told.encode());
        reader.flush();
    }
    assert!(reader.bytes <= MAX_WAITING && reader.lost > 0);
    let (mut frames, mut lost) = (0, 0);
    while frames + lost < 200 {
        match next(&pair.program_end) {
            Some(Told::Frame { .. }) => frames += 1,
            Some(Told::Lost(more)) => lost += more,
            Some(Told::Journey(journey)) => panic!("{journey:?}"),
            None => {
                reader.writable = true;
                reader.flush();
            }
        }
    }
    assert!(frames > 60 && lost > 0 && next(&pair.program_end).is_none());
}
