//! Randomness that the caller seeds: the engine draws everything it must not let others predict
//! from one [`Random`], and derives per-flow values with keyed hashes.

use core::hash::{Hash, Hasher};
use siphasher::sip::SipHasher13;

/// A counter under SipHash with a secret key: each draw is the hash of the next number. Without
/// the key the draws can't be told from noise, and the same seed gives the same draws.
#[derive(Clone)]
pub struct Random {
    key: Key,
    counter: u64,
}

/// A 128-bit secret for keyed hashes.
#[derive(Clone, Copy)]
pub struct Key(u64, u64);

impl Key {
    /// The keyed hash of `value`.
    pub fn hash(&self, value: &impl Hash) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        value.hash(&mut hasher);
        hasher.finish()
    }
}

impl Random {
    /// `seed`: 128 bits; from the kernel's generator in the daemon, a number in simulations.
    pub fn new(seed: [u8; 16]) -> Self {
        let [low, high] = [&seed[..8], &seed[8..]]
            .map(|half| half.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte)));
        Self { key: Key(low, high), counter: 0 }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.key.hash(&self.counter)
    }

    pub fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    /// A number below `bound` (0 if `bound` is 0), with a bias under `bound` / 2³².
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    /// 128 bits.
    pub fn octets(&mut self) -> [u8; 16] {
        let number = u128::from(self.next_u64()) << 64 | u128::from(self.next_u64());
        number.to_be_bytes()
    }

    /// A fresh secret.
    pub fn key(&mut self) -> Key {
        Key(self.next_u64(), self.next_u64())
    }
}

impl core::fmt::Debug for Random {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Random(secret)")
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// A hash map keyed with a secret: `HashMap::with_hasher(random.key())`.
impl core::hash::BuildHasher for Key {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}
