use super::{Mark::*, *};

const AT: fn(u64) -> Instant = Instant::from_millis;

/// Ten octets sent at each of the ten first milliseconds.
fn ten() -> Scoreboard {
    let mut board = Scoreboard::default();
    for i in 0..10 {
        board.send(Seq(i * 10), Seq(i * 10 + 10), AT(u64::from(i)));
    }
    board
}

fn sack(board: &mut Scoreboard, blocks: &[(u32, u32)]) -> Delivered {
    let mut delivered = Delivered::default();
    for (left, right) in blocks {
        board.sack(Seq(*left), Seq(*right), &mut delivered);
    }
    delivered
}

/// The marks from the first octet on, and where each run of them ends.
fn runs(board: &Scoreboard) -> Vec<(u32, Mark)> {
    let mut runs: Vec<(u32, Mark)> = Vec::new();
    let mut at = board.ranges().next().map_or(Seq(0), |range| range.start);
    for range in board.ranges() {
        assert_eq!(range.start, at, "ranges are contiguous");
        assert!(range.start.before(range.end), "ranges are not empty");
        at = range.end;
        match runs.last_mut() {
            Some((end, mark)) if *mark == range.mark => *end = range.end.0,
            _ => runs.push((range.end.0, range.mark)),
        }
    }
    let sum = |mark| board.ranges().filter(|r| r.mark == mark).map(Range::len).sum::<u32>();
    assert_eq!((board.sacked(), board.lost()), (sum(Sacked), sum(Lost)));
    runs
}

#[test]
fn what_leaves_at_one_moment_is_one_range() {
    let mut board = Scoreboard::default();
    board.send(Seq(0), Seq(100), AT(1));
    board.send(Seq(100), Seq(200), AT(1));
    board.send(Seq(200), Seq(300), AT(2));
    assert_eq!(board.ranges().count(), 2);
}

#[test]
fn blocks_split_and_join_ranges() {
    for (blocks, expected) in [
        (&[(30, 40)][..], &[(30, Sent), (40, Sacked), (100, Sent)][..]),
        (&[(35, 38)], &[(35, Sent), (38, Sacked), (100, Sent)]),
        (&[(35, 65)], &[(35, Sent), (65, Sacked), (100, Sent)]),
        (&[(30, 40), (60, 70), (30, 70)], &[(30, Sent), (70, Sacked), (100, Sent)]),
        (&[(30, 40), (40, 50), (20, 30)], &[(20, Sent), (50, Sacked), (100, Sent)]),
        (&[(95, 100)], &[(95, Sent), (100, Sacked)]),
        (&[(10, 15), (12, 20)], &[(10, Sent), (20, Sacked), (100, Sent)]),
    ] {
        let mut board = ten();
        sack(&mut board, blocks);
        assert_eq!(runs(&board), expected, "{blocks:?}");
        let sacked = board.ranges().filter(|range| range.mark == Sacked).count();
        assert_eq!(sacked, 1, "{blocks:?}");
    }
}

#[test]
fn a_block_told_twice_delivers_once() {
    let mut board = ten();
    assert_eq!(sack(&mut board, &[(30, 50)]).octets, 20);
    assert_eq!(sack(&mut board, &[(30, 50)]), Delivered::default());
    assert_eq!(sack(&mut board, &[(30, 60)]).octets, 10);
}

#[test]
fn acknowledgment_counts_only_what_was_not_reported() {
    let mut board = ten();
    sack(&mut board, &[(10, 20)]);
    let mut delivered = Delivered::default();
    board.acknowledge(Seq(25), &mut delivered);
    assert_eq!(
        delivered,
        Delivered {
            octets: 15,
            latest: Some((Departure { at: AT(2), end: Seq(25) }, false)),
            sampled: Some(AT(0)),
            lowest: Some(Seq(0)),
            highest: Some(Seq(25)),
            again: false,
        }
    );
    assert_eq!(runs(&board), [(100, Sent)]);
    board.acknowledge(Seq(100), &mut delivered);
    assert_eq!(board, Scoreboard::default());
}

