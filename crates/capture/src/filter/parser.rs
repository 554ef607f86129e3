//! Words to conditions.

mod primitive;

use super::{Base, Error, Node, Number, Operator, Relation, Size};
use primitive::{Qualifiers, Transport};

/// Parentheses within parentheses.
const MAX_DEPTH: u32 = 64;

/// Words of one expression: a condition upon a condition is a step deeper.
const MAX_WORDS: usize = 2048;

/// Bytes of an Ethernet header.
const LINK: u32 = 14;

/// `None`: everything.
pub(super) fn parse(words: &[&str]) -> Result<Option<Node>, Error> {
    if words.is_empty() {
        return Ok(None);
    }
    if words.len() > MAX_WORDS {
        return Err(Error { near: "end".into(), message: "the filter has too many words".into() });
    }
    let mut parser = Parser { words, at: 0, link: LINK, depth: 0, last: Qualifiers::default() };
    let node = parser.expression()?;
    match parser.peek() {
        None => Ok(Some(node)),
        Some(_) => Err(parser.error("`and` or `or` is missing before it")),
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    /// Where the packet begins: behind the Ethernet header and the tags that were named.
    link: u32,
    depth: u32,
    /// What a value without words before it is.
    last: Qualifiers,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        self.at += usize::from(is);
        is
    }

    fn need(&mut self, word: &str) -> Result<(), Error> {
        if self.take(word) { Ok(()) } else { Err(self.error(&format!("`{word}` should be here"))) }
    }

    /// About the word that is next.
    fn error(&self, message: &str) -> Error {
        Error { near: self.peek().unwrap_or("end").to_owned(), message: message.to_owned() }
    }

    fn expression(&mut self) -> Result<Node, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("parentheses too deep"));
        }
        let mut node = self.term()?;
        loop {
            node = if self.take("and") || self.take("&&") {
                node.and(self.term()?)
            } else if self.take("or") || self.take("||") {
                node.or(self.term()?)
            } else {
                self.depth -= 1;
                return Ok(node);
            };
        }
    }

    fn term(&mut self) -> Result<Node, Error> {
        let mut negated = false;
        while self.take("not") || self.take("!") {
            negated = !negated;
        }
        let node = match self.peek() {
            None => return Err(self.error("a condition should be here")),
            Some(_) if self.is_comparison() => self.comparison()?,
            Some("(") => {
                self.at += 1;
                let inner = self.expression()?;
                self.need(")")?;
                inner
            }
            Some(_) => self.primitive()?,
        };
        Ok(if negated { node.not() } else { node })
    }

    /// Does a comparison of numbers begin here, rather than a primitive or a condition in parentheses?
    fn is_comparison(&self) -> bool {
        let after = self.words.get(self.at..).unwrap_or_default();
        let mut ahead = after.iter().skip_while(|word| **word == "(");
        let opened = after.len() - ahead.clone().count();
        let (first, second) = (ahead.next().copied(), ahead.next().copied());
        let starts = first == Some("len")
            || second == Some("[")
            || opened == 0 && first.is_some_and(is_number) && second.is_some_and(is_operator);
        starts && (opened == 0 || !self.is_related(opened))
    }

    /// Is there a relation within the `opened` parentheses that begin here? Then they are around a condition,
    /// and no number.
    fn is_related(&self, opened: usize) -> bool {
        let mut open = opened;
        for word in self.words.iter().skip(self.at + opened) {
            match *word {
                "(" => open += 1,
                ")" if open == opened => return false,
                ")" => open -= 1,
                "and" | "or" | "&&" | "||" => return true,
                word if relation(word).is_some() => return true,
                _ => {}
            }
        }
        false
    }

    fn comparison(&mut self) -> Result<Node, Error> {
        let mut protocols = Vec::new();
        let left = self.number(0, &mut protocols)?;
        let (relation, negated) = match self.peek().and_then(relation) {
            Some(found) => found,
            None => return Err(self.error("a comparison should be here: = != < <= > >=")),
        };
        self.at += 1;
        let right = self.number(0, &mut protocols)?;
        let node = Node::Compare(left, relation, right);
        let node = if negated { node.not() } else { node };
        // What is loaded from a protocol's header is there only in such packets.
        Ok(protocols.into_iter().rev().fold(node, |node, protocol: Node| protocol.and(node)))
    }

    /// By the precedence of C.
    fn number(&mut self, level: usize, protocols: &mut Vec<Node>) -> Result<Number, Error> {
        const LEVELS: [&[(&str, Operator)]; 6] = [
            &[("|", Operator::Or)],
            &[("^", Operator::Xor)],
            &[("&", Operator::And)],
            &[("<<", Operator::Left), (">>", Operator::Right)],
            &[("+", Operator::Add), ("-", Operator::Subtract)],
            &[("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Modulo)],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.operand(protocols) };
        let mut left = self.number(level + 1, protocols)?;
        loop {
            let found = operators.iter().find(|(word, _)| self.peek() == Some(word));
            let Some((_, operator)) = found else { return Ok(left) };
            self.at += 1;
            let right = self.number(level + 1, protocols)?;
            let by_zero = right == Number::Constant(0)
                && matches!(operator, Operator::Divide | Operator::Modulo);
            if by_zero {
                return Err(self.error("a division by zero comes before it"));
            }
            left = Number::Compute(*operator, Box::new(left), Box::new(right));
        }
    }

    fn operand(&mut self, protocols: &mut Vec<Node>) -> Result<Number, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("too deep"));
        }
        let number = match self.peek() {
            Some("(") => {
                self.at += 1;
                let inner = self.number(0, protocols)?;
                self.need(")")?;
                inner
            }
            Some("len") => {
                self.at += 1;
                Number::Length
            }
            Some(word) if self.words.get(self.at + 1) == Some(&"[") => {
                let base = self.header(word, protocols)?;
                self.at += 2;
                let index = self.number(0, protocols)?;
                let size = if self.take(":") { self.size()? } else { Size::Byte };
                self.need("]")?;
                Number::Load { base, index: Box::new(index), size }
            }
            Some(word) => match constant(word) {
                Some(value) => {
                    self.at += 1;
                    Number::Constant(value)
                }
                None => return Err(self.error("a number should be here")),
            },
            None => return Err(self.error("a number should be here")),
        };
        self.depth -= 1;
        Ok(number)
    }

    fn size(&mut self) -> Result<Size, Error> {
        let size = match self.peek() {
            Some("1") => Size::Byte,
            Some("2") => Size::Half,
            Some("4") => Size::Word,
            _ => return Err(self.error("1, 2 or 4 bytes are compared")),
        };
        self.at += 1;
        Ok(size)
    }

    /// Where a protocol's header begins; in which packets it is.
    fn header(&self, protocol: &str, protocols: &mut Vec<Node>) -> Result<Base, Error> {
        let mut need = |node: Node| {
            if !protocols.contains(&node) {
                protocols.push(node);
            }
        };
        Ok(match protocol {
            "ether" => Base::At(0),
            "ip" | "arp" | "rarp" | "ip6" => {
                need(self.protocol(protocol)?);
                Base::At(self.link)
            }
            _ => {
                let transport = Transport::named(protocol).ok_or_else(|| {
                    self.error("it is no protocol whose header can be looked into")
                })?;
                need(self.over_ipv4(transport.0).and(self.is_first_fragment()));
                Base::BehindIp { header: self.link }
            }
        })
    }

    fn is_first_fragment(&self) -> Node {
        Node::equal(Number::at(self.link + 6, Size::Half).masked(0x1fff), 0)
    }
}

