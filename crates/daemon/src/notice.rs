//! What the engine has to tell the operator, as lines of the log.

use crate::worker::Worker;
use narrows_stack::{
    InterfaceId,
    event::{ConflictOutcome, Notice},
};

pub(crate) fn log(worker: &Worker, notice: Notice) {
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
        Notice::Leased { interface, prefix, router, server } => {
            let router = router.map(|router| format!(", gateway {router}")).unwrap_or_default();
            tracing::info!("{}: {server} leased {prefix}{router}", name(interface));
        }
        Notice::LeaseUnusable { interface, prefix, error } => {
            tracing::error!("{}: can't use the leased {prefix}: {error}", name(interface));
        }
        Notice::FilterLog(entry) => crate::nft::log(worker, &entry),
        Notice::LeaseEnded { interface, prefix } => {
            tracing::warn!("{}: the lease of {prefix} is over", name(interface));
        }
    }
}
