use super::*;
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

/// The same by looking at every prefix.
#[derive(Default)]
struct List(BTreeMap<Key, u32>);

impl List {
    fn around(&self, address: Ipv4Addr) -> Vec<(Key, u32)> {
        let mut found: Vec<_> = self
            .0
            .iter()
            .filter(|(key, _)| key.contains(address.to_bits()))
            .map(|(key, value)| (*key, *value))
            .collect();
        found.sort_by_key(|(key, _)| core::cmp::Reverse(key.length()));
        found
    }
}

impl PrefixMap<u32> {
    fn longest(&self, address: Ipv4Addr) -> Option<(Key, u32)> {
        self.lookup(address, |key, value| Some((key, *value)))
    }

    /// All prefixes around an address, in the order in which a lookup offers them.
    fn around(&self, address: Ipv4Addr) -> Vec<(Key, u32)> {
        let mut found = Vec::new();
        let none: Option<()> = self.lookup(address, |key, value| {
            found.push((key, *value));
            None
        });
        assert_eq!(none, None);
        found
    }

    /// The invariant, and that nothing is left behind.
    fn check(&self) {
        let mut entries = 0;
        for (index, node) in &self.nodes {
            let items = node.entries.len() + node.children.len();
            let lone = items == 0 || node.only_entry().is_some();
            assert!(index == self.root as usize || !lone, "a node with {items} items");
            let leaves = node.children.iter().filter(|child| child.0 & IS_NODE == 0).count();
            entries += node.entries.len() + leaves;
        }
        let nodes = self.nodes.iter().flat_map(|(_, node)| &node.children);
        let linked = 1 + nodes.filter(|child| child.0 & IS_NODE != 0).count();
        assert_eq!((entries, linked), (self.entries.len(), self.nodes.len()));
    }
}

fn key(text: &str) -> Key {
    let (address, length) = text.split_once('/').expect("a prefix");
    Key::new(address.parse().expect("an address"), length.parse().expect("a length"))
}

/// Few enough different bits that prefixes often lie in each other.
fn keys() -> impl Strategy<Value = Key> {
    let octets = prop::sample::select(vec![0_u8, 1, 0x7f, 0x80, 0xc0, 0xff]);
    (prop::array::uniform4(octets), 0_u8..=32)
        .prop_map(|(octets, length)| Key::new(octets.into(), length))
}

proptest! {
    #[test]
    fn finds_what_a_list_finds(
        steps in vec((keys(), any::<u32>(), prop::bool::weighted(0.7)), 1..200),
        probes in vec(keys(), 50),
    ) {
        let (mut map, mut list) = (PrefixMap::default(), List::default());
        for (key, value, insert) in steps {
            if insert {
                prop_assert_eq!(map.insert(key, value), list.0.insert(key, value));
            } else {
                prop_assert_eq!(map.remove(key), list.0.remove(&key));
            }
            map.check();
        }
        for probe in probes {
            let address = probe.address();
            prop_assert_eq!(map.longest(address), list.around(address).first().copied());
            prop_assert_eq!(map.around(address), list.around(address));
            prop_assert_eq!(map.get(probe), list.0.get(&probe));
        }
        let mut all: Vec<_> = map.iter_from(0).map(|(_, key, value)| (key, *value)).collect();
        all.sort();
        prop_assert_eq!(all, list.0.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn every_length_of_one_address() {
    let mut map = PrefixMap::default();
    let address: Ipv4Addr = "203.0.113.77".parse().unwrap();
    for length in 0..=32 {
        assert_eq!(map.insert(Key::new(address, length), u32::from(length)), None);
        map.check();
    }
    let lengths: Vec<_> = map.around(address).into_iter().map(|(_, length)| length).collect();
    assert_eq!(lengths, (0..=32).rev().collect::<Vec<_>>());
    for length in (0..=32).rev() {
        assert_eq!(map.longest(address), Some((Key::new(address, length), u32::from(length))));
        assert_eq!(map.remove(Key::new(address, length)), Some(u32::from(length)));
        map.check();
    }
    assert!(map.is_empty() && map.longest(address).is_none());
}

#[test]
fn host_bits_are_no_part_of_a_prefix() {
    assert_eq!(key("10.1.2.99/24"), key("10.1.2.0/24"));
    assert_eq!(key("255.255.255.255/0"), key("0.0.0.0/0"));
    assert_ne!(key("10.1.2.0/24"), key("10.1.2.0/25"));
}

#[test]
fn a_table_can_be_read_in_parts() {
    let mut map = PrefixMap::default();
    for number in 0..100_u32 {
        map.insert(Key::new(Ipv4Addr::from_bits(number << 8), 24), number);
    }
    map.remove(key("0.0.5.0/24"));
    let (mut from, mut seen) = (0, Vec::new());
    while let Some((next, _, value)) = map.iter_from(from).next() {
        seen.push(*value);
        from = next;
    }
    let expected: Vec<u32> = (0..100).filter(|number| *number != 5).collect();
    assert_eq!(seen, expected);
}

#[test]
fn lone_prefixes_take_no_nodes() {
    let mut map = PrefixMap::default();
    for first in 1..=200_u8 {
        map.insert(Key::new([first, 2, 3, 4].into(), 32), 0_u32);
    }
    assert_eq!(map.nodes.len(), 1);
    map.insert(key("7.2.3.4/30"), 1);
    assert_eq!(map.nodes.len(), 4, "a node for each octet that the two have in common");
    map.remove(key("7.2.3.4/32"));
    assert_eq!(map.nodes.len(), 1);
}
