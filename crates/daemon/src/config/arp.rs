//! How an interface asks and answers by ARP: keys with Linux's names and values.

use super::{Checker, ConfigError, InterfaceTable};
use narrows_stack::table::arp_policy::{ArpAnnounce, ArpIgnore, ArpPolicy, ConflictDetection};
use serde::Deserialize;
use toml::Spanned;

/// New addresses are announced and used at once: to probe would make everybody wait for seconds.
pub(super) const DEFAULT: ArpPolicy = ArpPolicy {
    arp_ignore: ArpIgnore::OtherInterfaces,
    arp_announce: ArpAnnounce::Best,
    arp_filter: false,
    arp_accept: false,
    proxy_arp: false,
    conflict_detection: ConflictDetection::Announce,
};

/// `true` and `false`, or 1 and 0 as in Linux.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
pub(super) enum Switch {
    Word(bool),
    Number(i64),
}

impl Checker<'_> {
    pub(super) fn arp_policy(&self, table: &InterfaceTable) -> Result<ArpPolicy, ConfigError> {
        let mut policy = DEFAULT;
        if let Some(value) = &table.conflict_detection {
            let word = value.get_ref();
            policy.conflict_detection = ConflictDetection::parse(word).ok_or_else(|| {
                let message = format!(
                    "conflict_detection = \"{word}\": write \"announce\", \"probe\" or \"off\""
                );
                self.error(value.span(), message)
            })?;
        }
        if let Some(value) = &table.arp_ignore {
            let number = *value.get_ref();
            let found = u8::try_from(number).ok().and_then(ArpIgnore::from_number);
            policy.arp_ignore = found.ok_or_else(|| {
                self.error(value.span(), format!("arp_ignore = {number}: write 0, 1, 2 or 8"))
            })?;
        }
        if let Some(value) = &table.arp_announce {
            let number = *value.get_ref();
            let found = u8::try_from(number).ok().and_then(ArpAnnounce::from_number);
            policy.arp_announce = found.ok_or_else(|| {
                self.error(value.span(), format!("arp_announce = {number}: write 0, 1 or 2"))
            })?;
        }
        policy.arp_filter = self.switch("arp_filter", table.arp_filter.as_ref())?;
        policy.arp_accept = self.switch("arp_accept", table.arp_accept.as_ref())?;
        policy.proxy_arp = self.switch("proxy_arp", table.proxy_arp.as_ref())?;
        Ok(policy)
    }

    fn switch(&self, key: &str, value: Option<&Spanned<Switch>>) -> Result<bool, ConfigError> {
        let Some(value) = value else { return Ok(false) };
        match value.get_ref() {
            Switch::Word(on) => Ok(*on),
            Switch::Number(0) => Ok(false),
            Switch::Number(1) => Ok(true),
            Switch::Number(other) => {
                let message = format!("{key} = {other}: write true or false");
                Err(self.error(value.span(), message))
            }
        }
    }
}
