//! Chains: where packets are asked about, in which order, and what becomes of those no rule decides.

use super::{Act, Command, Parser, Place};
use crate::nft::{
    Error,
    ast::{Base, Hook, PRIORITIES, TableKey},
    lexer::{Kind, Token},
};

impl Parser {
    pub(super) fn chain_block(
        &mut self,
        line: u32,
        table: &TableKey,
        chain: &str,
        create: bool,
    ) -> Result<(), Error> {
        let (table, chain) = (table.clone(), chain.to_owned());
        // Its place in the list; the base is known when it has been read.
        let at = self.commands.len();
        let act = Act::AddChain { table: table.clone(), chain: chain.clone(), base: None, create };
        self.push(line, act);
        if !self.takes("{") {
            return Ok(());
        }
        loop {
            self.skip_ends();
            let line = self.line();
            if self.takes("}") {
                return Ok(());
            }
            match self.peek_word() {
                Some("type") => {
                    let found = self.base()?;
                    if let Some(Command { act: Act::AddChain { base, .. }, .. }) =
                        self.commands.get_mut(at)
                    {
                        *base = Some(found);
                    }
                }
                Some("policy") => {
                    let accept = self.policy()?;
                    let (table, chain) = (table.clone(), chain.clone());
                    self.push(line, Act::SetPolicy { table, chain, accept });
                }
                Some("comment")
                    if matches!(
                        self.tokens.get(self.at + 1),
                        Some(Token { kind: Kind::Quoted(_), .. })
                    ) =>
                {
                    self.at += 2;
                }
                _ => {
                    let rule = Box::new(self.rule()?);
                    let (table, chain) = (table.clone(), chain.clone());
                    self.push(line, Act::AddRule { table, chain, place: Place::Last, rule });
                }
            }
            self.end()?;
        }
    }

    /// `type filter hook input [device NAME] priority 0`
    fn base(&mut self) -> Result<Base, Error> {
        self.keyword("type")?;
        let kind = self.name("the type of a chain")?;
        let nat = match kind.as_str() {
            "filter" => false,
            "nat" => true,
            _ => {
                return self
                    .error(format!("chains of type {kind} are not supported: filter and nat are"));
            }
        };
        self.keyword("hook")?;
        let name = self.name("a hook")?;
        let hook = Hook::NAMES.iter().find(|(own, _)| *own == name).map(|(_, hook)| *hook);
        let Some(hook) = hook else {
            return self.error(format!("\"{name}\" is no hook: ingress, prerouting, input, forward, output, postrouting or egress is"));
        };
        let mut devices = Vec::new();
        if self.takes_word("device") {
            devices.push(self.name("the name of an interface")?);
        } else if self.takes_word("devices") {
            self.symbol("=")?;
            self.symbol("{")?;
            while !self.takes("}") {
                devices.push(self.name("the name of an interface")?);
                self.takes(",");
            }
        }
        self.keyword("priority")?;
        let priority = self.priority()?;
        Ok(Base { nat, hook, devices, priority, accept: true })
    }

    /// A number, a name, or a name and so much before or after.
    fn priority(&mut self) -> Result<i32, Error> {
        let word = self.name("a priority")?;
        if let Ok(number) = word.parse() {
            return Ok(number);
        }
        let named = PRIORITIES.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        let Some(base) = named else {
            return self.error(format!("\"{word}\" is no priority: a number, raw, mangle, dstnat, filter, security or srcnat is"));
        };
        // `filter - 5` and `filter + 5`; the lexer takes the sign for a part of the number where
        // there is no space.
        if let Some(offset) = self.peek_word().and_then(|word| word.parse::<i32>().ok())
            && offset < 0
        {
            self.at += 1;
            return Ok(base.saturating_add(offset));
        }
        for (sign, factor) in [("-", -1), ("+", 1)] {
            if self.takes(sign) {
                let offset = self.number("a number")?;
                let offset = i32::try_from(offset).unwrap_or(i32::MAX);
                return Ok(base.saturating_add(offset.saturating_mul(factor)));
            }
        }
        Ok(base)
    }

    pub(super) fn policy(&mut self) -> Result<bool, Error> {
        self.keyword("policy")?;
        match self.name("a policy")?.as_str() {
            "accept" => Ok(true),
            "drop" => Ok(false),
            other => self.error(format!("\"{other}\" is no policy: accept or drop is")),
        }
    }
}
