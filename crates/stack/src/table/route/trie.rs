//! A map from IPv4 prefixes whose lookup finds the longest one around an address.
//!
//! A trie that takes one octet a level, at most four. A node has two bitmaps of 256 bits: which
//! prefixes end in its octet, and which octets lead on; the values behind the set bits lie side by
//! side in two arrays, found by counting the bits before. Prefixes that end inside an octet have the
//! numbers of a complete binary tree: 1 is the whole octet, `2i` and `2i + 1` are the halves of `i`.
//! All that can contain one address are the path from the root to a leaf of that tree, a mask known
//! beforehand: the longest is the highest bit that the mask and the bitmap have in common.
//!
//! A path without a branch takes no nodes: an octet leads to the prefix itself as long as it is the
//! only one there. So a table of ten routes is a node and ten entries, and one of a million has
//! fewer nodes than it has /16s in use. Insertion and removal touch one path, whatever the size.
//!
//! Invariant: under each node but the root are two or more prefixes.

use core::net::Ipv4Addr;
use slab::Slab;

/// Bits of an address, and of the octet a node takes.
const BITS: u8 = 32;
const STRIDE: u8 = 8;
const LEVELS: usize = (BITS / STRIDE) as usize;

/// A prefix, host bits cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    address: u32,
    length: u8,
}

impl Key {
    /// Lengths over 32 count as 32.
    pub fn new(address: Ipv4Addr, length: u8) -> Self {
        let length = length.min(BITS);
        Self { address: address.to_bits() & mask(length), length }
    }

    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address)
    }

    pub fn length(self) -> u8 {
        self.length
    }

    fn contains(self, address: u32) -> bool {
        (self.address ^ address) & mask(self.length) == 0
    }

    /// The number, in the tree of the octet at `level`, of a prefix that ends there; `None`: it goes
    /// on to the next.
    fn ends_at(self, level: usize) -> Option<u8> {
        let before = level as u8 * STRIDE;
        let bits = self.length.checked_sub(before).filter(|bits| *bits < STRIDE)?;
        let with_guard = 256 | u16::from(octet(self.address, level));
        Some((with_guard >> (STRIDE - bits)) as u8)
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(u32::from(BITS - length)).unwrap_or(0)
}

fn octet(address: u32, level: usize) -> u8 {
    let [a, b, c, d] = address.to_be_bytes();
    match level {
        0 => a,
        1 => b,
        2 => c,
        _ => d,
    }
}

/// 256 bits, and how many are set before each word of them.
#[derive(Clone, Copy, Debug, Default)]
struct Bitmap {
    words: [u64; 4],
    before: [u8; 4],
}

impl Bitmap {
    fn has(&self, bit: u8) -> bool {
        self.words[usize::from(bit >> 6)] >> (bit & 63) & 1 != 0
    }

    /// How many bits are set below `bit`.
    fn rank(&self, bit: u8) -> usize {
        let word = usize::from(bit >> 6);
        let below = self.words[word] & ((1 << (bit & 63)) - 1);
        usize::from(self.before[word]) + below.count_ones() as usize
    }

    fn set(&mut self, bit: u8, on: bool) {
        let word = &mut self.words[usize::from(bit >> 6)];
        *word = *word & !(1 << (bit & 63)) | u64::from(on) << (bit & 63);
        let mut sum = 0;
        for (before, word) in self.before.iter_mut().zip(self.words) {
            *before = sum;
            sum = sum.wrapping_add(word.count_ones() as u8);
        }
    }

    /// The set bits that `mask` has too, the highest first.
    fn common(&self, mask: &[u64; 4]) -> impl Iterator<Item = u8> + use<> {
        let mut words = [0; 4];
        for (common, (own, other)) in words.iter_mut().zip(self.words.iter().zip(mask)) {
            *common = own & other;
        }
        let mut index = words.len();
        core::iter::from_fn(move || {
            loop {
                let at = index.checked_sub(1)?;
                let word = words.get_mut(at)?;
                match word.checked_ilog2() {
                    Some(bit) => {
                        *word &= !(1 << bit);
                        return Some((at as u8) << 6 | bit as u8);
                    }
                    None => index = at,
                }
            }
        })
    }
}

/// For each octet, the numbers of the prefixes that contain it.
static AROUND: [[u64; 4]; 256] = {
    let mut all = [[0; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let mut number = (256 | octet) >> 1;
        while number > 0 {
            all[octet][number >> 6] |= 1 << (number & 63);
            number >>= 1;
        }
        octet += 1;
    }
    all
};

/// Where an octet leads: to a node, or to the only prefix there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    Node(u32),
    Entry(u32),
}

