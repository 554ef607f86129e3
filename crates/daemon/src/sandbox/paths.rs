//! Landlock: which files may be opened, and that neither the kernel's TCP nor others' abstract
//! sockets can be reached, nor signals sent (landlock(7)).

use anyhow::Result;
use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};

/// The newest this was written for: what is newer is not asked for, what the kernel lacks is left
/// out.
const WRITTEN_FOR: ABI = ABI::V6;

/// What can be read: the names of users and groups, when the configuration is read again; as an
/// ordinary user, so not their passwords.
const READABLE: &str = "/etc";

/// Rules that a thread can come under.
pub(crate) struct Rules(RulesetCreated);

pub(crate) fn rules() -> Result<Rules> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(WRITTEN_FOR))?
        .handle_access(AccessNet::from_all(WRITTEN_FOR))?
        .scope(Scope::from_all(WRITTEN_FOR))?
        .create()?;
    // What isn't there can't be read.
    if let Ok(path) = PathFd::new(READABLE) {
        rules = rules.add_rule(PathBeneath::new(path, AccessFs::ReadFile))?;
    }
    Ok(Rules(rules))
}

impl Rules {
    /// From now on they hold for the calling thread. Returns the kernel's version of Landlock.
    pub(crate) fn restrict(self) -> Result<Option<u32>> {
        let status = self.0.restrict_self()?;
        Ok(match status.landlock {
            LandlockStatus::Available { effective_abi, kernel_abi } => {
                Some(kernel_abi.map_or(effective_abi as u32, |abi| abi.unsigned_abs()))
            }
            _ => None,
        })
    }
}
