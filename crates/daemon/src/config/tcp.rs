//! `[tcp]`: what new TCP sockets start with.

use super::{Checker, ConfigError};
use narrows_stack::tcp::congestion::Algorithm;
use serde::Deserialize;
use toml::Spanned;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpConfig {
    /// As TCP_CONGESTION sets it for one socket.
    pub congestion: Algorithm,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self { congestion: Algorithm::Cubic }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TcpTable {
    congestion: Option<Spanned<String>>,
}

impl Checker<'_> {
    pub(super) fn tcp(&self, table: &TcpTable) -> Result<TcpConfig, ConfigError> {
        let mut config = TcpConfig::default();
        if let Some(name) = &table.congestion {
            config.congestion = Algorithm::from_name(name.get_ref()).ok_or_else(|| {
                let names = Algorithm::ALL.map(Algorithm::name).join(", ");
                let message =
                    format!("no congestion control \"{}\": write one of {names}", name.get_ref());
                self.error(name.span(), message)
            })?;
        }
        Ok(config)
    }
}
