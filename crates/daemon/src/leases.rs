//! The file that DHCP leases are remembered in (`[dhcp] lease_file`), so that a daemon that is started
//! again asks for the addresses that it had.
//!
//! It is opened at the start, while that is permitted, and belongs to one daemon at a time. What is in
//! it is a hint only: who can't read it asks servers as if there were none, and an address from it is
//! used when a server has granted it again.

use crate::clock::Clock;
use anyhow::{Context, Result, bail};
use narrows_stack::{Shard, dhcp::Remembered};
use narrows_wire::address::MacAddr;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

/// More than as many leases as the engine remembers take; what is longer was not written here.
const MAX_LEN: u64 = 64 << 10;

/// One lease, in the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    mac: [u8; 6],
    address: Ipv4Addr,
    /// Seconds since 1970.
    until: u64,
}

#[derive(Debug, Default)]
pub(crate) struct LeaseFile(Option<File>);

impl LeaseFile {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).with_context(|| {
            format!("[dhcp] lease_file {}: its directory has to be there", path.display())
        })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(Some(file))),
            Err(Errno::WOULDBLOCK) => {
                bail!("[dhcp] lease_file {}: another daemon has it", path.display())
            }
            Err(error) => Err(error).with_context(|| format!("locking {}", path.display())),
        }
    }

    /// Has the engine's DHCP clients ask for what they had.
    pub(crate) fn recall(&mut self, shard: &mut Shard, clock: &Clock) {
        let Some(file) = &mut self.0 else { return };
        let mut bytes = Vec::new();
        match file.take(MAX_LEN).read_to_end(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return tracing::warn!(%error, "can't read the leases"),
        }
        let Some(rows) = parse(&bytes) else {
            return tracing::warn!("the lease file is not this program's, or damaged: begun anew");
        };
        let (now, time) = (clock.now(), since_epoch());
        for Row { mac, address, until } in rows {
            let left = Duration::from_secs(until).saturating_sub(time);
            shard.recall_lease(MacAddr(mac), Remembered { address, until: now + left });
        }
    }

    /// Writes down what the engine remembers.
    pub(crate) fn remember(&mut self, shard: &Shard, clock: &Clock) {
        let Some(file) = &mut self.0 else { return };
        let (now, time) = (clock.now(), since_epoch());
        let rows: Vec<_> = shard
            .remembered_leases()
            .map(|(mac, lease)| {
                let until = time.saturating_add(lease.until.since(now)).as_secs();
                Row { mac: mac.0, address: lease.address, until }
            })
            .collect();
        let written = serde_json::to_vec(&rows)
            .map_err(io::Error::other)
            .and_then(|text| replace(file, &text));
        if let Err(error) = written {
            tracing::warn!(%error, "can't write the leases down");
        }
    }
}

/// If it is cut short, what was there before follows, which nobody reads.
fn replace(file: &mut File, text: &[u8]) -> io::Result<()> {
    file.rewind()?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)
}

fn parse(bytes: &[u8]) -> Option<Vec<Row>> {
    serde_json::Deserializer::from_slice(bytes).into_iter().next()?.ok()
}

/// A clock that was set back is at the beginning.
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_stack::{Config, Instant};

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn shard() -> Shard {
        Shard::new(Config::default(), [1; 16])
    }

    fn recalled(path: &Path) -> Vec<(MacAddr, Remembered)> {
        let mut shard = shard();
        LeaseFile::open(Some(path)).expect("nobody has it").recall(&mut shard, &Clock::start());
        shard.remembered_leases().collect()
    }

    #[test]
    fn what_is_remembered_is_recalled() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("leases");
        let (mut shard, clock) = (shard(), Clock::start());
        let mut file = LeaseFile::open(Some(&path)).expect("a new file");
        let refused = LeaseFile::open(Some(&path)).expect_err("it is taken").to_string();
        assert!(refused.ends_with("another daemon has it"), "{refused}");
        let day = Duration::from_secs(86_400);
        for (last, left) in [(1, day), (2, day), (1, Duration::ZERO)] {
            let lease = Remembered { address: [10, 0, 0, last].into(), until: clock.now() + left };
            shard.recall_lease(MAC, lease);
            file.remember(&shard, &clock);
        }
        drop(file);
        let found = recalled(&path);
        let [(MAC, lease)] = found[..] else { panic!("{found:?}") };
        assert_eq!(lease.address, Ipv4Addr::new(10, 0, 0, 1));
        assert!(lease.until < Instant::ZERO + day);
    }

    #[test]
    fn what_others_wrote_is_as_good_as_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("leases");
        let row = r#"[{"mac":[2,0,0,0,0,1],"address":"10.0.0.1","until":9}]"#;
        let long = " ".repeat(MAX_LEN as usize) + row;
        for (text, count) in [
            ("", 0),
            ("lease { }", 0),
            (&row[..20], 0),
            (&row.replace("10.0.0.1", "::1"), 0),
            (&row.replace('9', "-9"), 0),
            (&long, 0),
            (&format!("{row}0.0.1\"}}]"), 1),
            (&row.replace('9', &u64::MAX.to_string()), 1),
        ] {
            std::fs::write(&path, text).expect("a file");
            assert_eq!(recalled(&path).len(), count, "{text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_is_refused_with_its_name() {
        let refused = LeaseFile::open(Some(Path::new("/nonexistent/leases")));
        let message = refused.expect_err("no such directory").to_string();
        assert!(message.starts_with("[dhcp] lease_file /nonexistent/leases"), "{message}");
    }
}
