//! `[quota]`: what each user may take of the daemon.

use super::{Checker, ConfigError, account::Named};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// Of one user. The defaults let a busy server be, and leave something for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaConfig {
    /// Half of what the engine has.
    pub sockets: u64,
    /// One a process: more than a machine's limit of processes for a user usually is.
    pub sessions: u64,
    /// Begun by the user's programs. The handshakes of a machine's own loopback are fewer.
    pub connections_per_second: u64,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self { sockets: 1 << 19, sessions: 1 << 15, connections_per_second: 200_000 }
    }
}

/// For everybody, and for those who have another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quotas {
    pub default: QuotaConfig,
    pub users: BTreeMap<u32, QuotaConfig>,
}

impl Quotas {
    pub(crate) fn of(&self, user: u32) -> QuotaConfig {
        self.users.get(&user).copied().unwrap_or(self.default)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaTable {
    sockets: Option<Spanned<i64>>,
    sessions: Option<Spanned<i64>>,
    connections_per_second: Option<Spanned<i64>>,
    #[serde(default)]
    user: Vec<UserTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserTable {
    name: Spanned<Named>,
    sockets: Option<Spanned<i64>>,
    sessions: Option<Spanned<i64>>,
    connections_per_second: Option<Spanned<i64>>,
}

impl Checker<'_> {
    pub(super) fn quotas(&self, table: &QuotaTable) -> Result<Quotas, ConfigError> {
        let QuotaTable { sockets, sessions, connections_per_second, user } = table;
        let base = QuotaConfig::default();
        let default = self.quota(base, [sockets, sessions, connections_per_second])?;
        let mut users = BTreeMap::new();
        for table in user {
            let UserTable { name, sockets, sessions, connections_per_second } = table;
            let quota = self.quota(default, [sockets, sessions, connections_per_second])?;
            if users.insert(self.user_named(name)?, quota).is_some() {
                return Err(self.error(name.span(), "a second quota of this user: leave one out"));
            }
        }
        Ok(Quotas { default, users })
    }

    /// What is not said is as in `base`.
    fn quota(
        &self,
        base: QuotaConfig,
        [sockets, sessions, connections]: [&Option<Spanned<i64>>; 3],
    ) -> Result<QuotaConfig, ConfigError> {
        let number = |value: &Option<Spanned<i64>>, base: u64| match value {
            None => Ok(base),
            Some(value) => u64::try_from(*value.get_ref()).map_err(|_| {
                let message = format!("{}: write 0 or more", value.get_ref());
                self.error(value.span(), message)
            }),
        };
        Ok(QuotaConfig {
            sockets: number(sockets, base.sockets)?,
            sessions: number(sessions, base.sessions)?,
            connections_per_second: number(connections, base.connections_per_second)?,
        })
    }
}