/// A [`Child`] in four bytes: there are never 2³¹ of either.
#[derive(Clone, Copy, Debug)]
struct Packed(u32);

const IS_NODE: u32 = 1 << 31;

impl From<Child> for Packed {
    fn from(child: Child) -> Self {
        match child {
            Child::Node(index) => Self(index | IS_NODE),
            Child::Entry(index) => Self(index),
        }
    }
}

impl From<Packed> for Child {
    fn from(Packed(packed): Packed) -> Self {
        match packed & IS_NODE {
            0 => Self::Entry(packed),
            _ => Self::Node(packed & !IS_NODE),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Which numbers of this octet's tree are prefixes, and their entries.
    prefixes: Bitmap,
    entries: Vec<u32>,
    /// Which octets lead on, and where to.
    octets: Bitmap,
    children: Vec<Packed>,
}

impl Node {
    fn entry(&self, number: u8) -> Option<u32> {
        let rank = self.prefixes.has(number).then(|| self.prefixes.rank(number))?;
        self.entries.get(rank).copied()
    }

    fn set_entry(&mut self, number: u8, entry: Option<u32>) {
        set(&mut self.prefixes, &mut self.entries, number, entry);
    }

    fn child(&self, octet: u8) -> Option<Child> {
        let rank = self.octets.has(octet).then(|| self.octets.rank(octet))?;
        self.children.get(rank).map(|packed| Child::from(*packed))
    }

    fn set_child(&mut self, octet: u8, child: Option<Child>) {
        set(&mut self.octets, &mut self.children, octet, child.map(Packed::from));
    }

    /// The only prefix here, if there is nothing else.
    fn only_entry(&self) -> Option<u32> {
        match (self.entries.as_slice(), self.children.as_slice()) {
            ([entry], []) => Some(*entry),
            ([], [child]) => match Child::from(*child) {
                Child::Entry(entry) => Some(entry),
                Child::Node(_) => None,
            },
            _ => None,
        }
    }
}

/// Sets, replaces or removes what is behind a bit.
fn set<T>(bitmap: &mut Bitmap, values: &mut Vec<T>, bit: u8, value: Option<T>) {
    let rank = bitmap.rank(bit);
    match (bitmap.has(bit), value) {
        (true, Some(value)) => values[rank] = value,
        (true, None) => {
            values.remove(rank);
            bitmap.set(bit, false);
        }
        (false, Some(value)) => {
            // Nodes are many and grow seldom.
            values.reserve_exact(1);
            values.insert(rank, value);
            bitmap.set(bit, true);
        }
        (false, None) => {}
    }
}

#[derive(Clone, Debug)]
struct Entry<V> {
    key: Key,
    value: V,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct PrefixMap<V> {
    nodes: Slab<Node>,
    entries: Slab<Entry<V>>,
    root: u32,
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::default()) as u32;
        Self { nodes, entries: Slab::new(), root }
    }
}

impl<V> PrefixMap<V> {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory held, values included but not what they own.
    pub fn bytes(&self) -> usize {
        let arrays = |(_, node): (usize, &Node)| {
            size_of_val(node.entries.as_slice()) + size_of_val(node.children.as_slice())
        };
        self.nodes.capacity() * size_of::<Node>()
            + self.nodes.iter().map(arrays).sum::<usize>()
            + self.entries.capacity() * size_of::<Entry<V>>()
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut V> {
        let entry = self.find(key)?;
        self.entries.get_mut(entry as usize).map(|entry| &mut entry.value)
    }

    pub fn get(&self, key: Key) -> Option<&V> {
        let entry = self.find(key)?;
        self.entries.get(entry as usize).map(|entry| &entry.value)
    }

    /// Returns what the prefix had before.
    pub fn insert(&mut self, key: Key, value: V) -> Option<V> {
        if let Some(held) = self.get_mut(key) {
            return Some(core::mem::replace(held, value));
        }
        let entry = self.entries.insert(Entry { key, value }) as u32;
        self.link(self.root, 0, key, entry);
        None
    }

    pub fn remove(&mut self, key: Key) -> Option<V> {
        let entry = self.find(key)?;
        self.unlink(key);
        self.entries.try_remove(entry as usize).map(|entry| entry.value)
    }

    /// What `accept` makes of the longest prefix around `address` that it makes something of.
    pub fn lookup<'a, T>(
        &'a self,
        address: Ipv4Addr,
        mut accept: impl FnMut(Key, &'a V) -> Option<T>,
    ) -> Option<T> {
        let address = address.to_bits();
        let mut path: [Option<&Node>; LEVELS] = [None; LEVELS];
        let mut next = Some(Child::Node(self.root));
        for (level, slot) in path.iter_mut().enumerate() {
            match next {
                Some(Child::Node(index)) => {
                    let node = self.nodes.get(index as usize)?;
                    next = node.child(octet(address, level));
                    *slot = Some(node);
                }
                Some(Child::Entry(_)) | None => break,
            }
        }
        let mut try_entry = |entry: u32| {
            let Entry { key, value } = self.entries.get(entry as usize)?;
            key.contains(address).then(|| accept(*key, value)).flatten()
        };
        if let Some(Child::Entry(entry)) = next
            && let Some(found) = try_entry(entry)
        {
            return Some(found);
        }
        for (level, node) in path.iter().enumerate().rev() {
            let Some(node) = node else { continue };
            let around = &AROUND[usize::from(octet(address, level))];
            for number in node.prefixes.common(around) {
                if let Some(found) = node.entry(number).and_then(&mut try_entry) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Every prefix from place `from` on, in no order, each with the place after its own: where to
    /// go on with a long table.
    pub fn iter_from(&self, from: usize) -> impl Iterator<Item = (usize, Key, &V)> {
        // Places are dense but for what was removed.
        let end = self.entries.capacity();
        (from..end).filter_map(|place| {
            let Entry { key, value } = self.entries.get(place)?;
            Some((place + 1, *key, value))
        })
    }

    /// The entry of exactly this prefix.
    fn find(&self, key: Key) -> Option<u32> {
        let mut index = self.root;
        for level in 0..LEVELS {
            let node = self.nodes.get(index as usize)?;
            if let Some(number) = key.ends_at(level) {
                return node.entry(number);
            }
            match node.child(octet(key.address, level))? {
                Child::Node(child) => index = child,
                Child::Entry(entry) => {
                    let held = self.entries.get(entry as usize)?.key;
                    return (held == key).then_some(entry);
                }
            }
        }
        None
    }

    /// Puts an entry that isn't there under the node `index` at `level`.
    fn link(&mut self, mut index: u32, from: usize, key: Key, entry: u32) {
        for level in from..LEVELS {
            let Some(node) = self.nodes.get_mut(index as usize) else { return };
            if let Some(number) = key.ends_at(level) {
                return node.set_entry(number, Some(entry));
            }
            let octet = octet(key.address, level);
            match node.child(octet) {
                None => return node.set_child(octet, Some(Child::Entry(entry))),
                Some(Child::Node(child)) => index = child,
                Some(Child::Entry(other)) => {
                    // No longer the only one: both move down.
                    let branch = self.nodes.insert(Node::default()) as u32;
                    if let Some(node) = self.nodes.get_mut(index as usize) {
                        node.set_child(octet, Some(Child::Node(branch)));
                    }
                    if let Some(held) = self.entries.get(other as usize) {
                        self.link(branch, level + 1, held.key, other);
                    }
                    index = branch;
                }
            }
        }
    }

    /// Takes the entry of a prefix that is there out of its node, and folds nodes that have but one
    /// entry left into those above.
    fn unlink(&mut self, key: Key) {
        let mut path = [self.root; LEVELS];
        let mut depth = 0;
        for level in 0..LEVELS {
            let Some(node) = self.nodes.get_mut(path[level] as usize) else { return };
            depth = level;
            if let Some(number) = key.ends_at(level) {
                node.set_entry(number, None);
                break;
            }
            let octet = octet(key.address, level);
            match (node.child(octet), path.get_mut(level + 1)) {
                (Some(Child::Node(child)), Some(next)) => *next = child,
                _ => {
                    node.set_child(octet, None);
                    break;
                }
            }
        }
        for level in (1..=depth).rev() {
            let only = self.nodes.get(path[level] as usize).and_then(Node::only_entry);
            let Some(entry) = only else { return };
            self.nodes.remove(path[level] as usize);
            if let Some(above) = self.nodes.get_mut(path[level - 1] as usize) {
                above.set_child(octet(key.address, level - 1), Some(Child::Entry(entry)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
