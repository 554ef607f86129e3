use super::*;
use MembershipChange::{Block, Join, JoinSource, Leave, LeaveSource, Set, Unblock};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const KEY: GroupKey = (InterfaceId(1), GROUP);

fn socket(slot: u32) -> SocketId {
    SocketId { slot, generation: 1 }
}

fn source(last: u8) -> Ipv4Addr {
    [10, 0, 0, last].into()
}

fn filter(mode: FilterMode, sources: &[u8]) -> Filter {
    Filter { mode, sources: sources.iter().map(|last| source(*last)).collect() }
}

fn include(sources: &[u8]) -> Filter {
    filter(FilterMode::Include, sources)
}

fn exclude(sources: &[u8]) -> Filter {
    filter(FilterMode::Exclude, sources)
}

fn change(
    table: &mut MembershipTable,
    slot: u32,
    change: MembershipChange,
) -> Result<(Filter, Filter), Error> {
    let limits = Limits { multicast_sources: 4, ..Limits::default() };
    let transition = table.change(&limits, socket(slot), KEY, &change)?;
    assert_eq!(transition.key, KEY);
    Ok((transition.before, transition.after))
}

#[test]
fn one_sockets_filter_is_the_interfaces() {
    let mut table = MembershipTable::default();
    for (step, before, after) in [
        (Join, include(&[]), exclude(&[])),
        (Block(source(1)), exclude(&[]), exclude(&[1])),
        (Block(source(2)), exclude(&[1]), exclude(&[1, 2])),
        (Unblock(source(1)), exclude(&[1, 2]), exclude(&[2])),
        (Leave, exclude(&[2]), include(&[])),
        (JoinSource(source(1)), include(&[]), include(&[1])),
        (JoinSource(source(2)), include(&[1]), include(&[1, 2])),
        (LeaveSource(source(1)), include(&[1, 2]), include(&[2])),
        (LeaveSource(source(2)), include(&[2]), include(&[])),
        (Set(exclude(&[3])), include(&[]), exclude(&[3])),
        (Set(include(&[4])), exclude(&[3]), include(&[4])),
        (Leave, include(&[4]), include(&[])),
    ] {
        assert_eq!(change(&mut table, 1, step.clone()), Ok((before, after)), "{step:?}");
    }
    assert!(table.groups.is_empty() && table.joined.is_empty());
}

#[test]
fn refusals_are_those_of_linux_and_change_nothing() {
    for (held, step, error) in [
        (None, Leave, Error::AddressNotAvailable),
        (None, LeaveSource(source(1)), Error::AddressNotAvailable),
        (None, Block(source(1)), Error::AddressNotAvailable),
        (Some(exclude(&[1])), Join, Error::AddressInUse),
        (Some(include(&[1])), Join, Error::AddressInUse),
        (Some(exclude(&[1])), JoinSource(source(2)), Error::InvalidArgument),
        (Some(exclude(&[1])), LeaveSource(source(1)), Error::InvalidArgument),
        (Some(include(&[1])), Block(source(2)), Error::InvalidArgument),
        (Some(include(&[1])), Unblock(source(1)), Error::InvalidArgument),
        (Some(include(&[1])), JoinSource(source(1)), Error::AddressNotAvailable),
        (Some(include(&[1])), LeaveSource(source(2)), Error::AddressNotAvailable),
        (Some(exclude(&[1])), Block(source(1)), Error::AddressNotAvailable),
        (Some(exclude(&[1])), Unblock(source(2)), Error::AddressNotAvailable),
        (Some(exclude(&[1, 2, 3, 4])), Block(source(5)), Error::LimitReached),
        (None, Set(include(&[1, 2, 3, 4, 5])), Error::LimitReached),
    ] {
        let mut table = MembershipTable::default();
        if let Some(filter) = &held {
            change(&mut table, 1, Set(filter.clone())).expect("set");
        }
        assert_eq!(change(&mut table, 1, step.clone()), Err(error), "{held:?} {step:?}");
        assert_eq!(table.filter(KEY), held.as_ref().unwrap_or(&Filter::NOBODY));
    }
}

/// RFC 3376 §3.2, with its examples.
#[test]
fn filters_of_several_sockets_add_up() {
    for (filters, merged) in [
        (&[include(&[1, 2, 3]), include(&[2, 3, 4])][..], include(&[1, 2, 3, 4])),
        (&[exclude(&[1, 2, 3, 4]), exclude(&[2, 3, 4, 5]), include(&[4, 5, 6])], exclude(&[2, 3])),
        (&[exclude(&[1]), exclude(&[])], exclude(&[])),
        (&[exclude(&[1]), include(&[1])], exclude(&[])),
        (&[include(&[])], include(&[])),
    ] {
        let mut table = MembershipTable::default();
        for (slot, filter) in (1..).zip(filters) {
            change(&mut table, slot, Set(filter.clone())).expect("set");
        }
        assert_eq!(*table.filter(KEY), merged, "{filters:?}");
        for last in 0..8 {
            let wanted = filters.iter().any(|filter| filter.admits(source(last)));
            assert_eq!(table.wants(KEY.0, GROUP, source(last)), wanted, "{filters:?} {last}");
        }
    }
}

