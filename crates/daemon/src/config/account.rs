//! Who somebody is: users and groups by name or number, executables and control groups by path.

use super::{Checker, ConfigError};
use narrows_policy::Who;
use nix::unistd::{Group, User};
use serde::{
    Deserialize, Deserializer,
    de::{Unexpected, Visitor},
};
use std::fmt;
use toml::Spanned;

/// As written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Name(String),
    Number(u32),
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Named;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a name as \"www-data\", or a number")
            }

            fn visit_str<E>(self, name: &str) -> Result<Named, E> {
                // A number in quotes is a number, as in chown(1).
                Ok(name.parse().map_or_else(|_| Named::Name(name.to_owned()), Named::Number))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Named, E> {
                // The last is -1 to the kernel, which is nobody.
                let number = u32::try_from(number).ok().filter(|number| *number < u32::MAX);
                let number = number.ok_or_else(|| E::invalid_value(Unexpected::Other("it"), &self));
                number.map(Named::Number)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// How a table says who somebody is.
pub(super) struct WhoWords<'a> {
    pub user: &'a Option<Spanned<Named>>,
    pub group: &'a Option<Spanned<Named>>,
    pub executable: &'a Option<Spanned<String>>,
    pub cgroup: &'a Option<Spanned<String>>,
}

impl Checker<'_> {
    /// Of every zone.
    pub(super) fn who_is(&self, words: &WhoWords<'_>) -> Result<Who, ConfigError> {
        let path = |what, path: &Option<Spanned<String>>| {
            path.as_ref().map(|path| self.whole_path(what, path)).transpose()
        };
        Ok(Who {
            user: words.user.as_ref().map(|user| self.user_named(user)).transpose()?,
            group: words.group.as_ref().map(|group| self.group_named(group)).transpose()?,
            executable: path("executable", words.executable)?,
            cgroup: path("cgroup", words.cgroup)?,
            zone: None,
        })
    }

    fn whole_path(&self, what: &str, path: &Spanned<String>) -> Result<String, ConfigError> {
        let text = path.get_ref();
        if text.starts_with('/') {
            return Ok(text.clone());
        }
        let message = format!("{what} = \"{text}\": write its whole path, from \"/\" on");
        Err(self.error(path.span(), message))
    }

    /// The number of a user that this machine knows; any number.
    pub(super) fn user_named(&self, account: &Spanned<Named>) -> Result<u32, ConfigError> {
        self.named(account, "user", |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
    }

    pub(super) fn group_named(&self, account: &Spanned<Named>) -> Result<u32, ConfigError> {
        self.named(account, "group", |name| {
            Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
        })
    }

    fn named(
        &self,
        account: &Spanned<Named>,
        what: &str,
        look_up: impl Fn(&str) -> nix::Result<Option<u32>>,
    ) -> Result<u32, ConfigError> {
        let name = match account.get_ref() {
            Named::Number(number) => return Ok(*number),
            Named::Name(name) => name,
        };
        let message = match look_up(name) {
            Ok(Some(number)) => return Ok(number),
            Ok(None) => {
                format!("no {what} \"{name}\": write one of this machine's, or its number")
            }
            Err(error) => format!("can't look up the {what} \"{name}\": {error}"),
        };
        Err(self.error(account.span(), message))
    }
}
