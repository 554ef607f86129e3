//! How fast a stream is in virtual time: that depends on the protocol alone.

use narrows_sim::{Connection, LinkSettings, Scenario, app, link::Offload};
use narrows_stack::{tcp::congestion::Algorithm, time::Duration};

/// Megabits per second of payload over a path of 100 Mbit/s and 40 ms there and back.
fn goodput(algorithm: Algorithm, change: impl Fn(&mut LinkSettings)) -> f64 {
    let mut link = LinkSettings {
        delay: Duration::from_millis(20),
        rate: Some(100_000_000),
        // The bandwidth-delay product: 500 kB.
        queue: 500_000,
        ..LinkSettings::default()
    };
    change(&mut link);
    let bytes = 60_000_000;
    let report = Scenario::new("goodput", 1)
        .link(link)
        .config(|config| config.tcp.congestion = algorithm)
        .connection(Connection::new(app::upload(bytes)))
        .run();
    bytes as f64 * 8.0 / 1e6 / report.programs_done.as_secs_f64()
}

#[test]
fn a_long_fat_path_is_filled() {
    for algorithm in Algorithm::ALL {
        let plain = goodput(algorithm, |_| {});
        assert!(plain > 85.0, "{algorithm:?}: {plain:.1} Mbit/s");
    }
}

#[test]
fn offload_changes_nothing_on_the_wire() {
    let cut = goodput(Algorithm::Cubic, |link| link.offload = Offload::Cut);
    assert!(cut > 85.0, "{cut:.1} Mbit/s");
}

#[test]
fn a_device_that_pushes_back_loses_nothing() {
    let rate = goodput(Algorithm::Cubic, |link| link.backpressure = true);
    assert!(rate > 85.0, "{rate:.1} Mbit/s");
}

#[test]
fn a_little_loss_costs_a_little() {
    let rate = goodput(Algorithm::Cubic, |link| link.loss = 1);
    assert!(rate > 40.0, "{rate:.1} Mbit/s");
}

#[test]
fn a_little_reordering_costs_little() {
    let rate = goodput(Algorithm::Cubic, |link| {
        link.reorder = 10;
        link.reorder_by = Duration::from_millis(1);
    });
    assert!(rate > 40.0, "{rate:.1} Mbit/s");
}
