mod sequences;

use super::*;
use crate::time::Duration;
use narrows_wire::ipv4::Protocol;

const NOW: Instant = Instant::from_millis(1000);
const ETH: InterfaceId = InterfaceId(1);

fn limits() -> Limits {
    Limits {
        reassembly_bytes: 16_000,
        reassembly_bytes_per_source: 8_000,
        reassembly_datagrams: 8,
        reassembly_fragments: 16,
        reassembly_timeout: Duration::from_secs(15),
        ..Limits::default()
    }
}

/// A fragment of datagram `identification` of host `source`.
#[derive(Clone, Copy)]
struct Fragment<'a> {
    source: u8,
    identification: u16,
    offset: u16,
    more: bool,
    payload: &'a [u8],
    header_len: usize,
}

const FRAGMENT: Fragment<'_> =
    Fragment { source: 1, identification: 7, offset: 0, more: true, payload: &[], header_len: 20 };

fn header(fragment: &Fragment<'_>) -> ipv4::Header {
    ipv4::Header {
        tos: 0,
        identification: fragment.identification,
        dont_fragment: false,
        more_fragments: fragment.more,
        fragment_offset: fragment.offset,
        ttl: 64,
        protocol: Protocol::UDP,
        source: Ipv4Addr::new(10, 0, 0, fragment.source),
        destination: Ipv4Addr::new(10, 0, 0, 200),
    }
}

fn insert(table: &mut ReassemblyTable, fragment: Fragment<'_>) -> Insertion {
    let insertion = insert_on(table, ETH, &limits(), fragment);
    consistent(table, &limits());
    insertion
}

fn insert_on(
    table: &mut ReassemblyTable,
    interface: InterfaceId,
    limits: &Limits,
    fragment: Fragment<'_>,
) -> Insertion {
    let header_bytes = [0x45; 60];
    let packet = ipv4::Packet {
        header: header(&fragment),
        header_bytes: &header_bytes[..fragment.header_len],
        options: &[],
        payload: fragment.payload,
    };
    table.insert(NOW, limits, interface, &packet)
}

/// The invariant, and that the indices agree with each other.
fn consistent(table: &ReassemblyTable, limits: &Limits) {
    assert!(table.charge <= limits.reassembly_bytes);
    assert!(table.datagrams.len() <= limits.reassembly_datagrams);
    assert_eq!(table.charge, table.datagrams.values().map(|d| d.charge).sum::<usize>());
    assert_eq!(table.charge, table.sources.values().map(|s| s.charge).sum::<usize>());
    assert_eq!(table.by_age.len(), table.datagrams.len());
    let serials: usize = table.sources.values().map(|s| s.serials.len()).sum();
    assert_eq!(serials, table.datagrams.len());
    for source in table.sources.values() {
        assert!(source.charge <= limits.reassembly_bytes_per_source);
    }
    for datagram in table.datagrams.values() {
        let Progress::Collecting(pieces) = &datagram.progress else { continue };
        assert!(pieces.by_offset.len() <= limits.reassembly_fragments);
        assert_eq!(pieces.held, pieces.by_offset.values().map(|p| p.len()).sum::<usize>());
        let mut end = 0;
        for (at, piece) in &pieces.by_offset {
            assert!(usize::from(*at) >= end, "pieces overlap");
            end = usize::from(*at) + piece.len();
        }
    }
}

fn held() -> Insertion {
    Insertion { verdict: Ok(None), condemned: 0, evicted: 0 }
}

/// Three fragments of a datagram of 40 bytes: 16, 16 and 8.
fn parts(bytes: &[u8; 40]) -> [Fragment<'_>; 3] {
    [
        Fragment { payload: &bytes[..16], ..FRAGMENT },
        Fragment { offset: 16, payload: &bytes[16..32], ..FRAGMENT },
        Fragment { offset: 32, more: false, payload: &bytes[32..], ..FRAGMENT },
    ]
}

fn numbered() -> [u8; 40] {
    core::array::from_fn(|index| index as u8)
}

#[test]
fn fragments_join_in_any_order() {
    let bytes = numbered();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut table = ReassemblyTable::default();
        let [a, b, c] = order.map(|index| parts(&bytes)[index]);
        assert_eq!(insert(&mut table, a), held());
        assert_eq!(insert(&mut table, b), held());
        let whole = insert(&mut table, c).verdict.expect("acceptable").expect("complete");
        assert_eq!(whole.payload, bytes, "{order:?}");
        assert!(!whole.header.is_fragment());
        assert_eq!(whole.header_bytes.len(), 20);
        assert!(table.is_empty() && table.bytes() == 0 && table.sources.is_empty());
    }
}

#[test]
fn exact_duplicates_are_tolerated() {
    let bytes = numbered();
    let mut table = ReassemblyTable::default();
    let [a, b, c] = parts(&bytes);
    for fragment in [a, a, c, c, a, c] {
        assert_eq!(insert(&mut table, fragment), held());
    }
    assert!(insert(&mut table, b).verdict.expect("acceptable").is_some());
}