#[test]
fn every_host_is_a_member_of_all_systems() {
    let table = MembershipTable::default();
    assert!(table.wants(InterfaceId(1), ALL_SYSTEMS, source(1)));
    assert!(!table.wants(InterfaceId(1), GROUP, source(1)));
}

#[test]
fn memberships_are_of_a_socket_on_an_interface() {
    let mut table = MembershipTable::default();
    change(&mut table, 1, Join).expect("joined");
    change(&mut table, 2, JoinSource(source(1))).expect("joined");
    let admits = |slot, interface, last| {
        table.admits(socket(slot), InterfaceId(interface), GROUP, source(last))
    };
    assert_eq!((admits(1, 1, 1), admits(1, 1, 2)), (Some(true), Some(true)));
    assert_eq!((admits(2, 1, 1), admits(2, 1, 2)), (Some(true), Some(false)));
    assert_eq!((admits(3, 1, 1), admits(1, 2, 1)), (None, None));
    let rows: Vec<_> = table.of(InterfaceId(1)).collect();
    assert_eq!(rows, [(GROUP, 2, &exclude(&[]))]);
    assert_eq!(table.of(InterfaceId(2)).count(), 0);
    assert_eq!(table.find(socket(2), None, GROUP), Some(KEY));
    assert_eq!(table.find(socket(2), Some(InterfaceId(2)), GROUP), None);
}

#[test]
fn what_goes_takes_its_memberships_along() {
    let mut table = MembershipTable::default();
    change(&mut table, 1, Join).expect("joined");
    change(&mut table, 2, JoinSource(source(1))).expect("joined");
    let gone: Vec<_> =
        table.forget(socket(1)).into_iter().map(|gone| (gone.before, gone.after)).collect();
    assert_eq!(gone, [(exclude(&[]), include(&[1]))]);
    assert_eq!(table.forget(socket(1)), []);
    table.remove_interface(InterfaceId(1));
    assert!(table.groups.is_empty() && table.joined.is_empty());
}

#[test]
fn tables_have_limits() {
    let limits = Limits::default();
    let mut table = MembershipTable::default();
    let mut joined = 0;
    for number in 0..limits.multicast_groups as u32 + 100 {
        let key = (InterfaceId(1), Ipv4Addr::from(0xef00_0000 + number));
        let slot = number / limits.multicast_groups_per_socket as u32;
        joined += usize::from(table.change(&limits, socket(slot), key, &Join).is_ok());
    }
    assert_eq!(joined, limits.multicast_groups);
    let mut table = MembershipTable::default();
    let joined = (0..1000).filter(|number| {
        let key = (InterfaceId(1), Ipv4Addr::from(0xef00_0000 + number));
        table.change(&limits, socket(1), key, &Join).is_ok()
    });
    assert_eq!(joined.count(), limits.multicast_groups_per_socket);
}

#[test]
fn groups_are_taken_by_their_link_addresses() {
    let mut table = MembershipTable::default();
    let limits = Limits::default();
    let takes = |table: &MembershipTable, interface, last| {
        table.takes(InterfaceId(interface), MacAddr([1, 0, 0x5e, 1, 2, last]))
    };
    // 239.1.2.3 and 224.129.2.3 share theirs (RFC 1112 §6.4).
    let shares = (InterfaceId(1), Ipv4Addr::new(224, 129, 2, 3));
    change(&mut table, 1, Join).expect("joined");
    assert!(takes(&table, 1, 3) && !takes(&table, 1, 4) && !takes(&table, 2, 3));
    table.change(&limits, socket(1), shares, &Join).expect("joined");
    change(&mut table, 1, Leave).expect("left");
    assert!(takes(&table, 1, 3));
    table.forget(socket(1));
    assert!(!takes(&table, 1, 3) && table.macs.is_empty());
    assert!(table.takes(InterfaceId(9), MacAddr([1, 0, 0x5e, 0, 0, 1])), "all systems");
}

#[test]
fn more_sources_than_a_report_lists_ask_for_everybody() {
    let mut table = MembershipTable::default();
    for slot in 0..=MAX_MERGED as u32 {
        let from = Ipv4Addr::from(0x0a00_0000 + slot);
        change(&mut table, slot, JoinSource(from)).expect("joined");
        let expected =
            if slot as usize == MAX_MERGED { FilterMode::Exclude } else { FilterMode::Include };
        assert_eq!(table.filter(KEY).mode, expected);
    }
    let other = Ipv4Addr::new(192, 0, 2, 1);
    assert!(table.wants(KEY.0, GROUP, other));
    assert_eq!(table.admits(socket(0), KEY.0, GROUP, other), Some(false));
}
