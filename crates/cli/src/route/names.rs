//! Names of what routes have numbers for, as in `/etc/iproute2` and ip-route(8).

use narrows_ipc::route::{RouteKind, RouteScope, protocol, table};

const TABLES: [(&str, u32); 3] =
    [("local", table::LOCAL), ("main", table::MAIN), ("default", table::DEFAULT)];

const PROTOCOLS: [(&str, u8); 3] =
    [("kernel", protocol::KERNEL), ("boot", protocol::BOOT), ("static", protocol::STATIC)];

const SCOPES: [(&str, RouteScope); 3] =
    [("global", RouteScope::Global), ("link", RouteScope::Link), ("host", RouteScope::Host)];

const KINDS: [(&str, RouteKind); 7] = [
    ("unicast", RouteKind::Unicast),
    ("local", RouteKind::Local),
    ("broadcast", RouteKind::Broadcast),
    ("blackhole", RouteKind::Blackhole),
    ("unreachable", RouteKind::Unreachable),
    ("prohibit", RouteKind::Prohibit),
    ("throw", RouteKind::Throw),
];

fn of<T: Copy>(names: &[(&str, T)], word: &str) -> Option<T> {
    names.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> Option<&'static str> {
    names.iter().find(|(_, other)| *other == value).map(|(name, _)| *name)
}

/// A name, or a number from 1 on.
pub fn table(word: &str) -> Option<u32> {
    of(&TABLES, word).or_else(|| word.parse().ok().filter(|number| *number > 0))
}

pub fn table_name(number: u32) -> String {
    name_of(&TABLES, number).map_or_else(|| number.to_string(), str::to_owned)
}

pub fn protocol(word: &str) -> Option<u8> {
    of(&PROTOCOLS, word).or_else(|| word.parse().ok())
}

pub fn protocol_name(number: u8) -> String {
    name_of(&PROTOCOLS, number).map_or_else(|| number.to_string(), str::to_owned)
}

pub fn scope(word: &str) -> Option<RouteScope> {
    let numbers = [("universe", RouteScope::Global), ("0", RouteScope::Global)];
    let numbers = [&numbers[..], &[("253", RouteScope::Link), ("254", RouteScope::Host)]].concat();
    of(&SCOPES, word).or_else(|| of(&numbers, word))
}

pub fn scope_name(scope: RouteScope) -> &'static str {
    name_of(&SCOPES, scope).unwrap_or_default()
}

pub fn kind(word: &str) -> Option<RouteKind> {
    of(&KINDS, word)
}

pub fn kind_name(kind: RouteKind) -> &'static str {
    name_of(&KINDS, kind).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (word, number) in [
            ("main", Some(254)),
            ("254", Some(254)),
            ("100", Some(100)),
            ("0", None),
            ("mian", None),
        ] {
            assert_eq!(table(word), number, "{word}");
        }
        assert_eq!((table_name(255), table_name(7)), ("local".to_owned(), "7".to_owned()));
        assert_eq!(
            (protocol("static"), protocol("186"), protocol("bgp")),
            (Some(4), Some(186), None)
        );
        assert_eq!((scope("253"), scope("link")), (Some(RouteScope::Link), Some(RouteScope::Link)));
        assert_eq!(kind("blackhole").map(kind_name), Some("blackhole"));
    }
}