#[test]
fn any_overlap_condemns_the_datagram() {
    let bytes = numbered();
    let other = [0xee; 40];
    let overlapping = [
        ("same place, other bytes", Fragment { offset: 16, payload: &other[..16], ..FRAGMENT }),
        ("same place, longer", Fragment { offset: 16, payload: &bytes[..24], ..FRAGMENT }),
        ("same place, shorter", Fragment { offset: 16, payload: &bytes[16..24], ..FRAGMENT }),
        ("begins inside", Fragment { offset: 24, payload: &bytes[24..32], ..FRAGMENT }),
        ("ends inside", Fragment { offset: 8, payload: &bytes[8..24], ..FRAGMENT }),
        ("around", Fragment { offset: 8, payload: &bytes[..32], ..FRAGMENT }),
        ("last, and inside", Fragment { offset: 16, more: false, ..parts(&bytes)[1] }),
        (
            "ends before it (teardrop)",
            Fragment { offset: 0, more: false, payload: &bytes[..8], ..FRAGMENT },
        ),
    ];
    for (name, overlap) in overlapping {
        let mut table = ReassemblyTable::default();
        let [first, second, last] = parts(&bytes);
        insert(&mut table, second);
        let insertion = insert(&mut table, overlap);
        assert_eq!(insertion.verdict, Err(DropReason::FragmentOverlap), "{name}");
        assert_eq!(insertion.condemned, 1, "{name}");
        assert_eq!(table.bytes(), DATAGRAM_OVERHEAD, "{name}: nothing is held of it");
        for late in [first, second, last] {
            let verdict = insert(&mut table, late).verdict;
            assert_eq!(verdict, Err(DropReason::FragmentOverlap), "{name}");
        }
        let expired = table.expire(NOW + limits().reassembly_timeout).expect("its time is over");
        assert_eq!((expired.fragments, expired.first), (0, None), "{name}");
        assert!(table.is_empty());
    }
}

#[test]
fn two_ends_condemn_the_datagram() {
    let bytes = numbered();
    for (name, contradiction) in [
        ("a second end", Fragment { offset: 64, more: false, payload: &bytes[..8], ..FRAGMENT }),
        ("bytes past the end", Fragment { offset: 64, payload: &bytes[..8], ..FRAGMENT }),
        ("more after the end", Fragment { offset: 32, payload: &bytes[32..], ..FRAGMENT }),
    ] {
        let mut table = ReassemblyTable::default();
        insert(&mut table, parts(&bytes)[2]);
        let verdict = insert(&mut table, contradiction).verdict;
        assert_eq!(verdict, Err(DropReason::FragmentOverlap), "{name}");
    }
}

#[test]
fn fragments_that_cannot_be() {
    let bytes = [0; 24];
    let long = vec![0; 65_000];
    for (fragment, reason) in [
        (Fragment { payload: &bytes[..7], ..FRAGMENT }, DropReason::Ipv4Malformed),
        (Fragment { payload: &[], ..FRAGMENT }, DropReason::Ipv4Malformed),
        (Fragment { payload: &[], more: false, offset: 8, ..FRAGMENT }, DropReason::Ipv4Malformed),
        // Ping of death: the end lies past 65,535.
        (
            Fragment { offset: 65_528, more: false, payload: &bytes[..8], ..FRAGMENT },
            DropReason::FragmentTooBig,
        ),
        (
            Fragment { offset: 65_496, more: false, payload: &bytes[..20], ..FRAGMENT },
            DropReason::FragmentTooBig,
        ),
        (Fragment { offset: 8000, payload: &long, ..FRAGMENT }, DropReason::FragmentTooBig),
    ] {
        let mut table = ReassemblyTable::default();
        let insertion = insert(&mut table, fragment);
        assert_eq!(insertion, Insertion::refused(reason));
        assert!(table.is_empty());
    }
}

#[test]
fn a_long_first_header_counts_towards_the_length() {
    let limits = Limits::default();
    let mut table = ReassemblyTable::default();
    let bytes = vec![1; 65_512];
    let first = Fragment { payload: &bytes[..32_000], header_len: 60, ..FRAGMENT };
    let last = Fragment { offset: 32_000, more: false, payload: &bytes[32_000..], ..FRAGMENT };
    assert_eq!(insert_on(&mut table, ETH, &limits, first), held());
    let insertion = insert_on(&mut table, ETH, &limits, last);
    assert_eq!(insertion.verdict, Err(DropReason::FragmentTooBig));
    assert_eq!(insertion.condemned, 1);
    assert!(table.is_empty());
    // Without options the same datagram is exactly as long as one may be.
    insert_on(&mut table, ETH, &limits, Fragment { header_len: 20, ..first });
    assert!(insert_on(&mut table, ETH, &limits, last).verdict.is_ok_and(|whole| whole.is_some()));
}

