//! What a table keeps under a name: counters, quotas, limits.

use super::{Act, List, Parser};
use crate::nft::{
    Error,
    ast::{ObjectKey, ObjectKind, Stateful, TableKey},
    lexer::Kind,
};

impl Parser {
    /// `counter` and the others of them, after their name: `{ packets 0 bytes 0 }`, or the same without
    /// braces.
    pub(super) fn object_block(
        &mut self,
        line: u32,
        table: &TableKey,
        object: ObjectKey,
        create: bool,
    ) -> Result<(), Error> {
        let braces = self.takes("{");
        if braces {
            self.skip_ends();
        }
        let state = self.state(object.0)?;
        if braces {
            self.skip_ends();
            if self.takes_word("comment") {
                self.name("a comment")?;
                self.skip_ends();
            }
            self.symbol("}")?;
        }
        self.push(line, Act::AddObject { table: table.clone(), object, state, create });
        Ok(())
    }

    /// In a rule, after the word for its kind: `name "x"`, which nft writes with quotes.
    pub(super) fn object_name(&mut self) -> Result<Option<String>, Error> {
        if !self.takes_word("name") {
            return Ok(None);
        }
        let name = self.name("a name")?;
        // `counter name ip saddr map @m`
        if matches!(self.peek(), Kind::Word(word) if word == "map") || name.contains(' ') {
            return self.error("what a map has can't be counted by: write one name");
        }
        Ok(Some(name))
    }

    /// `counter [FAMILY] TABLE NAME`, `counters [FAMILY] [table [FAMILY] TABLE]`.
    pub(super) fn object_list(&mut self, what: &str) -> Result<Option<List>, Error> {
        for (name, kind) in ObjectKind::NAMES {
            if what == name {
                let (table, name) = self.of_table("a name")?;
                return Ok(Some(List::Object(table, (kind, name))));
            }
            if what.strip_suffix('s') == Some(name) {
                let family = self.family();
                let table = if self.takes_word("table") { Some(self.table_key()?) } else { None };
                return Ok(Some(List::Objects { kind, family, table }));
            }
        }
        Ok(None)
    }

    pub(super) fn reset(&mut self, line: u32) -> Result<(), Error> {
        let what = self.name("counter, counters, quota or quotas")?;
        let list = match what.as_str() {
            "limit" | "limits" => None,
            what => self.object_list(what)?,
        };
        let Some(list) = list else {
            return self.error(format!(
                "\"{what}\" can't be reset: counter, counters, quota and quotas can"
            ));
        };
        self.push(line, Act::List { list, reset: true });
        Ok(())
    }
}

impl Stateful {
    /// As it was before anything passed.
    pub(in crate::nft) fn anew(&self) -> Self {
        match *self {
            Self::Counter(_) => Self::Counter(Default::default()),
            Self::Quota { mut quota, over } => {
                quota.used = 0;
                Self::Quota { quota, over }
            }
            Self::Limit(limit) => Self::Limit(limit),
        }
    }
}
