//! Drops by reason and place, for `narrows drops`.

use crate::worker::Worker;
use narrows_ipc::see::LossRow;
use narrows_stack::InterfaceId;

/// What there is to do about what devices lose.
const OF_DEVICES: &str = "the device outran the daemon: see what else keeps its CPU busy";

pub(super) fn report(worker: &mut Worker) -> Vec<LossRow> {
    let counters = worker.shard.counters();
    let mut rows: Vec<_> = counters
        .drops_by_place()
        .map(|(reason, place, count)| {
            let (name, meaning) = reason.describe();
            LossRow {
                reason: name.into(),
                meaning: meaning.into(),
                remedy: reason.remedy().into(),
                interface: place.interface.map_or(String::new(), |id| name_of(worker, id)),
                user: place.user,
                crossing: place.crossing.map(|(from, to)| {
                    let name = |id| worker.source.configuration.zone_name(id).to_owned();
                    (name(from), name(to))
                }),
                count,
            }
        })
        .collect();
    for attachment in &mut worker.attachments {
        let station = worker.shard.interface(attachment.interface);
        let interface = station.map_or(String::new(), |station| station.settings.name.clone());
        let lost = attachment.device.statistics().describe();
        rows.extend(lost.into_iter().filter(|lost| lost.2 > 0).map(|(reason, meaning, count)| {
            LossRow {
                reason: reason.into(),
                meaning: meaning.into(),
                remedy: OF_DEVICES.into(),
                interface: interface.clone(),
                user: None,
                crossing: None,
                count,
            }
        }));
    }
    rows
}

/// What programs call an interface; one that is gone has its number.
pub(crate) fn name_of(worker: &Worker, interface: InterfaceId) -> String {
    if interface == InterfaceId::LOOPBACK {
        return "lo".into();
    }
    match worker.shard.interface(interface) {
        Some(station) => station.settings.name.clone(),
        None => format!("if{}", interface.number()),
    }
}
