use super::*;

const SEGMENT: u32 = 1448;

fn ack(bytes: u32) -> Acknowledged {
    Acknowledged {
        now: Instant::ZERO,
        una: Seq(0),
        nxt: Seq(0),
        bytes,
        segment: SEGMENT,
        rtt: Duration::from_millis(1),
        sample: None,
    }
}

#[test]
fn slow_start_doubles_a_window_in_a_round_trip() {
    for algorithm in [Algorithm::Reno, Algorithm::Cubic] {
        let mut congestion = Congestion::new(Instant::ZERO, algorithm, SEGMENT, 1);
        assert_eq!(congestion.window, 10 * SEGMENT);
        congestion.acknowledged(ack(10 * SEGMENT));
        assert_eq!(congestion.window, 20 * SEGMENT);
    }
}

#[test]
fn the_initial_window_is_that_of_rfc_6928() {
    for (segment, window) in [(536, 5360), (1460, 14_600), (8960, 17_920), (65_495, 130_990)] {
        assert_eq!(initial_window(segment), window);
    }
}

#[test]
fn a_loss_sets_the_threshold_and_can_be_undone() {
    for (algorithm, fraction) in [(Algorithm::Reno, 500), (Algorithm::Cubic, 700)] {
        let mut congestion = Congestion::new(Instant::ZERO, algorithm, SEGMENT, 1);
        congestion.window = 100 * SEGMENT;
        let untouched = congestion.clone();
        let before = congestion.reduce(SEGMENT);
        assert_eq!(congestion.threshold, 100 * SEGMENT / 10 * fraction / 100);
        congestion.window = congestion.threshold;
        congestion.undo(before);
        assert_eq!(congestion, untouched);
    }
}

#[test]
fn the_threshold_has_a_floor_of_two_segments() {
    let mut congestion = Congestion::new(Instant::ZERO, Algorithm::Cubic, SEGMENT, 1);
    congestion.window = SEGMENT;
    let _ = congestion.reduce(SEGMENT);
    assert_eq!(congestion.threshold, 2 * SEGMENT);
}

#[test]
fn idleness_halves_the_window_down_to_the_initial_one() {
    let second = Duration::from_secs(1);
    for (idle, window) in [(0, 160), (2, 80), (3, 40), (60, 10)] {
        let mut congestion = Congestion::new(Instant::ZERO, Algorithm::Cubic, SEGMENT, 1);
        congestion.window = 160 * SEGMENT;
        congestion.restart(Instant::ZERO, Duration::from_secs(idle), second, SEGMENT);
        assert_eq!(congestion.window, window * SEGMENT, "{idle} s");
    }
}

#[test]
fn names_are_those_of_linux() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
    }
    assert_eq!(Algorithm::from_name("vegas"), None);
}
