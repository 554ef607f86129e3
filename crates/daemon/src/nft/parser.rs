//! Words to commands.

mod chain;
mod elements;
mod nat;
mod object;
mod queue;
mod statement;

use super::{
    Error,
    ast::{Base, Element, Family, ObjectKey, ObjectKind, Rule, Set, Stateful, TableKey},
    lexer::{Kind, Token, lex},
    print::Part,
};
use std::collections::HashMap;

pub(crate) use statement::BURST;

/// A step of a text, and the line it begins on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub line: u32,
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    AddTable { table: TableKey, create: bool },
    SetDormant { table: TableKey },
    AddChain { table: TableKey, chain: String, base: Option<Base>, create: bool },
    SetPolicy { table: TableKey, chain: String, accept: bool },
    AddRule { table: TableKey, chain: String, place: Place, rule: Box<Rule> },
    AddSet { table: TableKey, name: String, set: Box<Set>, create: bool },
    AddObject { table: TableKey, object: ObjectKey, state: Stateful, create: bool },
    AddElements { table: TableKey, set: String, elements: Vec<ElementWords> },
    DeleteElements { table: TableKey, set: String, elements: Vec<ElementWords> },
    DeleteTable { table: TableKey, must_exist: bool },
    DeleteChain { table: TableKey, chain: String, must_exist: bool },
    DeleteRule { table: TableKey, chain: String, handle: u64 },
    DeleteSet { table: TableKey, set: String, must_exist: bool },
    DeleteObject { table: TableKey, object: ObjectKey, must_exist: bool },
    FlushRuleset(Option<Family>),
    FlushTable { table: TableKey },
    FlushChain { table: TableKey, chain: String },
    FlushSet { table: TableKey, set: String },
    List { list: List, reset: bool },
}

/// An element whose types the set says.
pub(crate) type ElementWords = elements::Words;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Last,
    Before(u64),
    After(u64),
    Instead(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Ruleset(Option<Family>),
    Tables(Option<Family>),
    Table(TableKey),
    Chain(TableKey, String),
    Set(TableKey, String),
    Object(TableKey, ObjectKey),
    /// Of all tables, or one.
    Objects {
        kind: ObjectKind,
        family: Option<Family>,
        table: Option<TableKey>,
    },
}

impl List {
    /// Is something of this table listed?
    pub(super) fn concerns(&self, key: &TableKey) -> bool {
        let of = |wanted: &Option<Family>| wanted.is_none_or(|wanted| wanted == key.0);
        match self {
            Self::Ruleset(family) | Self::Tables(family) => of(family),
            Self::Objects { table: Some(table), .. } => table == key,
            Self::Objects { family, .. } => of(family),
            Self::Table(table)
            | Self::Chain(table, _)
            | Self::Set(table, _)
            | Self::Object(table, _) => table == key,
        }
    }

    /// This of it?
    pub(super) fn wants(&self, part: Part<'_>) -> bool {
        match (self, part) {
            (Self::Ruleset(_) | Self::Table(_), _) => true,
            (Self::Chain(_, wanted), Part::Chain(name)) => wanted == name,
            (Self::Set(_, wanted), Part::Set(name)) => wanted == name,
            (Self::Object(_, wanted), Part::Object(key)) => wanted == key,
            (Self::Objects { kind, .. }, Part::Object(key)) => *kind == key.0,
            _ => false,
        }
    }
}

