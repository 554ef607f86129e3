//! Whole transfers: every byte arrives in order, and both ends come to their end.

use super::pipe::{Pipe, Wire};
use crate::{
    event::Readiness,
    tcp::{Settings, congestion::Algorithm, connection::Fate},
    time::Duration,
};

const MEGABYTE: usize = 1 << 20;

fn run(seed: u64, wire: Wire, settings: Settings, to_send: [usize; 2]) -> Pipe {
    let mut pipe = Pipe::new(seed, wire, [settings.clone(), settings], to_send);
    pipe.run(Duration::from_secs(3600));
    for (end, expected) in pipe.ends.iter().zip([to_send[1], to_send[0]]) {
        assert_eq!(end.received, expected);
        assert!(end.finished);
        let connection = end.connection.as_ref().unwrap();
        assert_eq!((connection.error(), connection.next_timeout()), (None, None));
        assert_eq!(end.pool.in_use(), 0, "rings give their buffers back");
    }
    pipe
}

#[test]
fn a_clean_wire() {
    for (offload, coalesce) in [(0, false), (65_536, false), (65_536, true)] {
        for to_send in [[0, 0], [1, 0], [0, 1], [1000, 1000], [4 * MEGABYTE, 100], [MEGABYTE; 2]] {
            let wire = Wire { offload, coalesce, ..Wire::default() };
            let pipe = run(1, wire, Settings::default(), to_send);
            for end in &pipe.ends {
                let info = end.connection.as_ref().unwrap().info(pipe.now);
                assert_eq!(info.retransmissions, 0, "{to_send:?} {offload}");
            }
            assert!(pipe.ends[0].seen.contains(Readiness::CONNECTED | Readiness::FINISHED));
            assert!(!pipe.ends[1].seen.contains(Readiness::CONNECTED));
            let time_waits = pipe.ends.iter().filter(|e| matches!(e.fate, Fate::TimeWait(_)));
            assert!(time_waits.count() >= 1);
        }
    }
}

#[test]
fn hostile_wires() {
    for seed in 0..60 {
        let wire = Wire {
            loss: [0, 10, 50, 200][seed as usize % 4],
            duplication: [0, 20, 0][seed as usize % 3],
            reordering: [0, 0, 20, 100, 300][seed as usize % 5],
            offload: [0, 65_536][seed as usize % 2],
            ..Wire::default()
        };
        let settings = Settings {
            congestion: [Algorithm::Reno, Algorithm::Cubic][seed as usize / 2 % 2],
            no_delay: seed % 3 == 0,
            ..Settings::default()
        };
        run(seed, wire, settings, [MEGABYTE / 2, 70_000]);
    }
}
