//! `[quota]`: what each user may take of the daemon, and all of them together.

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
    /// Connections that wait for one listener to accept them: as Linux's somaxconn, which is the
    /// engine's too.
    pub backlog: u64,
    /// Handshakes that others began with the user's listeners: 16 listeners' worth.
    pub half_open: u64,
    /// Of memory in the buffers and queues of all sockets. No limit: what all together have is bounded,
    /// and the largest pay first.
    pub buffer_bytes: u64,
    /// Sent by UDP, ping and packet sockets; TCP's pace is the peers' to set. No limit: the device
    /// has one.
    pub frames_per_second: u64,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            sockets: 1 << 19,
            sessions: 1 << 15,
            connections_per_second: 200_000,
            backlog: 4096,
            half_open: 1 << 16,
            buffer_bytes: u64::MAX,
            frames_per_second: u64::MAX,
        }
    }
}

/// For everybody, and for those who have another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quotas {
    pub default: QuotaConfig,
    pub users: BTreeMap<u32, QuotaConfig>,
    /// Of each user in a group, in the file's order.
    pub groups: Vec<(u32, QuotaConfig)>,
    /// Memory in the buffers and queues of all users. `None`: what the machine is good for.
    pub all_buffer_bytes: Option<u64>,
}

impl Quotas {
    /// A user's own, else that of the first group that he is in.
    pub(crate) fn of(&self, user: u32, groups: &[u32]) -> QuotaConfig {
        let of_group = || self.groups.iter().find(|(group, _)| groups.contains(group));
        let own = self.users.get(&user).or_else(|| of_group().map(|(_, quota)| quota));
        own.copied().unwrap_or(self.default)
    }
}

/// A table with the limits, and what else it says.
macro_rules! table {
    ($name:ident { $($(#[$meta:meta])* $key:ident: $type:ty),* }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$meta])* $key: $type,)*
            sockets: Option<Spanned<i64>>,
            sessions: Option<Spanned<i64>>,
            connections_per_second: Option<Spanned<i64>>,
            backlog: Option<Spanned<i64>>,
            half_open: Option<Spanned<i64>>,
            buffer_bytes: Option<Spanned<i64>>,
            frames_per_second: Option<Spanned<i64>>,
        }

        impl $name {
            /// What is not said is as in `base`.
            fn quota(
                &self,
                checker: &Checker<'_>,
                base: QuotaConfig,
            ) -> Result<QuotaConfig, ConfigError> {
                let number = |value: &Option<Spanned<i64>>, base: u64| match value {
                    None => Ok(base),
                    Some(value) => checker.count(value),
                };
                Ok(QuotaConfig {
                    sockets: number(&self.sockets, base.sockets)?,
                    sessions: number(&self.sessions, base.sessions)?,
                    connections_per_second: number(
                        &self.connections_per_second,
                        base.connections_per_second,
                    )?,
                    backlog: number(&self.backlog, base.backlog)?,
                    half_open: number(&self.half_open, base.half_open)?,
                    buffer_bytes: number(&self.buffer_bytes, base.buffer_bytes)?,
                    frames_per_second: number(&self.frames_per_second, base.frames_per_second)?,
                })
            }
        }
    };
}

table!(QuotaTable {
    all_buffer_bytes: Option<Spanned<i64>>,
    #[serde(default)]
    user: Vec<NamedTable>,
    #[serde(default)]
    group: Vec<NamedTable>
});
table!(NamedTable { name: Spanned<Named> });

impl Checker<'_> {
    pub(super) fn quotas(&self, table: &QuotaTable) -> Result<Quotas, ConfigError> {
        let default = table.quota(self, QuotaConfig::default())?;
        let (mut users, mut groups) = (BTreeMap::new(), Vec::new());
        for table in &table.user {
            let (user, quota) = (self.user_named(&table.name)?, table.quota(self, default)?);
            if users.insert(user, quota).is_some() {
                let message = "a second quota of this user: leave one out";
                return Err(self.error(table.name.span(), message));
            }
        }
        for table in &table.group {
            let group = self.group_named(&table.name)?;
            if groups.iter().any(|(held, _)| *held == group) {
                let message = "a second quota of this group: leave one out";
                return Err(self.error(table.name.span(), message));
            }
            groups.push((group, table.quota(self, default)?));
        }
        let all_buffer_bytes = table.all_buffer_bytes.as_ref().map(|bytes| self.count(bytes));
        Ok(Quotas { default, users, groups, all_buffer_bytes: all_buffer_bytes.transpose()? })
    }

    fn count(&self, value: &Spanned<i64>) -> Result<u64, ConfigError> {
        u64::try_from(*value.get_ref())
            .map_err(|_| self.error(value.span(), format!("{}: write 0 or more", value.get_ref())))
    }
}
