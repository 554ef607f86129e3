use super::*;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

struct Station {
    client: Client,
    random: Random,
    now: Instant,
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Station {
    fn new() -> Self {
        let (now, mut random) = (Instant::from_millis(1000), Random::new([4; 16]));
        Self { client: Client::new(now, &mut random, MAC, None), random, now }
    }

    /// The next thing it does of itself, and after how long.
    fn next(&mut self) -> (Duration, Action) {
        let due = self.client.next_timeout().max(self.now);
        let waited = due.since(self.now);
        self.now = due;
        let action = self.client.handle_timeout(due, &mut self.random);
        (waited, action.expect("something is due"))
    }

    /// The request that leaves next.
    fn asks(&mut self) -> Request {
        match self.next() {
            (_, Action::Broadcast(request) | Action::Unicast(request, _)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&self, kind: ReplyKind) -> Reply {
        Reply {
            kind,
            transaction: self.client.transaction,
            mac: MAC,
            yours: ADDRESS,
            server: Some(SERVER),
            prefix_length: Some(24),
            router: Some(SERVER),
            name_servers: [Some(SERVER), None, None],
            lease: Some(3600),
            renewal: None,
            rebinding: None,
        }
    }

    fn receive(&mut self, reply: &Reply) -> Option<Action> {
        self.client.receive(self.now, &mut self.random, reply)
    }

    fn lease(&self) -> Lease {
        let prefix = Prefix::new(ADDRESS.into(), 24).expect("a prefix");
        Lease {
            prefix,
            router: Some(SERVER),
            name_servers: [Some(SERVER), None, None],
            server: SERVER,
            expires: self.now + seconds(3600),
        }
    }

    /// It had a lease in an earlier run, which holds for a minute.
    fn rebooting() -> Self {
        let (now, mut random) = (Instant::from_millis(1000), Random::new([4; 16]));
        let remembered = Remembered { address: ADDRESS, until: now + seconds(60) };
        Self { client: Client::new(now, &mut random, MAC, Some(remembered)), random, now }
    }

    /// With a lease of an hour, granted now.
    fn bound() -> Self {
        let mut station = Self::new();
        station.asks();
        station.receive(&station.answer(ReplyKind::Offer));
        let configured = station.receive(&station.answer(ReplyKind::Ack));
        assert_eq!(configured, Some(Action::Configure(station.lease())));
        station
    }
}

#[test]
fn an_address_is_looked_for_asked_for_and_used() {
    let mut station = Station::new();
    let discover = station.asks();
    assert_eq!((discover.kind, discover.client), (RequestKind::Discover, Ipv4Addr::UNSPECIFIED));
    assert_eq!((discover.requested, discover.server, discover.mac), (None, None, MAC));
    let Some(Action::Broadcast(request)) = station.receive(&station.answer(ReplyKind::Offer))
    else {
        panic!("nothing asked");
    };
    assert_eq!(request.kind, RequestKind::Request);
    assert_eq!((request.requested, request.server), (Some(ADDRESS), Some(SERVER)));
    assert_eq!(request.transaction, discover.transaction);
    let configured = station.receive(&station.answer(ReplyKind::Ack));
    assert_eq!(configured, Some(Action::Configure(station.lease())));
    assert_eq!(station.client.lease(), Some(&station.lease()));
}

#[test]
fn servers_that_are_silent_are_asked_less_and_less_often() {
    let mut station = Station::new();
    let waits: Vec<u64> = (0..8)
        .map(|_| {
            let (waited, action) = station.next();
            assert!(matches!(action, Action::Broadcast(request) if request.kind == RequestKind::Discover));
            waited.as_millis() as u64
        })
        .collect();
    let about = [0, 4000, 8000, 16_000, 32_000, 64_000, 64_000, 64_000];
    assert!(
        waits.iter().zip(about).all(|(waited, about)| waited.abs_diff(about) <= 1000),
        "{waits:?}"
    );
}

#[test]
fn a_server_that_offers_and_then_is_silent_is_left() {
    let mut station = Station::new();
    let first = station.asks();
    station.receive(&station.answer(ReplyKind::Offer));
    for _ in 0..3 {
        assert_eq!(station.asks().kind, RequestKind::Request);
    }
    let again = station.asks();
    assert_eq!(again.kind, RequestKind::Discover);
    assert_ne!(again.transaction, first.transaction);
}

#[test]
fn a_lease_is_renewed_by_its_server_then_by_any_and_then_over() {
    let mut station = Station::bound();
    let granted = station.now;
    let mut asked = Vec::new();
    let end = loop {
        match station.next() {
            (_, Action::Unicast(request, SERVER)) => asked.push(("unicast", request)),
            (_, Action::Broadcast(request)) => asked.push(("broadcast", request)),
            (_, action) => break action,
        }
    };
    assert_eq!((end, station.now.since(granted)), (Action::Deconfigure, seconds(3600)));
    assert_eq!(station.client.lease(), None);
    for (_, request) in &asked {
        assert_eq!(request.kind, RequestKind::Request);
        assert_eq!((request.client, request.requested, request.server), (ADDRESS, None, None));
    }
    let unicast = asked.iter().filter(|(how, _)| *how == "unicast").count();
    assert!((3..20).contains(&unicast) && (2..10).contains(&(asked.len() - unicast)), "{asked:?}");
    assert!(asked.is_sorted_by_key(|(how, _)| *how == "broadcast"));
}

#[test]
fn a_renewal_begins_the_lease_anew() {
    for rebinding in [false, true] {
        let mut station = Station::bound();
        while matches!(station.client.phase, Phase::Bound { .. } | Phase::Renewing { .. })
            && (rebinding || matches!(station.client.phase, Phase::Bound { .. }))
        {
            station.asks();
        }
        // While rebinding any server may answer.
        let server = if rebinding { Ipv4Addr::new(10, 0, 0, 3) } else { SERVER };
        let reply = Reply { server: Some(server), ..station.answer(ReplyKind::Ack) };
        let lease = Lease { server, ..station.lease() };
        assert_eq!(station.receive(&reply), Some(Action::Configure(lease)), "{rebinding}");
        assert!(matches!(station.client.phase, Phase::Bound { .. }));
    }
}

#[test]
fn a_server_may_take_a_lease_back() {
    let mut station = Station::bound();
    station.asks();
    let other = Reply { server: Some([10, 0, 0, 3].into()), ..station.answer(ReplyKind::Nak) };
    assert_eq!(station.receive(&other), None, "another can't");
    assert_eq!(station.receive(&station.answer(ReplyKind::Nak)), Some(Action::Deconfigure));
    assert_eq!(station.client.lease(), None);
}

#[test]
fn a_refused_request_is_not_repeated_at_once() {
    let mut station = Station::new();
    station.asks();
    station.receive(&station.answer(ReplyKind::Offer));
    assert_eq!(station.receive(&station.answer(ReplyKind::Nak)), None);
    let (waited, action) = station.next();
    assert!(matches!(action, Action::Broadcast(request) if request.kind == RequestKind::Discover));
    assert!(waited >= seconds(3), "{waited:?}");
}

#[test]
fn an_address_that_another_station_has_is_declined() {
    let mut station = Station::bound();
    let declined = station.client.decline(station.now, &mut station.random);
    let Some(Action::Broadcast(decline)) = declined else { panic!("{declined:?}") };
    assert_eq!((decline.kind, decline.requested), (RequestKind::Decline, Some(ADDRESS)));
    assert_eq!((decline.client, decline.server), (Ipv4Addr::UNSPECIFIED, Some(SERVER)));
    assert_eq!(station.client.lease(), None);
    assert_eq!(station.next().0, seconds(10));
    assert_eq!(station.client.decline(station.now, &mut station.random), None);
}

#[test]
fn answers_to_others_and_out_of_turn_are_not_believed() {
    let mut station = Station::new();
    station.asks();
    let offer = station.answer(ReplyKind::Offer);
    for reply in [
        Reply { transaction: offer.transaction ^ 1, ..offer },
        Reply { mac: MacAddr([2, 0, 0, 0, 0, 8]), ..offer },
        Reply { server: None, ..offer },
        Reply { yours: Ipv4Addr::UNSPECIFIED, ..offer },
        station.answer(ReplyKind::Ack),
        station.answer(ReplyKind::Nak),
    ] {
        assert_eq!(station.receive(&reply), None, "{reply:?}");
    }
    assert!(station.receive(&offer).is_some());
    let ack = station.answer(ReplyKind::Ack);
    for reply in [
        Reply { server: Some([10, 0, 0, 3].into()), ..ack },
        Reply { yours: [10, 0, 0, 51].into(), ..ack },
        Reply { lease: None, ..ack },
        station.answer(ReplyKind::Offer),
    ] {
        assert_eq!(station.receive(&reply), None, "{reply:?}");
    }
    assert!(station.receive(&ack).is_some());
    assert_eq!(station.receive(&ack), None, "once");
}

#[test]
fn times_that_make_no_sense_are_replaced() {
    for (lease, renewal, rebinding, expected) in [
        (3600, None, None, (1800, 3150, 3600)),
        (3600, Some(600), Some(1200), (600, 1200, 3600)),
        (3600, Some(3000), Some(1200), (1200, 1200, 3600)),
        (3600, Some(9000), Some(9000), (1800, 3150, 3600)),
        (0, Some(0), Some(0), (0, 0, 30)),
        (u32::MAX, None, None, (2_147_483_647, 3_758_096_383, 4_294_967_295)),
    ] {
        let mut station = Station::new();
        station.asks();
        station.receive(&station.answer(ReplyKind::Offer));
        let ack =
            Reply { lease: Some(lease), renewal, rebinding, ..station.answer(ReplyKind::Ack) };
        station.receive(&ack);
        let Phase::Bound { lease, times } = station.client.phase else { panic!("not bound") };
        let after = |at: Instant| at.since(station.now).as_secs();
        assert_eq!((after(times.renew), after(times.rebind), after(lease.expires)), expected);
    }
}

#[test]
fn without_a_mask_the_address_is_a_host_of_its_own() {
    let mut station = Station::new();
    station.asks();
    station.receive(&station.answer(ReplyKind::Offer));
    for prefix_length in [None, Some(0)] {
        let mut station = Station {
            client: Client { ..station.client },
            random: Random::new([1; 16]),
            now: station.now,
        };
        let ack = Reply { prefix_length, ..station.answer(ReplyKind::Ack) };
        let Some(Action::Configure(lease)) = station.receive(&ack) else { panic!("not bound") };
        assert_eq!(lease.prefix.length(), 32);
    }
}

#[test]
fn a_lease_of_an_earlier_run_is_asked_for_first() {
    let mut station = Station::rebooting();
    assert_eq!(station.client.lease(), None, "not used before a server says so");
    let request = station.asks();
    assert_eq!((request.kind, request.client), (RequestKind::Request, Ipv4Addr::UNSPECIFIED));
    assert_eq!((request.requested, request.server), (Some(ADDRESS), None));
    let other = Reply { yours: [10, 0, 0, 51].into(), ..station.answer(ReplyKind::Ack) };
    assert_eq!(station.receive(&other), None, "it was not asked for");
    assert_eq!(station.receive(&station.answer(ReplyKind::Offer)), None);
    let configured = station.receive(&station.answer(ReplyKind::Ack));
    assert_eq!(configured, Some(Action::Configure(station.lease())));
    let remembered = Remembered { address: ADDRESS, until: station.lease().expires };
    assert_eq!(station.client.remembered(), Some(remembered));
}

#[test]
fn a_lease_of_an_earlier_run_that_nobody_grants_is_given_up() {
    let mut refused = Station::rebooting();
    refused.asks();
    let refusal = Reply { yours: Ipv4Addr::UNSPECIFIED, ..refused.answer(ReplyKind::Nak) };
    let Some(Action::Broadcast(discover)) = refused.receive(&refusal) else { panic!("no search") };
    assert_eq!((discover.kind, discover.requested), (RequestKind::Discover, None));

    let mut unheard = Station::rebooting();
    let kinds: Vec<_> = (0..4).map(|_| unheard.asks().kind as u8).collect();
    assert_eq!(kinds, [3, 3, 1, 1]);
    assert_eq!(unheard.asks().requested, Some(ADDRESS), "servers may still heed the wish");
}

#[test]
fn a_lease_that_is_over_is_only_wished_for() {
    let (now, mut random) = (Instant::from_millis(1000), Random::new([4; 16]));
    let remembered = Remembered { address: ADDRESS, until: now };
    let client = Client::new(now, &mut random, MAC, Some(remembered));
    let request = Station { client, random, now }.asks();
    assert_eq!((request.kind, request.requested), (RequestKind::Discover, Some(ADDRESS)));
}

#[test]
fn a_lease_is_given_back_to_its_server() {
    let mut station = Station::bound();
    let before = station.client.transaction;
    let released = station.client.release(station.now, &mut station.random);
    let Some(Action::Unicast(release, SERVER)) = released else { panic!("{released:?}") };
    assert_eq!((release.kind, release.client), (RequestKind::Release, ADDRESS));
    // RFC 2131, table 5: the server is named, the address is not an option.
    assert_eq!((release.requested, release.server), (None, Some(SERVER)));
    assert_ne!(release.transaction, before);
    assert_eq!(station.client.lease(), None);
    assert_eq!(station.client.release(station.now, &mut station.random), None, "once");
}
