//! Who may do what. One function per kind of act, asked before the engine is; a refusal is an
//! error for the program and a line in the log.

use crate::principal::Principal;
use narrows_ipc::Error;
use std::net::SocketAddr;

/// Ports below this are for root and the daemon's own user, as everywhere.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// The rules, for a daemon that runs as one user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub daemon_uid: u32,
}

impl Policy {
    /// May `principal` bind a socket to `local`?
    pub(crate) fn bind(self, principal: &Principal, local: SocketAddr) -> Result<(), Error> {
        let free = local.port() == 0 || local.port() >= FIRST_UNPRIVILEGED_PORT;
        if free || self.is_privileged(principal) {
            return Ok(());
        }
        refuse(principal, format_args!("bind to {local}: ports below 1024 need root"))
    }

    /// May `principal` end the daemon?
    pub(crate) fn stop(self, principal: &Principal) -> Result<(), Error> {
        if self.is_privileged(principal) {
            return Ok(());
        }
        refuse(principal, format_args!("stop the daemon: only root and the daemon's own user may"))
    }

    /// May `principal` mark packets, for which rules may have another way?
    pub(crate) fn mark(self, principal: &Principal) -> Result<(), Error> {
        if self.is_privileged(principal) {
            return Ok(());
        }
        refuse(principal, format_args!("mark packets: only root and the daemon's own user may"))
    }

    /// May `principal` change how the daemon is set up?
    pub(crate) fn configure(self, principal: &Principal) -> Result<(), Error> {
        if self.is_privileged(principal) {
            return Ok(());
        }
        refuse(principal, format_args!("configure: only root and the daemon's own user may"))
    }

    fn is_privileged(self, principal: &Principal) -> bool {
        principal.uid == 0 || principal.uid == self.daemon_uid
    }
}

fn refuse(principal: &Principal, what: std::fmt::Arguments<'_>) -> Result<(), Error> {
    let Principal { pid, uid, .. } = principal;
    tracing::warn!(pid, uid, executable = principal.executable(), "refused to {what}");
    Err(Error::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_ports_and_stopping_are_for_root_and_the_daemons_user() {
        let policy = Policy { daemon_uid: 500 };
        let refused = Err(Error::PermissionDenied);
        let cases = [
            (0, 80, Ok(()), Ok(())),
            (500, 80, Ok(()), Ok(())),
            (1000, 80, refused, refused),
            (1000, 1023, refused, refused),
            (1000, 1024, Ok(()), refused),
            (1000, 0, Ok(()), refused),
        ];
        for (uid, port, bind, stop) in cases {
            let principal = Principal::fake(uid, &[], "/bin/x", "/");
            let local = SocketAddr::from(([10, 0, 0, 2], port));
            assert_eq!(policy.bind(&principal, local), bind, "uid {uid}, port {port}");
            assert_eq!(policy.stop(&principal), stop, "uid {uid}");
            assert_eq!(policy.mark(&principal), stop, "{uid}");
            assert_eq!(policy.configure(&principal), stop, "uid {uid}");
        }
    }
}