#[test]
fn datagrams_are_told_apart_by_all_of_their_key() {
    let bytes = numbered();
    let [first, second, last] = parts(&bytes);
    let mut table = ReassemblyTable::default();
    let mut insert = |interface, fragment| {
        insert_on(&mut table, InterfaceId(interface), &Limits::default(), fragment)
    };
    insert(1, first);
    insert(1, second);
    assert_eq!(insert(1, Fragment { source: 2, ..last }), held());
    assert_eq!(insert(1, Fragment { identification: 8, ..last }), held());
    assert_eq!(insert(2, last), held());
    assert!(insert(1, last).verdict.expect("acceptable").is_some());
    assert_eq!(table.len(), 3);
}

#[test]
fn a_datagram_has_so_many_fragments_and_no_more() {
    let mut table = ReassemblyTable::default();
    let bytes = [0; 8];
    let fragment = |index: u16| Fragment { offset: index * 16, payload: &bytes, ..FRAGMENT };
    for index in 0..16 {
        assert_eq!(insert(&mut table, fragment(index)), held());
    }
    let insertion = insert(&mut table, fragment(16));
    assert_eq!(insertion, Insertion::refused(DropReason::FragmentLimit));
}

#[test]
fn a_source_over_its_share_loses_its_own_oldest() {
    let mut table = ReassemblyTable::default();
    let bytes = vec![0; 2400];
    let of =
        |source, identification| Fragment { source, identification, payload: &bytes, ..FRAGMENT };
    insert(&mut table, of(9, 0));
    insert(&mut table, of(1, 1));
    // Two datagrams are a source's share of eight, whatever their size.
    insert(&mut table, of(1, 2));
    let insertion = insert(&mut table, of(1, 3));
    assert_eq!((insertion.verdict, insertion.evicted), (Ok(None), 1));
    let left: Vec<_> = table.by_age.values().map(|key| key.identification).collect();
    assert_eq!(left, [0, 2, 3], "the other source keeps what it has");
    // By bytes: the datagram being added to is spared, the other one goes.
    let more = vec![0; 3200];
    let insertion = insert(&mut table, Fragment { offset: 2400, payload: &more, ..of(1, 2) });
    assert_eq!((insertion.verdict, insertion.evicted), (Ok(None), 1));
    let left: Vec<_> = table.by_age.values().map(|key| key.identification).collect();
    assert_eq!(left, [0, 2]);
}

#[test]
fn a_full_table_loses_its_oldest() {
    let mut table = ReassemblyTable::default();
    let bytes = [0; 8];
    for source in 0..100u8 {
        let fragment = Fragment { source, payload: &bytes, ..FRAGMENT };
        let insertion = insert(&mut table, fragment);
        assert_eq!(insertion.verdict, Ok(None));
        assert_eq!(insertion.evicted, usize::from(source >= 8));
    }
    let left: Vec<_> = table.by_age.values().map(|key| key.source.octets()[3]).collect();
    assert_eq!(left, [92, 93, 94, 95, 96, 97, 98, 99]);
}

#[test]
fn one_datagram_never_holds_more_than_a_source_may() {
    let mut table = ReassemblyTable::default();
    let bytes = vec![0; 4000];
    insert(&mut table, Fragment { payload: &bytes, ..FRAGMENT });
    let insertion = insert(&mut table, Fragment { offset: 4000, payload: &bytes, ..FRAGMENT });
    assert_eq!(insertion, Insertion::refused(DropReason::FragmentLimit));
}

#[test]
fn time_runs_out_from_the_first_fragment_that_came() {
    let bytes = numbered();
    let [first, second, _] = parts(&bytes);
    let mut table = ReassemblyTable::default();
    assert_eq!(table.next_timeout(), None);
    insert(&mut table, second);
    insert(&mut table, Fragment { source: 2, ..first });
    let deadline = NOW + limits().reassembly_timeout;
    assert_eq!(table.next_timeout(), Some(deadline));
    assert_eq!(table.expire(deadline - Duration::from_nanos(1)), None);
    let without_first = table.expire(deadline).expect("the older one");
    assert_eq!((without_first.fragments, without_first.first), (1, None));
    let with_first = table.expire(deadline).expect("the other one");
    assert_eq!(with_first.key.source, Ipv4Addr::new(10, 0, 0, 2));
    let quoted = with_first.first.expect("it came");
    assert_eq!(&*quoted.payload, &bytes[..16]);
    assert_eq!(table.expire(deadline), None);
    assert_eq!(table.next_timeout(), None);
}

/// FragmentSmack: a storm of small fragments in the worst order stays within every limit.
#[test]
fn a_storm_of_fragments_stays_within_the_limits() {
    let limits = Limits::default();
    let mut table = ReassemblyTable::default();
    let bytes = [0; 64];
    let mut random = crate::random::Random::new([9; 16]);
    for _ in 0..200_000 {
        let fragment = Fragment {
            source: random.below(256) as u8,
            identification: random.below(64) as u16,
            offset: (random.below(8191) * 8) as u16,
            more: random.below(50) != 0,
            payload: &bytes[..(8 + 8 * random.below(8) as usize)],
            header_len: 20,
        };
        insert_on(&mut table, ETH, &limits, fragment);
    }
    consistent(&table, &limits);
}