fn relation(word: &str) -> Option<(Relation, bool)> {
    Some(match word {
        "=" | "==" => (Relation::Equal, false),
        "!=" => (Relation::Equal, true),
        ">" => (Relation::Greater, false),
        "<=" => (Relation::Greater, true),
        ">=" => (Relation::AtLeast, false),
        "<" => (Relation::AtLeast, true),
        _ => return None,
    })
}

fn is_operator(word: &str) -> bool {
    relation(word).is_some()
        || matches!(word, "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>")
}

fn is_number(word: &str) -> bool {
    number(word).is_some()
}

fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// Numbers, and what pcap-filter(7) calls some of them.
fn constant(word: &str) -> Option<u32> {
    const NAMES: [(&str, u32); 29] = [
        ("icmptype", 0),
        ("icmpcode", 1),
        ("tcpflags", 13),
        ("icmp-echoreply", 0),
        ("icmp-unreach", 3),
        ("icmp-sourcequench", 4),
        ("icmp-redirect", 5),
        ("icmp-echo", 8),
        ("icmp-routeradvert", 9),
        ("icmp-routersolicit", 10),
        ("icmp-timxceed", 11),
        ("icmp-paramprob", 12),
        ("icmp-tstamp", 13),
        ("icmp-tstampreply", 14),
        ("icmp-ireq", 15),
        ("icmp-ireqreply", 16),
        ("icmp-maskreq", 17),
        ("icmp-maskreply", 18),
        ("tcp-fin", 0x01),
        ("tcp-syn", 0x02),
        ("tcp-rst", 0x04),
        ("tcp-push", 0x08),
        ("tcp-ack", 0x10),
        ("tcp-urg", 0x20),
        ("tcp-ece", 0x40),
        ("tcp-cwr", 0x80),
        ("icmp6type", 0),
        ("icmp6code", 1),
        ("icmp6-echo", 128),
    ];
    let named = || NAMES.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    number(word).or_else(named)
}
