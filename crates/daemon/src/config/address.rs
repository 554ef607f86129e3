//! `address`: a list of addresses, or the word for where an interface finds its own.

use super::{Checker, ConfigError, InterfaceTable};
use narrows_stack::table::autoconf::AddressSource;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use std::fmt;
use toml::Spanned;

pub(super) enum Addresses {
    Word(String),
    List(Vec<Spanned<String>>),
}

impl Addresses {
    pub(super) fn list(&self) -> &[Spanned<String>] {
        match self {
            Self::Word(_) => &[],
            Self::List(list) => list,
        }
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Addresses;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list as [\"10.0.0.2/24\"], \"dhcp\" or \"link-local\"")
            }

            fn visit_str<E>(self, word: &str) -> Result<Addresses, E> {
                Ok(Addresses::Word(word.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
                let mut addresses = Vec::new();
                while let Some(address) = list.next_element()? {
                    addresses.push(address);
                }
                Ok(Addresses::List(addresses))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Checker<'_> {
    pub(super) fn address_source(
        &self,
        table: &InterfaceTable,
    ) -> Result<AddressSource, ConfigError> {
        let Some(addresses) = &table.address else { return Ok(AddressSource::Static) };
        match addresses.get_ref() {
            Addresses::List(_) => Ok(AddressSource::Static),
            Addresses::Word(word) if word == "dhcp" => Ok(AddressSource::Dhcp),
            Addresses::Word(word) if word == "link-local" => Ok(AddressSource::LinkLocal),
            Addresses::Word(word) => {
                let message =
                    format!("address = \"{word}\": write [\"{word}\"], \"dhcp\" or \"link-local\"");
                Err(self.error(addresses.span(), message))
            }
        }
    }
}
