//! Sets, maps and their elements.

use super::{Act, Parser};
use crate::nft::{
    Error,
    ast::{Data, Element, Holds, Set, TableKey, Verdict},
    lexer::Kind,
    value::{Type, Value, duration},
};
use std::time::Duration;

/// An element as written: what its words mean depends on the set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Words {
    line: u32,
    key: Vec<String>,
    data: DataWords,
    timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
enum DataWords {
    Nothing,
    Verdict(Verdict),
    Value(String),
    Pair(String, String),
}

impl Words {
    pub(super) fn resolve(&self, set: &Set) -> Result<Element, Error> {
        let at = |message: String| Error::new(self.line, message);
        if self.key.len() != set.key.len() {
            return Err(at(format!(
                "an element of this set has {} parts, not {}",
                set.key.len(),
                self.key.len()
            )));
        }
        let parts = set.key.iter().zip(&self.key);
        let key: Vec<Value> =
            parts.map(|(kind, word)| kind.parse(word).map_err(at)).collect::<Result<_, _>>()?;
        let ranged = |value: &Value| matches!(value, Value::Range(low, high) if low != high);
        if !set.intervals && key.iter().any(ranged) {
            return Err(at("a range in a set without \"flags interval\"".to_owned()));
        }
        let data = match (&self.data, set.holds) {
            (DataWords::Nothing, Holds::Nothing) => Data::Nothing,
            (DataWords::Verdict(verdict), Holds::Verdicts) => Data::Verdict(verdict.clone()),
            (DataWords::Value(word), Holds::Values(kind)) => {
                Data::Value(kind.parse(word).map_err(at)?)
            }
            (DataWords::Pair(first, second), Holds::Pairs(one, other)) => {
                Data::Pair(one.parse(first).map_err(at)?, other.parse(second).map_err(at)?)
            }
            (DataWords::Nothing, _) => {
                return Err(at("an element of a map needs \": VALUE\"".to_owned()));
            }
            (DataWords::Verdict(_) | DataWords::Value(_) | DataWords::Pair(..), _) => {
                return Err(at("this set has no such values".to_owned()));
            }
        };
        Ok(Element { key, data, timeout: self.timeout })
    }
}

impl Parser {
    /// What is between the braces of a set, and the command for it.
    pub(super) fn set_block(
        &mut self,
        line: u32,
        table: &TableKey,
        name: String,
        is_map: bool,
        create: bool,
    ) -> Result<(), Error> {
        self.symbol("{")?;
        let (mut set, mut elements) = (Set::default(), Vec::new());
        loop {
            self.skip_ends();
            if self.takes("}") {
                break;
            }
            self.set_property(&mut set, &mut elements)?;
            self.end()?;
        }
        if set.key.is_empty() {
            return Err(Error::new(
                line,
                format!("\"type\" is missing: of what are the elements of {name}?"),
            ));
        }
        if is_map != (set.holds != Holds::Nothing) {
            let message = match is_map {
                true => "a map needs \"type KEY : VALUE\"",
                false => "a set has no values: \"map\" has",
            };
            return Err(Error::new(line, message));
        }
        let table = table.clone();
        let (act_table, act_name) = (table.clone(), name.clone());
        self.push(
            line,
            Act::AddSet { table: act_table, name: act_name, set: Box::new(set), create },
        );
        if !elements.is_empty() {
            self.push(line, Act::AddElements { table, set: name, elements });
        }
        Ok(())
    }

