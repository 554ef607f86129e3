//! Resource limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Raises the number of descriptors this process may have to its hard limit, and the hard limit to
/// `wanted` where that is permitted. Returns what it is then.
pub fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let old = getrlimit(Resource::Nofile);
    let hard = old.maximum.unwrap_or(u64::MAX);
    let try_set = |value: u64| {
        setrlimit(Resource::Nofile, Rlimit { current: Some(value), maximum: Some(hard.max(value)) })
    };
    if old.current.is_none_or(|current| current >= wanted) {
        return Ok(old.current.unwrap_or(u64::MAX));
    }
    if hard < wanted && try_set(wanted).is_ok() {
        return Ok(wanted);
    }
    let value = wanted.min(hard);
    try_set(value)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_lowers_the_limit() {
        let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let raised = raise_descriptor_limit(before.saturating_sub(1)).expect("setrlimit");
        assert_eq!(raised, before);
        let raised = raise_descriptor_limit(before).expect("setrlimit");
        assert_eq!(raised, before);
    }
}
