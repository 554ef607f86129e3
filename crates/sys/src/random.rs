//! Randomness from the kernel.

use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Fresh random bytes; waits until the kernel's generator is seeded.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        let draw = || super::random::<16>().expect("getrandom");
        assert_ne!(draw(), draw());
    }
}
