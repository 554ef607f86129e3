//! pcap files, as tcpdump(1) and Wireshark read them, with times to the nanosecond.

use narrows_stack::Instant;
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINK_TYPE_ETHERNET: u32 = 1;
const SNAP_LEN: u32 = 262_144;

/// Writes frames as they come; what was written stays if the run panics.
#[derive(Debug)]
pub struct Trace {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Trace {
    /// Creates the file, and folders where there are none.
    pub fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = BufWriter::new(File::create(path)?);
        // Magic, version 2.4, time zone, accuracy, longest frame, link type.
        for field in [MAGIC_NANOSECONDS, 4 << 16 | 2, 0, 0, SNAP_LEN, LINK_TYPE_ETHERNET] {
            file.write_all(&field.to_le_bytes())?;
        }
        Ok(Self { path: path.to_owned(), file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one frame.
    pub fn record(&mut self, now: Instant, frame: &[u8]) -> io::Result<()> {
        let (seconds, nanos) = (now.as_nanos() / 1_000_000_000, now.as_nanos() % 1_000_000_000);
        for field in [seconds as u32, nanos as u32, frame.len() as u32, frame.len() as u32] {
            self.file.write_all(&field.to_le_bytes())?;
        }
        self.file.write_all(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_as_the_format_says() {
        let folder = std::env::temp_dir().join(format!("narrows-trace-{}", std::process::id()));
        let path = folder.join("test.pcap");
        let mut trace = Trace::create(&path).unwrap();
        trace.record(Instant::from_nanos(3_000_000_007), b"frame").unwrap();
        drop(trace);
        let bytes = fs::read(&path).unwrap();
        fs::remove_dir_all(folder).unwrap();
        let words: Vec<u32> = bytes
            .chunks(4)
            .filter_map(|word| word.first_chunk().map(|word| u32::from_le_bytes(*word)))
            .collect();
        assert_eq!(words[..6], [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1]);
        assert_eq!(words[6..10], [3, 7, 5, 5]);
        assert_eq!(&bytes[40..], b"frame");
    }
}
