//! Nobody is shown what passes in a zone that he is not admitted to.

use super::*;
use crate::table::watch::{Record, Stages, Watch, WatcherId};

fn watch(site: &mut Site, who: Principal) -> WatcherId {
    let watch = Watch {
        interface: None,
        filter: None,
        stages: Stages::all(),
        journeys: true,
        sees_claimed: true,
        snap: 1 << 16,
    };
    site.host.shard.watch(who, watch).expect("room")
}

/// Who was told of something, and was it a whole journey?
fn told(site: &mut Site) -> Vec<(WatcherId, bool)> {
    let mut told: Vec<_> = std::iter::from_fn(|| site.host.shard.poll_record())
        .flat_map(|(audience, record)| {
            let journey = matches!(record, Record::Journey(_));
            audience.members().map(move |id| (id, journey)).collect::<Vec<_>>()
        })
        .collect();
    told.sort_by_key(|(id, journey)| (format!("{id:?}"), *journey));
    told.dedup();
    told
}

#[test]
fn frames_are_shown_to_those_who_are_admitted_where_they_are() {
    let mut site = site(HostModel::Strong);
    let stranger = watch(&mut site, STRANGER);
    let technician = watch(&mut site, TECHNICIAN);
    let of = |id| [(id, false), (id, true)];
    let both = [of(stranger), of(technician)].concat();
    site.host.receive(&datagram(PEER, OWN));
    assert_eq!(told(&mut site), both);
    let lab = site.lab;
    site.host.receive_on(lab, &datagram(LAB_PEER, LAB));
    assert_eq!(told(&mut site), of(technician));
    // A frame of one's own zone that goes on to another: its beginning, but not what became of it.
    site.sent();
    site.allow(Crossing {
        from: ZoneId::PUBLIC,
        to: lab_zone(),
        protocol: None,
        ports: None,
        source: None,
        destination: None,
    });
    site.host.receive(&datagram(PEER, LAB_PEER));
    assert_eq!(site.sent(), [0, 1, 0]);
    assert_eq!(told(&mut site), [&[(stranger, false)][..], &of(technician)].concat());
    // Between members of a private zone.
    let (from, to) = (at(APP_AT, 7), at(DB_AT, 7));
    let socket = site.bound(APP, from).expect("bound");
    site.bound(DB, to).expect("bound");
    told(&mut site);
    site.send(socket, to).expect("sent");
    while site.host.shard.loop_back(site.host.now) {}
    assert_eq!(told(&mut site), []);
}
