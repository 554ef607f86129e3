use crate::rig::Rig;
use narrows_ipc::{Reply, Request, message::Page};
use narrows_stack::{
    request::{Principal, Request as Engine},
    table::interface::InterfaceSettings,
};
use narrows_wire::address::MacAddr;
use std::collections::BTreeSet;

#[test]
fn reports_that_are_longer_than_a_packet_come_in_pages() {
    const INTERFACES: usize = 3_000;
    let mut rig = Rig::new();
    let mut program = rig.program();
    let now = rig.worker.clock.now();
    // With the loopback.
    for number in 1..INTERFACES {
        let settings = InterfaceSettings {
            name: format!("lan{number}"),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            capabilities: Default::default(),
            routing: Default::default(),
        };
        let request = Engine::AddInterface { settings };
        rig.worker.shard.request(now, Principal::default(), request).expect("an interface");
    }
    let (mut seen, mut pages) = (BTreeSet::new(), 0);
    loop {
        let after = u32::try_from(seen.len()).expect("few");
        let answer = rig.ask(&mut program, Request::Links { after }, None);
        let Ok(Reply::Links(Page { rows, more })) = answer else { panic!("{answer:?}") };
        seen.extend(rows.into_iter().map(|row| row.id));
        pages += 1;
        if !more {
            break;
        }
    }
    assert_eq!(seen.len(), INTERFACES);
    assert!(pages > 1, "{pages}");
    let after = u32::MAX;
    let answer = rig.ask(&mut program, Request::Links { after }, None);
    assert_eq!(answer, Ok(Reply::Links(Page { rows: Vec::new(), more: false })));
}
