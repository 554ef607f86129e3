//! Which interfaces `link show` is about.

use crate::words::Words;
use anyhow::Result;
use narrows_ipc::{link::LinkKind, message::LinkRow};

#[derive(Debug, Default)]
pub struct Filter {
    pub device: Option<String>,
    group: Option<u32>,
    master: Option<String>,
    kind: Option<String>,
    up: bool,
}

impl Filter {
    /// `[[dev] NAME] [up] [group GROUP] [master NAME] [type TYPE]`.
    pub fn read(mut words: Words<'_>) -> Result<Self> {
        let mut filter = Self::default();
        while let Some(word) = words.next() {
            match word {
                "dev" => filter.device = Some(words.value(word)?.to_owned()),
                "up" => filter.up = true,
                "group" => filter.group = Some(group(&mut words)?),
                "master" => filter.master = Some(words.value(word)?.to_owned()),
                "type" => filter.kind = Some(words.value(word)?.to_owned()),
                name if filter.device.is_none() => filter.device = Some(name.to_owned()),
                word => {
                    return Err(words.error(format_args!(
                        "don't know `{word}`; write [dev NAME] [up] [group GROUP] [master NAME] \
                         [type vlan|bond|bridge|private]"
                    )));
                }
            }
        }
        Ok(filter)
    }

    pub fn takes(&self, link: &LinkRow) -> bool {
        let state = &link.state;
        let kind = match &state.kind {
            LinkKind::Loopback => "loopback",
            LinkKind::Device(spec) => spec.split(':').next().unwrap_or_default(),
            LinkKind::Vlan { .. } => "vlan",
            LinkKind::Bond => "bond",
            LinkKind::Bridge => "bridge",
            LinkKind::Private => "private",
        };
        self.device.as_ref().is_none_or(|name| link.name == *name)
            && self.group.is_none_or(|group| state.group == group)
            && self.master.as_ref().is_none_or(|master| state.master.as_ref() == Some(master))
            && self.kind.as_ref().is_none_or(|asked| asked == kind)
            && (state.up || !self.up)
    }
}

/// A group's number or name.
pub fn group(words: &mut Words<'_>) -> Result<u32> {
    let word = words.value("group")?;
    narrows_ipc::group::number(word).ok_or_else(|| {
        words
            .error(format_args!("group `{word}`: write a number, or a name of /etc/iproute2/group"))
    })
}
