//! `[daemon]`: as whom the daemon runs, what it may still do, and who reaches its control socket.

use super::{Checker, ConfigError, account::Named};
use nix::unistd::User;
use serde::Deserialize;
use toml::Spanned;

/// Any program may open a session; what it may do is decided by who it is.
const SOCKET_MODE: u32 = 0o666;

/// The user a daemon becomes that root has started. Nobody else is: systemd's table of users leaves
/// 65520 to 65533 unused, and distributions hold to it. (Anybody's process may be `nobody`, and could
/// then send the daemon signals.) It needs no line in /etc/passwd.
const DEFAULT_USER: u32 = 65_530;

/// What the kernel's own stack is to programs, which run when it has nothing to do: otherwise who floods a
/// wire with several threads would have several times the daemon's share of the processors, and its
/// buffers would run over with what others wait for. Not -20: who has to end a daemon gets his turn.
const DEFAULT_NICE: i32 = -15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DaemonConfig {
    pub user: Account,
    /// Was the user asked for? The default is only wished for.
    pub user_is_wanted: bool,
    /// Does the daemon give up what it needs no more?
    pub sandbox: bool,
    /// As nice(1) has it.
    pub nice: i32,
    /// Was that asked for? The default is only wished for.
    pub nice_is_wanted: bool,
    pub socket_mode: u32,
    pub socket_group: Option<u32>,
}

/// A user, with the group that is his first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub user: u32,
    pub group: u32,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            user: Account { user: DEFAULT_USER, group: DEFAULT_USER },
            user_is_wanted: false,
            sandbox: true,
            nice: DEFAULT_NICE,
            nice_is_wanted: false,
            socket_mode: SOCKET_MODE,
            socket_group: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DaemonTable {
    user: Option<Spanned<Name>>,
    sandbox: Option<bool>,
    nice: Option<Spanned<i64>>,
    socket_mode: Option<Spanned<String>>,
    socket_group: Option<Spanned<Named>>,
}

/// A user or group, as it is known or by number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Number(i64),
    Text(String),
}

impl Checker<'_> {
    pub(super) fn daemon(&self, table: &DaemonTable) -> Result<DaemonConfig, ConfigError> {
        let mut config = DaemonConfig::default();
        if let Some(name) = &table.user {
            config.user = self.account(name)?;
            config.user_is_wanted = true;
        }
        config.sandbox = table.sandbox.unwrap_or(true);
        if let Some(nice) = &table.nice {
            config.nice = self.nice(nice)?;
            config.nice_is_wanted = true;
        }
        if let Some(text) = &table.socket_mode {
            config.socket_mode = self.mode(text)?;
        }
        if let Some(name) = &table.socket_group {
            config.socket_group = Some(self.group_named(name)?);
        }
        Ok(config)
    }

    fn account(&self, name: &Spanned<Name>) -> Result<Account, ConfigError> {
        let account = match name.get_ref() {
            Name::Number(number) => {
                let number = self.account_number(name, *number)?;
                Account { user: number, group: number }
            }
            Name::Text(text) => match User::from_name(text) {
                Ok(Some(user)) => Account { user: user.uid.as_raw(), group: user.gid.as_raw() },
                _ => {
                    let message = format!(
                        "no user \"{text}\": write one of this machine's, or a number that no \
                         other user has"
                    );
                    return Err(self.error(name.span(), message));
                }
            },
        };
        if account.user == 0 {
            let message = "the daemon gives up being root: write another user, or sandbox = false \
                           to look for an error";
            return Err(self.error(name.span(), message));
        }
        Ok(account)
    }

    fn account_number(&self, name: &Spanned<Name>, number: i64) -> Result<u32, ConfigError> {
        // The last is -1 to the kernel: "leave it as it is".
        u32::try_from(number).ok().filter(|number| *number < u32::MAX).ok_or_else(|| {
            let message =
                format!("{number} is nobody's: write a number from 0 to {}", u32::MAX - 1);
            self.error(name.span(), message)
        })
    }

    fn nice(&self, nice: &Spanned<i64>) -> Result<i32, ConfigError> {
        let value = i32::try_from(*nice.get_ref()).ok();
        value.filter(|value| (-20..=19).contains(value)).ok_or_else(|| {
            let message = format!(
                "nice = {}: write a number from -20 (before all other programs) to 19 (after them), as \
                 nice(1) has them",
                nice.get_ref()
            );
            self.error(nice.span(), message)
        })
    }

    fn mode(&self, text: &Spanned<String>) -> Result<u32, ConfigError> {
        let mode = u32::from_str_radix(text.get_ref(), 8).ok();
        mode.filter(|mode| *mode <= 0o777).ok_or_else(|| {
            let message = format!(
                "socket_mode = \"{}\": write three octal digits, as \"666\" for everybody or \
                 \"660\" for root and socket_group",
                text.get_ref()
            );
            self.error(text.span(), message)
        })
    }
}
