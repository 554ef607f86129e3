//! Groups of interfaces, by number or by the names of /etc/iproute2/group, which ip(8) and nft(8) know them
//! by too.

use super::{Checker, ConfigError};
use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum GroupName {
    Number(i64),
    Text(String),
}

impl Checker<'_> {
    pub(super) fn optional_group(
        &self,
        group: &Option<Spanned<GroupName>>,
    ) -> Result<Option<u32>, ConfigError> {
        group.as_ref().map(|group| self.group_of_interfaces(group)).transpose()
    }

    fn group_of_interfaces(&self, group: &Spanned<GroupName>) -> Result<u32, ConfigError> {
        let found = match group.get_ref() {
            GroupName::Number(number) => u32::try_from(*number).map_err(|_| {
                format!("group {number}: write 0 to {}, or a name of /etc/iproute2/group", u32::MAX)
            }),
            GroupName::Text(name) => narrows_ipc::group::number(name).ok_or_else(|| {
                format!(
                    "no group \"{name}\": write a number, or add a line \"NUMBER {name}\" to \
                     /etc/iproute2/group"
                )
            }),
        };
        found.map_err(|message| self.error(group.span(), message))
    }
}