#[test]
fn what_was_overtaken_long_enough_ago_is_lost() {
    let mut board = ten();
    let latest = sack(&mut board, &[(50, 60)]).latest.unwrap().0;
    let wait = board.detect(AT(6), latest, Duration::from_millis(3));
    assert_eq!(wait, Some(Duration::from_millis(1)));
    assert_eq!(runs(&board), [(40, Lost), (50, Sent), (60, Sacked), (100, Sent)]);
    assert_eq!(board.detect(AT(7), latest, Duration::from_millis(3)), None);
    assert_eq!(runs(&board), [(50, Lost), (60, Sacked), (100, Sent)]);
}

#[test]
fn a_lost_retransmission_is_lost_again() {
    let mut board = ten();
    sack(&mut board, &[(20, 30)]);
    board.lose_first(20);
    assert_eq!(board.first_lost(), Some((Seq(0), Seq(10))));
    board.retransmit(Seq(0), Seq(4), AT(20));
    board.retransmit(Seq(4), Seq(10), AT(20));
    assert_eq!((board.first_lost(), board.has_retransmissions()), (None, true));
    assert_eq!(board.ranges().next().unwrap().end, Seq(10));
    board.send(Seq(100), Seq(110), AT(30));
    let latest = sack(&mut board, &[(100, 110)]).latest.unwrap().0;
    board.detect(AT(40), latest, Duration::from_millis(5));
    assert_eq!(runs(&board)[0], (20, Lost));
}

#[test]
fn a_retransmitted_range_gives_no_sample() {
    let mut board = ten();
    board.lose_first(10);
    board.retransmit(Seq(0), Seq(10), AT(20));
    let mut delivered = Delivered::default();
    board.acknowledge(Seq(10), &mut delivered);
    assert_eq!((delivered.sampled, delivered.lowest), (None, None));
    assert_eq!(delivered.latest, Some((Departure { at: AT(20), end: Seq(10) }, true)));
}

#[test]
fn a_timeout_spares_what_left_lately_but_never_the_first() {
    let mut board = ten();
    sack(&mut board, &[(30, 40)]);
    assert!(!board.lose_all(AT(4)));
    assert_eq!(runs(&board), [(30, Lost), (40, Sacked), (50, Lost), (100, Sent)]);
    let mut late = ten();
    assert!(!late.lose_all(AT(0)));
    assert_eq!(runs(&late), [(10, Lost), (100, Sent)]);
}

#[test]
fn a_peer_that_takes_reports_back_gets_everything_again() {
    let mut board = ten();
    sack(&mut board, &[(0, 20)]);
    assert!(board.lose_all(AT(0)));
    assert_eq!(runs(&board), [(100, Lost)]);
}

#[test]
fn the_tail_is_the_last_in_flight() {
    let mut board = ten();
    assert_eq!(board.tail(4), Some((Seq(96), Seq(100))));
    assert_eq!(board.tail(400), Some((Seq(90), Seq(100))));
    sack(&mut board, &[(70, 100)]);
    assert_eq!(board.tail(10), Some((Seq(60), Seq(70))));
    board.lose_from(Seq(65));
    assert_eq!(runs(&board), [(65, Sent), (70, Lost), (100, Sacked)]);
}

#[test]
fn hostile_blocks_neither_grow_it_without_end_nor_break_it() {
    let mut board = Scoreboard::default();
    board.send(Seq(0), Seq(1 << 20), AT(0));
    for i in 0..20_000 {
        sack(&mut board, &[(i * 50 + 1, i * 50 + 2)]);
    }
    assert!(board.ranges().count() <= MAX_RANGES);
    runs(&board);
    let mut at = 1 << 20;
    for i in 0..5_000 {
        board.send(Seq(at), Seq(at + 1), AT(i));
        at += 1;
    }
    board.lose_all(AT(9_999));
    while let Some((start, end)) = board.first_lost() {
        board.retransmit(start, end.min(start + 7), AT(u64::from(start.0)));
    }
    assert!(board.ranges().count() <= MAX_RANGES + 1);
    runs(&board);
    board.acknowledge(Seq(at), &mut Delivered::default());
    let lost_ever = board.lost_ever;
    assert_eq!(board, Scoreboard { lost_ever, ..Scoreboard::default() });
}