    fn set_property(&mut self, set: &mut Set, elements: &mut Vec<Words>) -> Result<(), Error> {
        let line = self.line();
        let word = self.name("\"}\", type, flags or elements")?;
        match word.as_str() {
            "type" => self.set_type(set)?,
            "typeof" => return Err(Error::new(line, "\"typeof\" is not supported: \"type\" is")),
            "flags" => loop {
                match self.name("interval, timeout, dynamic or constant")?.as_str() {
                    "interval" => set.intervals = true,
                    "timeout" => set.timeouts = true,
                    "dynamic" => set.dynamic = true,
                    "constant" => set.constant = true,
                    other => return self.error(format!("\"{other}\" is no flag of a set: interval, timeout, dynamic and constant are")),
                }
                if !self.takes(",") {
                    break;
                }
            },
            "timeout" => set.timeout = Some(self.duration()?),
            // Elements that expired are found out when they are asked for.
            "gc-interval" => {
                self.duration()?;
            }
            "size" => {
                let size = self.number("a number of elements")?;
                set.size = Some(u32::try_from(size).unwrap_or(u32::MAX));
            }
            "auto-merge" => set.auto_merge = true,
            "policy" | "comment" => {
                self.name("a word")?;
            }
            "elements" => {
                self.symbol("=")?;
                elements.extend(self.elements()?);
            }
            _ => return Err(Error::new(line, format!("\"{word}\" is not supported in a set"))),
        }
        Ok(())
    }

    fn set_type(&mut self, set: &mut Set) -> Result<(), Error> {
        loop {
            set.key.push(self.data_type()?);
            if !self.takes(".") {
                break;
            }
        }
        if self.takes(":") {
            set.holds = match self.takes_word("verdict") {
                true => Holds::Verdicts,
                false => {
                    let first = self.data_type()?;
                    match self.takes(".") {
                        true => Holds::Pairs(first, self.data_type()?),
                        false => Holds::Values(first),
                    }
                }
            };
        }
        Ok(())
    }

    fn data_type(&mut self) -> Result<Type, Error> {
        let line = self.line();
        let name = self.name("a type")?;
        let message = || format!("\"{name}\" is no type that sets can have here");
        Type::of_set(&name).ok_or_else(|| Error::new(line, message()))
    }

    pub(super) fn duration(&mut self) -> Result<Duration, Error> {
        let line = self.line();
        let word = self.name("a time")?;
        let message = || format!("\"{word}\" is no time: write it as 1h30m or 90s");
        duration(&word).ok_or_else(|| Error::new(line, message()))
    }

    /// `{ key [timeout T] [: data], … }`
    pub(super) fn elements(&mut self) -> Result<Vec<Words>, Error> {
        self.symbol("{")?;
        let mut all = Vec::new();
        loop {
            self.skip_ends();
            if self.takes("}") {
                return Ok(all);
            }
            let line = self.line();
            let key = self.parts()?;
            let mut timeout = None;
            loop {
                match self.peek_word() {
                    // The second as listings have it.
                    Some("timeout" | "expires") => {
                        self.at += 1;
                        timeout = Some(self.duration()?);
                    }
                    Some("comment") => {
                        self.at += 1;
                        self.name("a comment")?;
                    }
                    _ => break,
                }
            }
            let data = match self.takes(":") {
                false => DataWords::Nothing,
                true => match self.verdict()? {
                    Some(verdict) => DataWords::Verdict(verdict),
                    None => {
                        let first = self.name("a value")?;
                        match self.takes(".") {
                            true => DataWords::Pair(first, self.name("a value")?),
                            false => DataWords::Value(first),
                        }
                    }
                },
            };
            all.push(Words { line, key, data, timeout });
            self.skip_ends();
            if !self.takes(",") && !matches!(self.peek(), Kind::Symbol("}")) {
                return self.error(format!("\",\" or \"}}\" is missing before {}", self.peek()));
            }
        }
    }

    /// Words with dots between them; flags may have bars between theirs.
    pub(super) fn parts(&mut self) -> Result<Vec<String>, Error> {
        let mut parts = Vec::new();
        loop {
            let mut part = self.name("a value")?;
            while self.takes("|") {
                part.push('|');
                part += &self.name("a value")?;
            }
            parts.push(part);
            if !self.takes(".") {
                return Ok(parts);
            }
        }
    }
}
