//! What was refused: all of it counted, and as much logged as a program can't use to fill a disk.

use narrows_ipc::message::DropRow;
use narrows_policy::ActKind;
use narrows_stack::Instant;
use std::time::Duration;

/// Lines logged in one [`WINDOW`]: more than a mistake makes, and little for a log.
const LINES: u32 = 20;

const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: [u64; ActKind::ALL.len()],
    window: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl Refusals {
    /// Counts one; true: say so in the log.
    pub(super) fn note(&mut self, kind: ActKind, now: Instant) -> bool {
        if let Some(count) = self.counts.get_mut(kind as usize) {
            *count += 1;
        }
        if self.window.is_none_or(|since| now >= since + WINDOW) {
            if self.unsaid > 0 {
                tracing::warn!("refused {} more acts than the log has", self.unsaid);
            }
            (self.window, self.lines, self.unsaid) = (Some(now), 0, 0);
        }
        self.lines += 1;
        let said = self.lines <= LINES;
        self.unsaid += u64::from(!said);
        said
    }

    /// Those that happened.
    pub(super) fn rows(&self) -> impl Iterator<Item = DropRow> {
        let counted = ActKind::ALL.into_iter().zip(self.counts);
        counted.filter(|(_, count)| *count > 0).map(|(kind, count)| DropRow {
            name: format!("policy-{}", kind.name()),
            meaning: meaning(kind).into(),
            count,
        })
    }
}

fn meaning(kind: ActKind) -> &'static str {
    match kind {
        ActKind::Bind => "a program asked for an address or port that policy keeps from it",
        ActKind::Listen => "a program asked to listen where policy doesn't let it",
        ActKind::Connect => "a program asked to connect or send where policy doesn't let it",
        ActKind::Multicast => "a program asked to join a group that policy keeps from it",
        ActKind::Raw => "a program without the right asked for a raw socket",
        ActKind::Packet => "a program without the right asked for a packet socket",
        ActKind::Inspect => "a program without the right asked for a report",
        ActKind::Administer => "a program without the right asked to change the daemon",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_logged() {
        let mut refusals = Refusals::default();
        let start = Instant::ZERO + Duration::from_secs(5);
        let logged = (0..1000).filter(|_| refusals.note(ActKind::Bind, start)).count();
        assert_eq!(logged, LINES as usize);
        assert!(refusals.note(ActKind::Connect, start + WINDOW));
        let rows: Vec<_> = refusals.rows().map(|row| (row.name, row.count)).collect();
        assert_eq!(rows, [("policy-bind".to_owned(), 1000), ("policy-connect".to_owned(), 1)]);
    }
}
