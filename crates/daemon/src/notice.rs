//! What the engine has to tell the operator, as lines of the log.

use crate::worker::Worker;
use narrows_stack::{
    InterfaceId,
    event::{ConflictOutcome, Notice},
};

pub(crate) fn log(worker: &mut Worker, notice: Notice) {
    if matches!(
        notice,
        Notice::Leased { .. } | Notice::LeaseRenewed { .. } | Notice::LeaseReleased { .. }
    ) {
        worker.leases.remember(&worker.shard, &worker.clock);
    }
    let shard = &worker.shard;
    let name = |interface: InterfaceId| {
        let found = shard.interface(interface);
        found.map(|found| found.settings.name.clone()).unwrap_or_default()
    };
    match notice {
        Notice::AddressConflict { interface, address, by, outcome } => {
            let name = name(interface);
            match outcome {
                ConflictOutcome::Defended => {
                    tracing::warn!("{by} claims {address} on {name}, which is ours: defended");
                }
                ConflictOutcome::GivenUp => {
                    tracing::error!("{by} has {address} on {name}: the address is disabled");
                }
            }
        }
        Notice::AddressExpired { interface, prefix } => {
            tracing::info!("{}: the time of {prefix} is over", name(interface));
        }
        Notice::Leased { interface, prefix, router, name_servers, server, lasts } => {
            let router = router.map(|router| format!(", gateway {router}")).unwrap_or_default();
            let servers = name_servers.into_iter().flatten();
            let servers: String = servers.map(|it| format!(", name server {it}")).collect();
            let (name, lasts) = (name(interface), lasts.as_secs());
            tracing::info!("{name}: {server} leased {prefix}{router}{servers}, for {lasts} s");
        }
        Notice::LeaseRenewed { interface, prefix, lasts } => {
            let (name, lasts) = (name(interface), lasts.as_secs());
            tracing::debug!("{name}: {prefix} leased again, for {lasts} s");
        }
        Notice::LeaseReleased { interface, prefix, server } => {
            tracing::info!("{}: {prefix} given back to {server}", name(interface));
        }
        Notice::LeaseUnusable { interface, prefix, error } => {
            tracing::error!("{}: can't use the leased {prefix}: {error}", name(interface));
        }
        Notice::HalfOpenShareFull { user } => {
            tracing::warn!(
                user,
                "no more half-open connections: SYNs for his listeners get cookies at best"
            );
        }
        Notice::FilterLog(entry) => crate::nft::log(worker, &entry),
        Notice::LeaseEnded { interface, prefix } => {
            tracing::warn!("{}: the lease of {prefix} is over", name(interface));
        }
    }
}
