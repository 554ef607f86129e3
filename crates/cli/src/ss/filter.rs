//! Which sockets are asked for by address and port, in words of ss(8)'s filter: any number of `src`,
//! `dst`, `sport` and `dport`, of which all must hold.

use anyhow::{Context, Result, bail, ensure};
use narrows_ipc::message::SocketRow;
use std::{
    cmp::Ordering,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// What all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    end: End,
    test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Local,
    Remote,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Host { prefix: Option<Prefix>, port: Option<u16> },
    Port { comparison: Comparison, port: u16 },
}

/// Addresses whose first `length` bits are those of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix {
    address: Ipv4Addr,
    length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Other,
    AtLeast,
    AtMost,
    Above,
    Below,
}

impl Filter {
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut words = words.iter().map(String::as_str).peekable();
        let mut terms = Vec::new();
        while let Some(word) = words.next() {
            let end = match word {
                "and" | "&&" if !terms.is_empty() && words.peek().is_some() => continue,
                "src" | "sport" => End::Local,
                "dst" | "dport" => End::Remote,
                other => bail!(
                    "\"{other}\": write src or dst with ADDRESS[/LENGTH][:PORT], or sport or dport \
                     with [= | != | >= | <= | > | <] :PORT"
                ),
            };
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            let test = if word.ends_with("port") {
                match comparison(value) {
                    Some(comparison) => {
                        let port = words.next().with_context(|| format!("{value} needs a port"))?;
                        Test::Port { comparison, port: self::port(port)? }
                    }
                    None => Test::Port { comparison: Comparison::Equal, port: port(value)? },
                }
            } else {
                host(value)?
            };
            terms.push(Term { end, test });
        }
        Ok(Self { terms })
    }

    /// It names all there is.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn names(&self, row: &SocketRow) -> bool {
        self.terms.iter().all(|term| match term.end {
            End::Local => term.test.holds(row.local),
            End::Remote => row.remote.is_some_and(|remote| term.test.holds(remote)),
        })
    }
}

impl Test {
    fn holds(&self, address: SocketAddr) -> bool {
        match self {
            Self::Host { prefix, port } => {
                prefix.is_none_or(|prefix| prefix.contains(address.ip()))
                    && port.is_none_or(|port| port == address.port())
            }
            Self::Port { comparison, port } => comparison.holds(address.port().cmp(port)),
        }
    }
}

impl Prefix {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        let (address, length) = (address.parse().ok()?, length.parse().ok()?);
        (length <= 32).then_some(Self { address, length })
    }

    fn contains(self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        let differing = self.address.to_bits() ^ address.to_bits();
        differing.leading_zeros() >= self.length
    }
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Other => ordering.is_ne(),
            Self::AtLeast => ordering.is_ge(),
            Self::AtMost => ordering.is_le(),
            Self::Above => ordering.is_gt(),
            Self::Below => ordering.is_lt(),
        }
    }
}

fn comparison(word: &str) -> Option<Comparison> {
    Some(match word {
        "=" | "==" | "eq" => Comparison::Equal,
        "!=" | "ne" | "neq" => Comparison::Other,
        ">=" | "ge" | "geq" => Comparison::AtLeast,
        "<=" | "le" | "leq" => Comparison::AtMost,
        ">" | "gt" => Comparison::Above,
        "<" | "lt" => Comparison::Below,
        _ => return None,
    })
}

/// `:PORT` or `PORT`.
fn port(text: &str) -> Result<u16> {
    let number = text.strip_prefix(':').unwrap_or(text);
    number.parse().with_context(|| format!("\"{text}\" is no port: write :0 to :65535"))
}

/// `ADDRESS[/LENGTH][:PORT]`; `*` or nothing for any address.
fn host(text: &str) -> Result<Test> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, number)) => (host, Some(self::port(number)?)),
        None => (text, None),
    };
    if host.is_empty() || host == "*" {
        ensure!(port.is_some(), "\"{text}\" names everything: leave it out");
        return Ok(Test::Host { prefix: None, port });
    }
    let prefix =
        Prefix::parse(host).with_context(|| format!("\"{host}\" is no IPv4 address or prefix"))?;
    Ok(Test::Host { prefix: Some(prefix), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_ipc::message::TcpState;

    fn row(local: &str, remote: Option<&str>) -> SocketRow {
        SocketRow {
            id: 1,
            protocol: "tcp".into(),
            local: local.parse().unwrap(),
            remote: remote.map(|text| text.parse().unwrap()),
            state: TcpState::Established,
            receive_queue: 0,
            send_queue: 0,
            lost: 0,
            owner: None,
            cut_through: false,
            peer: None,
            tcp: None,
        }
    }

    fn parse(text: &str) -> Result<Filter> {
        Filter::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn all_terms_must_hold() {
        let row = row("10.0.0.2:80", Some("10.0.0.9:40000"));
        for (text, named) in [
            ("", true),
            ("src 10.0.0.2", true),
            ("src 10.0.0.3", false),
            ("dst 10.0.0.0/24", true),
            ("dst 10.0.0.9:40000", true),
            ("dst 10.0.0.9:40001", false),
            ("dst *:40000", true),
            ("sport = :80", true),
            ("sport 80", true),
            ("dport :443", false),
            ("sport != :80", false),
            ("dport >= :40000 and dport < :40001", true),
            ("dport gt :40000", false),
            ("sport le 80 && dst 10.0.0.9", true),
            ("sport :80 dport :1", false),
        ] {
            assert_eq!(parse(text).unwrap().names(&row), named, "{text}");
        }
        let listener = self::row("0.0.0.0:80", None);
        assert!(!parse("dport != :1").unwrap().names(&listener), "it has no peer");
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "dst",
            "dport =",
            "dport = :x",
            "dport :65536",
            "dst 10.0.0",
            "dst 10.0.0.0/33",
            "dst *",
            "or dst 10.0.0.1",
            "and",
            "dst 10.0.0.1 and",
            "( dst 10.0.0.1 )",
            "state established",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
