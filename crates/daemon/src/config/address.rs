//! `address`: a list of addresses, or the word for where an interface finds its own. An address is a text as
//! `"10.0.0.2/24"`, or a table that says more of it, in the words of ip-address(8): `label`, `peer`, `scope`,
//! `valid_lft` and `preferred_lft`.

use super::{Checker, ConfigError, InterfaceTable};
use crate::change::MAX_LABEL;
use narrows_ipc::{change::AddressDetails, route::RouteScope};
use narrows_stack::table::autoconf::AddressSource;
use narrows_wire::address::Prefix;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use std::fmt;
use toml::Spanned;

pub(super) enum Addresses {
    Word(String),
    List(Vec<Spanned<Entry>>),
}

pub(super) struct Entry {
    address: String,
    more: Option<AddressTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressTable {
    address: String,
    label: Option<String>,
    peer: Option<String>,
    scope: Option<String>,
    valid_lft: Option<u32>,
    preferred_lft: Option<u32>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Entry;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"10.0.0.2/24\", or a table with address")
            }

            fn visit_str<E>(self, address: &str) -> Result<Entry, E> {
                Ok(Entry { address: address.to_owned(), more: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                let table = AddressTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Entry { address: table.address.clone(), more: Some(table) })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// The address of an entry, where that is in the file.
pub(super) fn prefix_of(entry: &Spanned<Entry>) -> Spanned<String> {
    Spanned::new(entry.span(), entry.get_ref().address.clone())
}

impl Addresses {
    pub(super) fn list(&self) -> &[Spanned<Entry>] {
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
    pub(super) fn address_details(
        &self,
        own: Prefix,
        entry: &Spanned<Entry>,
    ) -> Result<Option<AddressDetails>, ConfigError> {
        let Some(table) = &entry.get_ref().more else { return Ok(None) };
        let refuse = |message: String| self.error(entry.span(), message);
        let AddressTable { label, peer, scope, valid_lft, preferred_lft, .. } = table;
        let fits = |label: &String| (1..=MAX_LABEL).contains(&label.len());
        if let Some(label) = label.as_ref().filter(|label| !fits(label)) {
            return Err(refuse(format!("label = \"{label}\": write 1 to {MAX_LABEL} characters")));
        }
        let scope = match scope.as_deref() {
            None => None,
            Some("global") => Some(RouteScope::Global),
            Some("link") => Some(RouteScope::Link),
            Some("host") => Some(RouteScope::Host),
            Some(other) => {
                let message =
                    format!("scope = \"{other}\": write \"global\", \"link\" or \"host\"");
                return Err(refuse(message));
            }
        };
        let peer = peer.as_ref().map(|peer| self.peer(own, entry, peer)).transpose()?;
        match (valid_lft, preferred_lft) {
            (Some(0), _) => {
                return Err(refuse("valid_lft = 0: an address that lasts has some seconds".into()));
            }
            (Some(valid), Some(preferred)) if preferred > valid => {
                let message = format!(
                    "preferred_lft = {preferred} is longer than valid_lft: write {valid} or less"
                );
                return Err(refuse(message));
            }
            _ => {}
        }
        Ok(Some(AddressDetails {
            label: label.clone(),
            scope,
            peer: peer.map(|peer| (peer.address(), peer.length())),
            valid: *valid_lft,
            // As ip-address(8): no longer than it is valid.
            preferred: preferred_lft.or(*valid_lft),
        }))
    }

    fn peer(&self, own: Prefix, entry: &Spanned<Entry>, peer: &str) -> Result<Prefix, ConfigError> {
        if own.length() < 32 {
            let message = format!(
                "with a peer the address is a single host's: write \"{}/32\"",
                own.address()
            );
            return Err(self.error(entry.span(), message));
        }
        let text = if peer.contains('/') { peer.to_owned() } else { format!("{peer}/32") };
        self.host_address(&Spanned::new(entry.span(), text))
    }

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
