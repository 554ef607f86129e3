//! Narrows in virtual time.

use super::{
    cells::{self, Cell},
    jain,
};
use anyhow::{Result, anyhow};
use narrows_sim::{Connection, LinkSettings, Scenario, app};
use narrows_stack::{tcp::congestion::Algorithm, time::Duration};

/// Flows begin together, as those of iperf3 do, but not in step.
const APART: Duration = Duration::from_millis(1);

/// Mbit/s of payload that a stream brings over in this time.
pub fn goodput(cell: &Cell, algorithm: Algorithm, time: Duration) -> Result<f64> {
    let received = run(cell.links(), algorithm, 1, time)?;
    Ok(received.iter().sum())
}

/// Jain's index of the flows, and what they got together.
pub fn sharing(algorithm: Algorithm, flows: usize, time: Duration) -> Result<(f64, f64)> {
    let received = run(cells::shared(), algorithm, flows, time)?;
    Ok((jain(&received), received.iter().sum()))
}

/// Mbit/s of each flow.
fn run(
    links: [LinkSettings; 2],
    algorithm: Algorithm,
    flows: usize,
    time: Duration,
) -> Result<Vec<f64>> {
    let mut scenario =
        Scenario::new("loss", super::wire::SEED).config(|config| config.tcp.congestion = algorithm);
    for ((_, link), settings) in scenario.hosts.iter_mut().zip(links) {
        *link = settings;
    }
    for flow in 0..flows {
        let mut connection = Connection::new(app::upload_for(time));
        connection.at = APART * u32::try_from(flow)?;
        scenario = scenario.connection(connection);
    }
    let report = scenario.try_run().map_err(|failure| anyhow!(failure))?;
    // The last bytes arrive after the time is over.
    let seconds = match flows {
        1 => report.programs_done.as_secs_f64(),
        _ => time.as_secs_f64(),
    };
    Ok(report.received.iter().map(|bytes| *bytes as f64 * 8.0 / 1e6 / seconds).collect())
}