pub(crate) fn parse(text: &str) -> Result<Vec<Command>, Error> {
    let mut parser =
        Parser { tokens: lex(text)?, at: 0, defined: HashMap::new(), commands: Vec::new() };
    loop {
        parser.skip_ends();
        if parser.at >= parser.tokens.len() {
            return Ok(parser.commands);
        }
        parser.command()?;
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    defined: HashMap<String, Vec<Kind>>,
    commands: Vec<Command>,
}

impl Parser {
    fn line(&self) -> u32 {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        token.map_or(1, |token| token.line)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::new(self.line(), message))
    }

    fn peek(&self) -> &Kind {
        self.tokens.get(self.at).map_or(&Kind::End, |token| &token.kind)
    }

    fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    fn skip_ends(&mut self) {
        while self.at < self.tokens.len() && *self.peek() == Kind::End {
            self.at += 1;
        }
    }

    /// Takes the symbol if it comes next.
    fn takes(&mut self, symbol: &str) -> bool {
        let comes = matches!(self.peek(), Kind::Symbol(next) if *next == symbol);
        self.at += usize::from(comes);
        comes
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let comes = self.peek_word() == Some(word);
        self.at += usize::from(comes);
        comes
    }

    fn symbol(&mut self, symbol: &str) -> Result<(), Error> {
        if self.takes(symbol) {
            return Ok(());
        }
        self.error(format!("\"{symbol}\" is missing before {}", self.peek()))
    }

    fn keyword(&mut self, word: &str) -> Result<(), Error> {
        if self.takes_word(word) {
            return Ok(());
        }
        self.error(format!("\"{word}\" is missing before {}", self.peek()))
    }

    /// A name, in quotes or not.
    fn name(&mut self, what: &str) -> Result<String, Error> {
        match self.peek() {
            Kind::Word(word) | Kind::Quoted(word) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            other => self.error(format!("{what} is missing before {other}")),
        }
    }

    fn number(&mut self, what: &str) -> Result<u64, Error> {
        let line = self.line();
        let word = self.name(what)?;
        word.parse().map_err(|_| Error::new(line, format!("\"{word}\" is not {what}")))
    }

    /// The end of a statement: a line's, a semicolon, or the brace that closes around it.
    fn end(&mut self) -> Result<(), Error> {
        match self.peek() {
            Kind::End => {
                self.at += 1;
                Ok(())
            }
            Kind::Symbol("}") => Ok(()),
            other => self.error(format!("{other} has no meaning here")),
        }
    }

    fn push(&mut self, line: u32, act: Act) {
        self.commands.push(Command { line, act });
    }

    fn command(&mut self) -> Result<(), Error> {
        let line = self.line();
        let word = self.name("a command")?;
        match word.as_str() {
            "table" => self.table(line, false)?,
            "add" => self.add(line, false)?,
            "create" => self.add(line, true)?,
            "insert" | "replace" => self.place(line, &word)?,
            "delete" => self.delete(line, true)?,
            "destroy" => self.delete(line, false)?,
            "flush" => self.flush(line)?,
            "list" => self.list(line)?,
            "reset" => self.reset(line)?,
            "define" => self.define()?,
            "include" => {
                return Err(Error::new(line, "\"include\" is not supported: give nft one file"));
            }
            _ => {
                return Err(Error::new(
                    line,
                    format!(
                        "\"{word}\" is no command: table, add, create, insert, replace, delete, destroy, flush, list, reset or define is"
                    ),
                ));
            }
        }
        self.end()
    }

    /// `define NAME = words`, for `$NAME` later.
    fn define(&mut self) -> Result<(), Error> {
        let name = self.name("a name to define")?;
        self.symbol("=")?;
        let start = self.at;
        let mut depth = 0;
        loop {
            match self.peek() {
                Kind::Symbol("{") => depth += 1,
                Kind::Symbol("}") => depth -= 1,
                Kind::End if depth <= 0 || self.at >= self.tokens.len() => break,
                _ => {}
            }
            self.at += 1;
        }
        let words = self.tokens[start..self.at].iter().map(|token| token.kind.clone());
        let words = words.filter(|kind| *kind != Kind::End).collect();
        self.defined.insert(name, words);
        self.substitute()
    }

    /// Puts what is defined in the place of its name, in all that follows.
    fn substitute(&mut self) -> Result<(), Error> {
        let rest = self.tokens.split_off(self.at);
        let mut rest = rest.into_iter().peekable();
        while let Some(token) = rest.next() {
            let name = match (&token.kind, rest.peek().map(|next| &next.kind)) {
                (Kind::Symbol("$"), Some(Kind::Word(name))) => self.defined.get(name),
                _ => None,
            };
            match name {
                Some(words) => {
                    rest.next();
                    let line = token.line;
                    self.tokens.extend(words.iter().map(|kind| Token { line, kind: kind.clone() }));
                }
                None => self.tokens.push(token),
            }
        }
        Ok(())
    }

    fn family(&mut self) -> Option<Family> {
        let word = self.peek_word()?;
        let (_, family) = Family::NAMES.iter().find(|(name, _)| *name == word)?;
        self.at += 1;
        Some(*family)
    }

    /// `[FAMILY] NAME`; without a family it is `ip`.
    fn table_key(&mut self) -> Result<TableKey, Error> {
        if let Some(word @ ("ip6" | "bridge")) = self.peek_word() {
            let message = format!("tables of family {word} are not supported");
            return self.error(message);
        }
        let family = self.family().unwrap_or(Family::Ip);
        Ok((family, self.name("the name of a table")?))
    }

    /// A table, and what of it.
    fn of_table(&mut self, what: &str) -> Result<(TableKey, String), Error> {
        Ok((self.table_key()?, self.name(what)?))
    }

    fn table(&mut self, line: u32, create: bool) -> Result<(), Error> {
        let table = self.table_key()?;
        self.push(line, Act::AddTable { table: table.clone(), create });
        if !self.takes("{") {
            return Ok(());
        }
        loop {
            self.skip_ends();
            let line = self.line();
            if self.takes("}") {
                return Ok(());
            }
            let word = self.name("\"}\", a chain, set or map")?;
            match word.as_str() {
                "chain" => {
                    let name = self.name("the name of a chain")?;
                    self.chain_block(line, &table, &name, create)?;
                }
                "set" | "map" => {
                    let name = self.name("the name of a set")?;
                    self.set_block(line, &table, name, word == "map", create)?;
                }
                "flags" => {
                    self.keyword("dormant")?;
                    self.push(line, Act::SetDormant { table: table.clone() });
                }
                "comment" => {
                    self.name("a comment")?;
                }
                word => {
                    let Some(kind) = ObjectKind::of(word) else {
                        return Err(Error::new(
                            line,
                            format!(
                                "\"{word}\" is not supported in a table: chain, set, map, counter, quota and limit are"
                            ),
                        ));
                    };
                    let name = self.name("a name")?;
                    self.object_block(line, &table, (kind, name), create)?;
                }
            }
            self.end()?;
        }
    }

    fn add(&mut self, line: u32, create: bool) -> Result<(), Error> {
        let what = self.name("table, chain, rule, set, map or element")?;
        match what.as_str() {
            "table" => self.table(line, create),
            "chain" => {
                let (table, chain) = self.of_table("the name of a chain")?;
                self.chain_block(line, &table, &chain, create)
            }
            "rule" => self.add_rule(line, Place::Last),
            "set" | "map" => {
                let (table, name) = self.of_table("the name of a set")?;
                self.set_block(line, &table, name, what == "map", create)
            }
            "element" => {
                let (table, set) = self.of_table("the name of a set")?;
                let elements = self.elements()?;
                self.push(line, Act::AddElements { table, set, elements });
                Ok(())
            }
            what => match ObjectKind::of(what) {
                Some(kind) => {
                    let (table, name) = self.of_table("a name")?;
                    self.object_block(line, &table, (kind, name), create)
                }
                None => self.error(format!(
                "\"{what}\" can't be added: table, chain, rule, set, map, element, counter, quota and limit can"
            )) },
        }
    }

    fn place(&mut self, line: u32, word: &str) -> Result<(), Error> {
        self.keyword("rule")?;
        let place = if word == "insert" { Place::First } else { Place::Instead(0) };
        self.add_rule(line, place)
    }

    fn add_rule(&mut self, line: u32, place: Place) -> Result<(), Error> {
        let (table, chain) = self.of_table("the name of a chain")?;
        let place = match (self.peek_word(), place) {
            (Some("handle" | "position"), place) => {
                self.at += 1;
                let handle = self.number("the handle of a rule")?;
                match place {
                    Place::First => Place::Before(handle),
                    Place::Instead(_) => Place::Instead(handle),
                    _ => Place::After(handle),
                }
            }
            (_, Place::Instead(_)) => {
                return self.error("\"handle\" is missing: which rule is to be replaced?");
            }
            (_, place) => place,
        };
        let rule = Box::new(self.rule()?);
        self.push(line, Act::AddRule { table, chain, place, rule });
        Ok(())
    }

    fn delete(&mut self, line: u32, must_exist: bool) -> Result<(), Error> {
        let what = self.name("table, chain, rule, set, map or element")?;
        let table = self.table_key()?;
        let act = match what.as_str() {
            "table" => Act::DeleteTable { table, must_exist },
            "chain" => {
                Act::DeleteChain { table, chain: self.name("the name of a chain")?, must_exist }
            }
            "rule" => {
                let chain = self.name("the name of a chain")?;
                self.keyword("handle")?;
                Act::DeleteRule { table, chain, handle: self.number("the handle of a rule")? }
            }
            "set" | "map" => {
                Act::DeleteSet { table, set: self.name("the name of a set")?, must_exist }
            }
            "element" => {
                let set = self.name("the name of a set")?;
                Act::DeleteElements { table, set, elements: self.elements()? }
            }
            what => {
                if let Some(kind) = ObjectKind::of(what) {
                    let object = (kind, self.name("a name")?);
                    self.push(line, Act::DeleteObject { table, object, must_exist });
                    return Ok(());
                }
                return self.error(format!(
                    "\"{what}\" can't be deleted: table, chain, rule, set, map, element, counter, quota and limit can"
                ));
            }
        };
        self.push(line, act);
        Ok(())
    }

    fn flush(&mut self, line: u32) -> Result<(), Error> {
        let what = self.name("ruleset, table, chain, set or map")?;
        let act = match what.as_str() {
            "ruleset" => Act::FlushRuleset(self.family()),
            "table" => Act::FlushTable { table: self.table_key()? },
            "chain" => {
                let (table, chain) = self.of_table("the name of a chain")?;
                Act::FlushChain { table, chain }
            }
            "set" | "map" => {
                let (table, set) = self.of_table("the name of a set")?;
                Act::FlushSet { table, set }
            }
            _ => {
                return self.error(format!(
                    "\"{what}\" can't be flushed: ruleset, table, chain, set and map can"
                ));
            }
        };
        self.push(line, act);
        Ok(())
    }

    fn list(&mut self, line: u32) -> Result<(), Error> {
        let what = self.name("ruleset, tables, table, chain, set or map")?;
        let list = match what.as_str() {
            "ruleset" => List::Ruleset(self.family()),
            "tables" => List::Tables(self.family()),
            "table" => List::Table(self.table_key()?),
            "chain" => {
                let (table, chain) = self.of_table("the name of a chain")?;
                List::Chain(table, chain)
            }
            "set" | "map" => {
                let (table, set) = self.of_table("the name of a set")?;
                List::Set(table, set)
            }
            _ => match self.object_list(&what)? {
                Some(list) => list,
                None => {
                    return self.error(format!(
                        "\"{what}\" can't be listed: ruleset, tables, table, chain, set, map, counter, counters, quota, quotas, limit and limits can"
                    ));
                }
            },
        };
        self.push(line, Act::List { list, reset: false });
        Ok(())
    }
}

/// Elements as a set has them, once its types are known.
pub(super) fn resolve(set: &Set, words: &[ElementWords]) -> Result<Vec<Element>, Error> {
    words.iter().map(|words| words.resolve(set)).collect()
}
