//! `[conntrack]`: which flows are tracked, and for how long, with the kernel's names for the times.

use super::{Checker, ConfigError};
use narrows_stack::config::{ConntrackConfig, ConntrackTimeouts};
use serde::Deserialize;
use std::{num::NonZeroUsize, time::Duration};
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConntrackTable {
    /// Without a rule that asks for it too.
    enabled: Option<bool>,
    max: Option<Spanned<NonZeroUsize>>,
    max_per_source: Option<Spanned<NonZeroUsize>>,
    #[serde(default)]
    timeouts: Timeouts,
}

/// In seconds.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Timeouts {
    tcp_syn_sent: Option<u32>,
    tcp_syn_recv: Option<u32>,
    tcp_established: Option<u32>,
    tcp_fin_wait: Option<u32>,
    tcp_close_wait: Option<u32>,
    tcp_last_ack: Option<u32>,
    tcp_time_wait: Option<u32>,
    tcp_close: Option<u32>,
    tcp_max_retrans: Option<u32>,
    tcp_unacknowledged: Option<u32>,
    udp: Option<u32>,
    udp_stream: Option<u32>,
    icmp: Option<u32>,
    generic: Option<u32>,
}

/// More flows than this would be gigabytes.
const MOST_FLOWS: usize = 1 << 24;

impl Checker<'_> {
    pub(super) fn conntrack(&self, table: &ConntrackTable) -> Result<ConntrackConfig, ConfigError> {
        let defaults = ConntrackConfig::default();
        let number = |value: &Option<Spanned<NonZeroUsize>>, name: &str, default: usize| {
            let Some(value) = value else { return Ok(default) };
            let number = value.get_ref().get();
            match number <= MOST_FLOWS {
                true => Ok(number),
                false => Err(self.error(
                    value.span(),
                    format!("{name} = {number}: at most {MOST_FLOWS} flows can be tracked"),
                )),
            }
        };
        let flows = number(&table.max, "max", defaults.flows)?;
        let of_source = defaults.flows_per_source.min(flows);
        Ok(ConntrackConfig {
            always: table.enabled.unwrap_or(defaults.always),
            flows,
            flows_per_source: number(&table.max_per_source, "max_per_source", of_source)?,
            timeouts: table.timeouts.over(defaults.timeouts),
        })
    }
}

impl Timeouts {
    fn over(&self, defaults: ConntrackTimeouts) -> ConntrackTimeouts {
        let time = |said: Option<u32>, default: Duration| {
            said.map_or(default, |seconds| Duration::from_secs(seconds.into()))
        };
        ConntrackTimeouts {
            tcp_syn_sent: time(self.tcp_syn_sent, defaults.tcp_syn_sent),
            tcp_syn_recv: time(self.tcp_syn_recv, defaults.tcp_syn_recv),
            tcp_established: time(self.tcp_established, defaults.tcp_established),
            tcp_fin_wait: time(self.tcp_fin_wait, defaults.tcp_fin_wait),
            tcp_close_wait: time(self.tcp_close_wait, defaults.tcp_close_wait),
            tcp_last_ack: time(self.tcp_last_ack, defaults.tcp_last_ack),
            tcp_time_wait: time(self.tcp_time_wait, defaults.tcp_time_wait),
            tcp_close: time(self.tcp_close, defaults.tcp_close),
            tcp_retransmitting: time(self.tcp_max_retrans, defaults.tcp_retransmitting),
            tcp_unacknowledged: time(self.tcp_unacknowledged, defaults.tcp_unacknowledged),
            udp: time(self.udp, defaults.udp),
            udp_stream: time(self.udp_stream, defaults.udp_stream),
            udp_becomes_stream: defaults.udp_becomes_stream,
            icmp: time(self.icmp, defaults.icmp),
            generic: time(self.generic, defaults.generic),
        }
    }
}

#[cfg(test)]
mod tests;
