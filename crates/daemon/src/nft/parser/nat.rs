//! Giving flows other ends: `snat`, `dnat`, `masquerade`, `redirect`.

use super::Parser;
use crate::nft::{
    Error,
    ast::{Data, Key, Ports, Rule, Statement, Target, Translate, TranslateKind, ValueMap},
    lexer::Kind,
    selector,
    value::{Type, Value},
};
use narrows_stack::filter::field::Field;
use std::net::Ipv4Addr;

impl Parser {
    /// What comes after `word`.
    pub(super) fn translate(&mut self, word: &str) -> Result<Statement, Error> {
        let kind = TranslateKind::NAMES.iter().find(|(name, _)| *name == word);
        let Some((_, kind)) = kind else {
            return self.error(format!("\"{word}\" gives no flow another end"));
        };
        let mut translate = Translate {
            kind: *kind,
            family: false,
            to: Target::Own,
            ports: None,
            random: false,
            fully_random: false,
            persistent: false,
        };
        match kind {
            TranslateKind::Snat | TranslateKind::Dnat => self.target(&mut translate)?,
            TranslateKind::Masquerade | TranslateKind::Redirect => {
                if self.takes_word("to") {
                    self.symbol(":")?;
                    translate.ports = Some(self.ports()?);
                }
            }
        }
        self.flags(&mut translate)?;
        Ok(Statement::Translate(translate))
    }

    /// `[ip [addr . port]] [to] ADDRESS[-ADDRESS][:PORT[-PORT]]`, or `KEY map …`.
    fn target(&mut self, translate: &mut Translate) -> Result<(), Error> {
        let mut port = false;
        translate.family = self.takes_word("ip");
        if translate.family && self.takes_word("addr") {
            self.symbol(".")?;
            self.keyword("port")?;
            port = true;
        }
        self.takes_word("to");
        if self.peek_word().is_some_and(selector::begins) {
            let key = self.key()?;
            self.keyword("map")?;
            let (map, pairs) = self.address_map(&key)?;
            translate.to = Target::Map { key, map, port: port || pairs };
        } else if !matches!(self.peek(), Kind::Symbol(":")) {
            let line = self.line();
            let addresses = match self.value(Type::Ipv4)? {
                Value::Range(low, high) => (low as u32, high as u32),
                Value::Interface(_) => return Err(Error::new(line, "an address is wanted here")),
            };
            let (first, last) = addresses;
            translate.to = Target::Addresses(Ipv4Addr::from(first), Ipv4Addr::from(last));
        }
        if self.takes(":") {
            translate.ports = Some(self.ports()?);
        }
        if translate.to == Target::Own && translate.ports.is_none() {
            return self.error(format!(
                "{} needs an address, a port or a map: \"to 10.0.0.1:80\"",
                translate.kind.name()
            ));
        }
        Ok(())
    }

    fn ports(&mut self) -> Result<Ports, Error> {
        if self.peek_word().is_some_and(selector::begins) {
            let key = self.key()?;
            self.keyword("map")?;
            let map = self.value_map(&key, |parser| {
                let line = parser.line();
                match parser.value(Type::Port)? {
                    Value::Range(0, _) => Err(Error::new(line, "port 0 is nobody's")),
                    port => Ok(Data::Value(port)),
                }
            })?;
            return Ok(Ports::Map { key, map });
        }
        let line = self.line();
        match self.value(Type::Port)? {
            Value::Range(0, _) => Err(Error::new(line, "port 0 is nobody's")),
            Value::Range(low, high) => Ok(Ports::Range(low as u16, high as u16)),
            Value::Interface(_) => Err(Error::new(line, "a port is wanted here")),
        }
    }

    /// To addresses, and whether with ports beside them; of a named one that is found out later.
    fn address_map(&mut self, key: &Key) -> Result<(ValueMap, bool), Error> {
        let map = self.value_map(key, |parser| {
            let address = parser.value(Type::Ipv4)?;
            Ok(match parser.takes(".") {
                true => Data::Pair(address, parser.value(Type::Port)?),
                false => Data::Value(address),
            })
        })?;
        let ValueMap::Inline(all) = &map else { return Ok((map, false)) };
        let pairs = all.iter().filter(|(_, data)| matches!(data, Data::Pair(..))).count();
        if pairs != 0 && pairs != all.len() {
            return self.error("either all values of a map have a port, or none");
        }
        Ok((map, pairs != 0))
    }

    /// A map's name, or its elements, each with what `data` reads.
    fn value_map(
        &mut self,
        key: &Key,
        data: impl Fn(&mut Self) -> Result<Data, Error>,
    ) -> Result<ValueMap, Error> {
        if self.takes("@") {
            return Ok(ValueMap::Named(self.name("the name of a map")?));
        }
        self.symbol("{")?;
        let mut all = Vec::new();
        loop {
            self.skip_ends();
            if self.takes("}") {
                return Ok(ValueMap::Inline(all));
            }
            let element = self.element(key)?;
            self.symbol(":")?;
            all.push((element, data(self)?));
            self.skip_ends();
            if !self.takes(",") && !matches!(self.peek(), Kind::Symbol("}")) {
                return self.error(format!("\",\" or \"}}\" is missing before {}", self.peek()));
            }
        }
    }

    fn flags(&mut self, translate: &mut Translate) -> Result<(), Error> {
        if !matches!(self.peek_word(), Some("random" | "fully-random" | "persistent")) {
            return Ok(());
        }
        loop {
            match self.name("random, fully-random or persistent")?.as_str() {
                "random" => translate.random = true,
                "fully-random" => translate.fully_random = true,
                "persistent" => translate.persistent = true,
                other => {
                    return self
                        .error(format!("\"{other}\" is not random, fully-random or persistent"));
                }
            }
            if !self.takes(",") {
                return Ok(());
            }
        }
    }
}

/// Ports are changed only of what has ports for sure, as nft demands.
pub(super) fn check(rule: &Rule) -> Result<(), &'static str> {
    let Some(Statement::Translate(translate)) = rule.statements.last() else { return Ok(()) };
    let with_port = matches!(translate.to, Target::Map { port: true, .. });
    if translate.ports.is_none() && !with_port {
        return Ok(());
    }
    let of_transport = |field: Field| {
        matches!(
            field,
            Field::Transport
                | Field::IpProtocol
                | Field::TcpSourcePort
                | Field::TcpDestinationPort
                | Field::TcpFlags
                | Field::TcpWindow
                | Field::UdpSourcePort
                | Field::UdpDestinationPort
                | Field::UdpLength
        )
    };
    let in_map = match &translate.to {
        Target::Map { key, .. } => key.iter().any(|selector| of_transport(selector.field)),
        _ => false,
    };
    let compared = rule.statements.iter().any(|statement| match statement {
        Statement::Match(comparison) => {
            comparison.key.iter().any(|selector| of_transport(selector.field))
        }
        _ => false,
    });
    match in_map || compared {
        true => Ok(()),
        false => Err(
            "a port can be changed only after a transport is compared: write \"meta l4proto tcp\" before",
        ),
    }
}
