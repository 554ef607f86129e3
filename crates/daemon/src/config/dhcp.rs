//! `[dhcp]`: what becomes of leases when the daemon ends.

use super::{Checker, ConfigError};
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

/// How the DHCP clients end and begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DhcpConfig {
    /// The file that leases are remembered in for the next start; none: they are forgotten.
    pub lease_file: Option<PathBuf>,
    /// Are they given back at the end? Else they run on, and the next start has the same addresses.
    pub release: bool,
}

impl Default for DhcpConfig {
    fn default() -> Self {
        Self { lease_file: None, release: true }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DhcpTable {
    lease_file: Option<Spanned<PathBuf>>,
    release: Option<bool>,
}

impl Checker<'_> {
    pub(super) fn dhcp(&self, table: DhcpTable) -> Result<DhcpConfig, ConfigError> {
        if let Some(path) = table.lease_file.as_ref().filter(|path| !path.get_ref().is_absolute()) {
            let message = format!(
                "lease_file = \"{}\": write the whole path, as \"/var/lib/narrows/leases\"",
                path.get_ref().display()
            );
            return Err(self.error(path.span(), message));
        }
        Ok(DhcpConfig {
            lease_file: table.lease_file.map(Spanned::into_inner),
            release: table.release.unwrap_or(true),
        })
    }
}
