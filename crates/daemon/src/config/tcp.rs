//! `[tcp]`: what new TCP sockets start with, and what holds for all of them. Numbers mean what they do in
//! Linux's net.ipv4.tcp_* of the same name.

use super::{Checker, ConfigError};
use narrows_stack::{
    config::{SynCookies, TcpDefaults},
    tcp::{accurate_ecn::CountersSent, congestion::Algorithm, ecn::EcnMode, mtu_probe::MtuProbing},
};
use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TcpTable {
    congestion: Option<Spanned<String>>,
    ecn: Option<Spanned<i64>>,
    ecn_option: Option<Spanned<i64>>,
    mtu_probing: Option<Spanned<i64>>,
    syncookies: Option<Spanned<i64>>,
}

const ECN: [(i64, EcnMode, &str); 6] = [
    (0, EcnMode::Off, "none"),
    (1, EcnMode::Active, "asked for"),
    (2, EcnMode::Passive, "for peers that ask"),
    (3, EcnMode::Accurate, "asked for, and each mark told"),
    (
        4,
        EcnMode::AccuratePassiveClassicActive,
        "asked for, and each mark told to peers that ask for that",
    ),
    (
        5,
        EcnMode::AccuratePassive,
        "for peers that ask, and each mark told to those that ask for that",
    ),
];

const ECN_OPTION: [(i64, CountersSent, &str); 3] = [
    (0, CountersSent::Never, "none"),
    (1, CountersSent::Sparse, "where there is news"),
    (2, CountersSent::Always, "in each segment"),
];

const MTU_PROBING: [(i64, MtuProbing, &str); 3] = [
    (0, MtuProbing::Never, "none"),
    (1, MtuProbing::BlackHole, "where segments vanish"),
    (2, MtuProbing::Always, "always"),
];

const SYN_COOKIES: [(i64, SynCookies, &str); 3] = [
    (0, SynCookies::Never, "none"),
    (1, SynCookies::WhenFull, "when too many handshakes are under way"),
    (2, SynCookies::Always, "always"),
];

impl Checker<'_> {
    pub(super) fn tcp(&self, table: &TcpTable) -> Result<TcpDefaults, ConfigError> {
        let mut defaults = TcpDefaults::default();
        if let Some(name) = &table.congestion {
            defaults.congestion = Algorithm::from_name(name.get_ref()).ok_or_else(|| {
                let names = Algorithm::ALL.map(Algorithm::name).join(", ");
                let message =
                    format!("no congestion control \"{}\": write one of {names}", name.get_ref());
                self.error(name.span(), message)
            })?;
        }
        if let Some(number) = &table.ecn {
            defaults.ecn = self.one_of("ecn", number, &ECN)?;
        }
        if let Some(number) = &table.ecn_option {
            defaults.ecn_option = self.one_of("ecn_option", number, &ECN_OPTION)?;
        }
        if let Some(number) = &table.mtu_probing {
            defaults.mtu_probing = self.one_of("mtu_probing", number, &MTU_PROBING)?;
        }
        if let Some(number) = &table.syncookies {
            defaults.syn_cookies = self.one_of("syncookies", number, &SYN_COOKIES)?;
        }
        Ok(defaults)
    }

    /// What a number stands for; `known`: with what it means.
    fn one_of<T: Copy>(
        &self,
        key: &str,
        number: &Spanned<i64>,
        known: &[(i64, T, &str)],
    ) -> Result<T, ConfigError> {
        let found = known.iter().find(|(value, ..)| value == number.get_ref());
        found.map(|(_, value, _)| *value).ok_or_else(|| {
            let meanings: Vec<_> =
                known.iter().map(|(value, _, meaning)| format!("{value} ({meaning})")).collect();
            let message =
                format!("no {key} = {}: write one of {}", number.get_ref(), meanings.join(", "));
            self.error(number.span(), message)
        })
    }
}
