//! Files of frames, one after the other.

use anyhow::{Context, Result};
use narrows_capture::file::{Direction, Packet, PcapngWriter};
use narrows_ipc::see::{self, Seen, Stage};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// When another file is begun.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// `-C`: millions of bytes in one.
    pub megabytes: Option<u64>,
    /// `-W`: files, of which the oldest is overwritten.
    pub files: Option<u32>,
    /// `-G`: seconds of the packets' time in one.
    pub seconds: Option<u64>,
}

type Out = BufWriter<Box<dyn Write>>;

pub struct Files {
    path: PathBuf,
    limits: Limits,
    /// Each frame is written when it comes (`-U`).
    at_once: bool,
    writer: PcapngWriter<Out>,
    /// Of the file that is being written: its number, its bytes, and when it began.
    number: u32,
    bytes: u64,
    began: Option<u64>,
    interfaces: HashMap<u32, u32>,
    lost: u64,
}

impl Files {
    /// A path of `-` is the standard output, which is never rotated.
    pub fn create(path: &Path, limits: Limits, at_once: bool) -> Result<Self> {
        let is_pipe = path == Path::new("-");
        let limits = if is_pipe { Limits::default() } else { limits };
        let writer = open(&name_of(path, 0, limits))?;
        Ok(Self {
            path: path.to_owned(),
            limits,
            at_once: at_once || is_pipe,
            writer,
            number: 0,
            bytes: 0,
            began: None,
            interfaces: HashMap::new(),
            lost: 0,
        })
    }

    pub fn lost(&mut self, count: u64) {
        self.lost += count;
    }

    pub fn write(&mut self, seen: &Seen, stage: Option<Stage>, reason: Option<&str>) -> Result<()> {
        let began = *self.began.get_or_insert(seen.time);
        let full = self.limits.megabytes.is_some_and(|most| self.bytes >= most * 1_000_000);
        let old = self.limits.seconds.is_some_and(|most| {
            seen.time.saturating_sub(began) >= most.saturating_mul(1_000_000_000)
        });
        if full || old {
            self.rotate(seen.time)?;
        }
        let interface = match self.interfaces.get(&seen.interface) {
            Some(place) => *place,
            None => {
                let place = self.writer.interface(&seen.name)?;
                self.interfaces.insert(seen.interface, place);
                place
            }
        };
        let direction = match seen.direction {
            see::Direction::ToUs => Direction::Unicast,
            see::Direction::Broadcast => Direction::Broadcast,
            see::Direction::Multicast => Direction::Multicast,
            see::Direction::ToOthers => Direction::Promiscuous,
            see::Direction::Outgoing => Direction::Outgoing,
        };
        let comments: Vec<_> = [
            stage.map(|stage| format!("stage {}", stage.name())),
            reason.map(|reason| format!("dropped {reason}")),
            seen.user.map(|user| format!("user {user}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        self.bytes += seen.bytes.len() as u64;
        let (time, length, bytes) = (seen.time, seen.length, seen.bytes.clone());
        let packet = Packet { time, interface, length, bytes };
        self.writer.write(&packet, direction, &comments, std::mem::take(&mut self.lost))?;
        if self.at_once {
            self.writer.flush()?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn rotate(&mut self, time: u64) -> Result<()> {
        self.writer.flush()?;
        self.number = match self.limits.files {
            Some(files) => (self.number + 1) % files.max(1),
            None => self.number + 1,
        };
        self.writer = open(&name_of(&self.path, self.number, self.limits))?;
        self.interfaces.clear();
        (self.bytes, self.began) = (0, Some(time));
        Ok(())
    }
}

fn open(path: &Path) -> Result<PcapngWriter<Out>> {
    let within = || format!("can't write {}", path.display());
    let out: Box<dyn Write> = match path.to_str() {
        Some("-") => Box::new(io::stdout()),
        _ => Box::new(File::create(path).with_context(within)?),
    };
    PcapngWriter::new(BufWriter::new(out)).with_context(within)
}

/// As tcpdump numbers them: the first without a number, or, where they are a ring, all with as many digits
/// as the last has.
fn name_of(path: &Path, number: u32, limits: Limits) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    match limits.files {
        Some(files) if limits.megabytes.or(limits.seconds).is_some() => {
            let digits = files.saturating_sub(1).to_string().len();
            name.push(format!("{number:0digits$}"));
        }
        _ if number > 0 => name.push(number.to_string()),
        _ => {}
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_capture::file::Reader;

    fn seen(time: u64, length: usize) -> Seen {
        Seen {
            time,
            interface: 7,
            name: "lan".into(),
            direction: see::Direction::Outgoing,
            user: Some(5),
            length: length as u32,
            bytes: vec![1; length],
        }
    }

    fn count(path: &Path) -> usize {
        let mut reader = Reader::new(File::open(path).unwrap()).unwrap();
        std::iter::from_fn(|| reader.next_packet().unwrap()).count()
    }

    #[test]
    fn files_are_named_and_rotated_as_tcpdump_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let at = |name: &str| folder.path().join(name);
        let limits = Limits { megabytes: Some(1), ..Limits::default() };
        let mut files = Files::create(&path, limits, true).unwrap();
        for _ in 0..5 {
            files.write(&seen(0, 600_000), Some(Stage::Drop), Some("martian")).unwrap();
        }
        assert_eq!(["x", "x1", "x2"].map(|name| count(&at(name))), [2, 2, 1]);

        let limits = Limits { files: Some(11), seconds: Some(10), ..Limits::default() };
        let mut files = Files::create(&path, limits, true).unwrap();
        for second in 0..115 {
            files.write(&seen(second * 1_000_000_000, 10), None, None).unwrap();
        }
        // The twelfth took the place of the first.
        assert_eq!(["x00", "x01", "x10"].map(|name| count(&at(name))), [5, 10, 10]);
    }
}
