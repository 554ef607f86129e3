//! Rules: what they compare, and what they do.

use super::{Parser, nat};
use crate::nft::{
    Error,
    ast::{
        Key, Level, Limit, Log, MapSource, Mark, MarkOf, Match, ObjectKind, Operator, Reject,
        Right, Rule, SetChange, Stateful, Statement, Verdict,
    },
    lexer::Kind,
    selector::{self, Selector},
    value::{ICMP_CODES, Type, Value},
};
use narrows_stack::filter::{
    field::{CtField, Field},
    state::{Counter, Quota},
};
use std::time::Duration;

/// What a burst is that is not said, in packets.
pub(crate) const BURST: u64 = 5;

impl Parser {
    /// Up to the end of the line, or the brace that closes the chain.
    pub(super) fn rule(&mut self) -> Result<Rule, Error> {
        let mut rule = Rule::default();
        loop {
            match self.peek() {
                Kind::End | Kind::Symbol("}") => break,
                Kind::Word(word) if word == "comment" => {
                    self.at += 1;
                    rule.comment = Some(self.name("a comment")?);
                }
                _ => {
                    let statement = self.statement()?;
                    rule.statements.push(statement);
                }
            }
        }
        if rule.statements.is_empty() {
            return self.error("a rule needs at least one statement");
        }
        let last = rule.statements.len() - 1;
        let ends = |statement: &Statement| {
            matches!(
                statement,
                Statement::Verdict(_)
                    | Statement::Reject(_)
                    | Statement::Translate(_)
                    | Statement::Queue(_)
            )
        };
        if rule.statements.iter().position(ends).is_some_and(|at| at != last) {
            return self.error("nothing of a rule can come after its verdict");
        }
        nat::check(&rule).map_err(|message| Error::new(self.line(), message))?;
        Ok(rule)
    }

    fn statement(&mut self) -> Result<Statement, Error> {
        if let Some(verdict) = self.verdict()? {
            return Ok(Statement::Verdict(verdict));
        }
        let line = self.line();
        let Some(word) = self.peek_word().map(str::to_owned) else {
            return self.error(format!("a rule can't go on with {}", self.peek()));
        };
        if matches!(word.as_str(), "meta" | "mark" | "ct") && self.sets_mark() {
            return self.set_mark();
        }
        if selector::begins(&word) {
            return self.comparison();
        }
        self.at += 1;
        match word.as_str() {
            "log" => self.log().map(Statement::Log),
            "notrack" => Ok(Statement::Untrack),
            "snat" | "dnat" | "masquerade" | "redirect" => self.translate(&word),
            "reject" => self.reject().map(Statement::Reject),
            "queue" => self.queue().map(Statement::Queue),
            "add" => self.set_change(SetChange::Add),
            "update" => self.set_change(SetChange::Update),
            "delete" => self.set_change(SetChange::Delete),
            word => match ObjectKind::of(word) {
                Some(kind) => self.stateful(kind),
                None => Err(Error::new(line, format!("\"{word}\" is not supported in a rule"))),
            },
        }
    }

    /// `counter`, `quota`, `limit`: of the rule, or what its table has under a name.
    fn stateful(&mut self, kind: ObjectKind) -> Result<Statement, Error> {
        if let Some(name) = self.object_name()? {
            return Ok(Statement::Object(kind, name));
        }
        self.state(kind).map(Statement::Stateful)
    }

    pub(super) fn state(&mut self, kind: ObjectKind) -> Result<Stateful, Error> {
        match kind {
            ObjectKind::Counter => self.counter(),
            ObjectKind::Quota => self.quota(),
            ObjectKind::Limit => self.limit(),
        }
    }

    pub(super) fn verdict(&mut self) -> Result<Option<Verdict>, Error> {
        let Some(word) = self.peek_word() else { return Ok(None) };
        let verdict = match word {
            "accept" => Verdict::Accept,
            "drop" => Verdict::Drop,
            "continue" => Verdict::Continue,
            "return" => Verdict::Return,
            "jump" | "goto" => {
                let jump = word == "jump";
                self.at += 1;
                let chain = self.name("the name of a chain")?;
                return Ok(Some(if jump { Verdict::Jump(chain) } else { Verdict::Goto(chain) }));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(verdict))
    }

    fn selector(&mut self) -> Result<Selector, Error> {
        let line = self.line();
        let words: Vec<&str> = self.tokens[self.at.min(self.tokens.len())..]
            .iter()
            .take(4)
            .map_while(|token| match &token.kind {
                Kind::Word(word) => Some(word.as_str()),
                _ => None,
            })
            .collect();
        if let Some((selector, length)) = selector::find(&words) {
            self.at += length;
            return Ok(selector);
        }
        Err(match words.as_slice() {
            [] => Error::new(line, format!("what is compared is missing before {}", self.peek())),
            [first, rest @ ..] if selector::begins(first) => Error::new(
                line,
                format!(
                    "\"{first} {}\" is not supported: after {first} comes {}",
                    rest.first().unwrap_or(&""),
                    selector::choices(first)
                ),
            ),
            [first, ..] => Error::new(line, format!("\"{first}\" is nothing that can be compared")),
        })
    }

    pub(super) fn key(&mut self) -> Result<Key, Error> {
        let mut key = vec![self.selector()?];
        while self.takes(".") {
            key.push(self.selector()?);
        }
        Ok(key)
    }

    fn comparison(&mut self) -> Result<Statement, Error> {
        let key = self.key()?;
        if self.takes_word("vmap") {
            let map = self.map_source(&key)?;
            return Ok(Statement::VerdictMap { key, map });
        }
        let mut mask = None;
        if self.takes("&") || self.takes_word("and") {
            mask = Some(self.bits(single(&key, self)?)?);
        }
        let operator = Operator::NAMES.iter().find(|(symbol, _)| self.takes(symbol));
        let operator = operator.map_or(Operator::Implicit, |(_, operator)| *operator);
        let right = self.right(&key)?;
        // `tcp flags syn / syn,ack`: the value, and which bits count.
        if self.takes("/") {
            mask = Some(self.bits(single(&key, self)?)?);
        }
        Ok(Statement::Match(Match { key, mask, operator, right }))
    }

    fn right(&mut self, key: &Key) -> Result<Right, Error> {
        if self.takes("@") {
            return Ok(Right::Set(self.name("the name of a set")?));
        }
        if matches!(self.peek(), Kind::Symbol("{")) {
            return Ok(Right::Values(self.values(key)?));
        }
        match key.as_slice() {
            [Selector { kind, .. }] if kind.is_flags() => {
                Ok(Right::Value(Value::one(self.bits(*kind)?)))
            }
            [one] => {
                let value = self.value(one.kind)?;
                Ok(Right::Value(value))
            }
            several => {
                let mut values = Vec::new();
                for (at, part) in several.iter().enumerate() {
                    if at > 0 {
                        self.symbol(".")?;
                    }
                    values.push(self.value(part.kind)?);
                }
                Ok(Right::Values(vec![values]))
            }
        }
    }

    pub(super) fn value(&mut self, kind: Type) -> Result<Value, Error> {
        let line = self.line();
        let word = self.name("a value")?;
        kind.parse(&word).map_err(|message| Error::new(line, message))
    }

    /// `{ value, value . value, … }`
    fn values(&mut self, key: &Key) -> Result<Vec<Vec<Value>>, Error> {
        self.symbol("{")?;
        let mut all = Vec::new();
        loop {
            self.skip_ends();
            if self.takes("}") {
                break;
            }
            all.push(self.element(key)?);
            self.skip_ends();
            if !self.takes(",") {
                self.symbol("}")?;
                break;
            }
        }
        if all.is_empty() {
            return self.error("a set of nothing");
        }
        Ok(all)
    }

    pub(super) fn element(&mut self, key: &Key) -> Result<Vec<Value>, Error> {
        let line = self.line();
        let parts = self.parts()?;
        if parts.len() != key.len() {
            let (wanted, found) = (key.len(), parts.len());
            return Err(Error::new(
                line,
                format!("{wanted} values are compared here, not {found}"),
            ));
        }
        let values = key.iter().zip(parts).map(|(selector, part)| selector.kind.parse(&part));
        values.collect::<Result<_, _>>().map_err(|message| Error::new(line, message))
    }

    fn map_source(&mut self, key: &Key) -> Result<MapSource, Error> {
        if self.takes("@") {
            return Ok(MapSource::Named(self.name("the name of a map")?));
        }
        self.symbol("{")?;
        let mut all = Vec::new();
        loop {
            self.skip_ends();
            if self.takes("}") {
                return Ok(MapSource::Inline(all));
            }
            let element = self.element(key)?;
            self.symbol(":")?;
            match self.verdict()? {
                Some(verdict) => all.push((element, verdict)),
                None => return self.error(format!("a verdict is missing before {}", self.peek())),
            }
            self.skip_ends();
            if !self.takes(",") && !matches!(self.peek(), Kind::Symbol("}")) {
                return self.error(format!("\",\" or \"}}\" is missing before {}", self.peek()));
            }
        }
    }

    /// Bits by name or number, with `|` or commas between them, in parentheses or not.
    fn bits(&mut self, kind: Type) -> Result<u128, Error> {
        let line = self.line();
        let parenthesis = self.takes("(");
        let mut bits = 0;
        loop {
            match self.value(kind)? {
                Value::Range(low, high) if low == high => bits |= low,
                _ => return Err(Error::new(line, "bits are wanted here, not a range")),
            }
            let more = self.takes("|") || self.takes_word("or");
            if !(more || kind.is_flags() && self.takes(",")) {
                break;
            }
        }
        if parenthesis {
            self.symbol(")")?;
        }
        Ok(bits)
    }

    fn counter(&mut self) -> Result<Stateful, Error> {
        let mut count = |word| match self.takes_word(word) {
            true => self.number("a number"),
            false => Ok(0),
        };
        let (packets, bytes) = (count("packets")?, count("bytes")?);
        Ok(Stateful::Counter(Counter { packets, bytes }))
    }

    /// `limit rate [over] 10/second [burst 5 packets]`, or `10 kbytes/second`
    fn limit(&mut self) -> Result<Stateful, Error> {
        self.keyword("rate")?;
        let over = self.takes_word("over");
        let line = self.line();
        let word = self.name("a rate")?;
        let wrong = || Error::new(line, "a rate is written as 10/second or 5 mbytes/minute");
        let (amount, interval, of_bytes) = match word.split_once('/') {
            Some((amount, unit)) => (amount.parse().map_err(|_| wrong())?, unit.to_owned(), false),
            None => {
                let amount: u64 = word.parse().map_err(|_| wrong())?;
                let unit = self.name("a unit of bytes")?;
                let (unit, interval) = unit.split_once('/').ok_or_else(wrong)?;
                let unit = byte_unit(unit).ok_or_else(wrong)?;
                let amount = amount.checked_mul(unit).ok_or_else(wrong)?;
                (amount, interval.to_owned(), true)
            }
        };
        let interval = match interval.as_str() {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            "week" => 604_800,
            _ => return Err(wrong()),
        };
        if amount == 0 {
            return Err(Error::new(line, "a rate of nothing"));
        }
        let mut burst = if of_bytes { 0 } else { BURST };
        if self.takes_word("burst") {
            burst = self.number("a burst")?;
            let unit = self.name("packets or bytes")?;
            match byte_unit(&unit) {
                Some(unit) if of_bytes => burst = burst.saturating_mul(unit),
                None if !of_bytes && unit == "packets" => {}
                _ => return self.error("a burst has the unit of its rate"),
            }
        }
        let interval = Duration::from_secs(interval);
        Ok(Stateful::Limit(Limit { amount, interval, burst, of_bytes, over }))
    }

    /// `quota [over|until] 10 mbytes [used 1 kbytes]`
    fn quota(&mut self) -> Result<Stateful, Error> {
        let over = self.takes_word("over");
        if !over {
            self.takes_word("until");
        }
        let bytes = self.bytes()?;
        let used = if self.takes_word("used") { self.bytes()? } else { 0 };
        Ok(Stateful::Quota { quota: Quota { bytes, used }, over })
    }

    fn bytes(&mut self) -> Result<u64, Error> {
        let amount = self.number("a number of bytes")?;
        let line = self.line();
        let unit = self.name("bytes, kbytes or mbytes")?;
        let bytes = byte_unit(&unit).and_then(|unit| amount.checked_mul(unit));
        bytes.ok_or_else(|| Error::new(line, format!("\"{unit}\" is no unit of bytes")))
    }

    fn log(&mut self) -> Result<Log, Error> {
        let mut log = Log::default();
        while let Some(word) = self.peek_word().map(str::to_owned) {
            match word.as_str() {
                "prefix" => {
                    self.at += 1;
                    log.prefix = self.name("a prefix")?;
                }
                "level" => {
                    self.at += 1;
                    let line = self.line();
                    let name = self.name("a level")?;
                    let level = Level::NAMES.iter().find(|(own, _)| *own == name);
                    let choices = || Level::NAMES.map(|(name, _)| name).join(", ");
                    let message = || format!("\"{name}\" is no level: {} are", choices());
                    log.level = level.ok_or_else(|| Error::new(line, message()))?.1;
                }
                "group" => {
                    self.at += 1;
                    let line = self.line();
                    let group = self.number("the number of a group")?;
                    let message = || format!("group {group} is more than 65535");
                    let group = u16::try_from(group).map_err(|_| Error::new(line, message()))?;
                    log.group = Some(group);
                }
                "flags" | "snaplen" | "queue-threshold" => {
                    let message =
                        format!("\"log {word}\" is not supported: prefix, level and group are");
                    return self.error(message);
                }
                _ => break,
            }
        }
        if log.group.is_some() && log.level != Level::default() {
            return self.error("what goes to a group has no level");
        }
        Ok(log)
    }

    fn reject(&mut self) -> Result<Reject, Error> {
        const PORT_UNREACHABLE: u8 = 3;
        if !self.takes_word("with") {
            return Ok(Reject::Icmp(PORT_UNREACHABLE));
        }
        match self.name("icmp, icmpx or tcp reset")?.as_str() {
            "tcp" => {
                self.keyword("reset")?;
                Ok(Reject::TcpReset)
            }
            "icmp" | "icmpx" => {
                self.takes_word("type");
                let line = self.line();
                let name = self.name("a code of ICMP's")?;
                // icmpx has names of its own for what both versions of ICMP have.
                let plain = match name.as_str() {
                    "no-route" => "net-unreachable",
                    name => name,
                };
                let code = ICMP_CODES.iter().find(|(own, _)| *own == plain);
                let choices = || ICMP_CODES.map(|(name, _)| name).join(", ");
                let message = || format!("\"{name}\" is none of {}", choices());
                code.map(|(_, code)| Reject::Icmp(*code as u8))
                    .ok_or_else(|| Error::new(line, message()))
            }
            other => self.error(format!(
                "\"reject with {other}\" is not supported: icmp, icmpx and tcp reset are"
            )),
        }
    }

    fn set_change(&mut self, change: SetChange) -> Result<Statement, Error> {
        self.symbol("@")?;
        let set = self.name("the name of a set")?;
        self.symbol("{")?;
        let key = self.key()?;
        let timeout = if self.takes_word("timeout") { Some(self.duration()?) } else { None };
        self.symbol("}")?;
        Ok(Statement::SetChange { change, set, key, timeout })
    }

    /// Does `[meta] mark set` or `ct mark set` come next?
    fn sets_mark(&self) -> bool {
        let word = |ahead: usize| match self.tokens.get(self.at + ahead).map(|token| &token.kind) {
            Some(Kind::Word(word)) => word.as_str(),
            _ => "",
        };
        let at = usize::from(matches!(word(0), "meta" | "ct"));
        word(at) == "mark" && word(at + 1) == "set"
    }

    /// `mark set 1`, `mark set mark & 0xff | 0x100`, `mark set ip saddr map @marks`
    fn set_mark(&mut self) -> Result<Statement, Error> {
        let to = if self.takes_word("ct") { MarkOf::Flow } else { MarkOf::Packet };
        self.takes_word("meta");
        self.keyword("mark")?;
        self.keyword("set")?;
        let line = self.line();
        if let Some(word) = self.peek_word()
            && selector::begins(word)
        {
            let key = self.key()?;
            if self.takes_word("map") {
                self.symbol("@")?;
                let map = self.name("the name of a map")?;
                return Ok(Statement::SetMark { to, mark: Mark::Map { key, map } });
            }
            let from = match key.as_slice() {
                [Selector { field: Field::Mark, .. }] => Some(MarkOf::Packet),
                [Selector { field: Field::Ct(CtField::Mark), .. }] => Some(MarkOf::Flow),
                _ => None,
            };
            let Some(from) = from else {
                return Err(Error::new(
                    line,
                    "a mark is set to a number, the mark before, or what a map has",
                ));
            };
            let mark = self.mark_bits(from)?;
            return Ok(Statement::SetMark { to, mark });
        }
        let mark = self.bits(Type::Mark)? as u32;
        let mark = Mark::Bits { from: to, and: 0, xor: mark };
        Ok(Statement::SetMark { to, mark })
    }

    /// After the mark as it is: `& a`, `| b`, `^ c` in any order.
    fn mark_bits(&mut self, from: MarkOf) -> Result<Mark, Error> {
        let (mut and, mut xor) = (u32::MAX, 0);
        loop {
            // Whatever the mark is, it ends as mark & `and` ^ `xor`.
            if self.takes("&") || self.takes_word("and") {
                let bits = self.mark_value()?;
                (and, xor) = (and & bits, xor & bits);
            } else if self.takes("|") || self.takes_word("or") {
                let bits = self.mark_value()?;
                (and, xor) = (and & !bits, xor & !bits | bits);
            } else if self.takes("^") || self.takes_word("xor") {
                xor ^= self.mark_value()?;
            } else {
                return Ok(Mark::Bits { from, and, xor });
            }
        }
    }

    fn mark_value(&mut self) -> Result<u32, Error> {
        let line = self.line();
        match self.value(Type::Mark)? {
            Value::Range(low, high) if low == high => Ok(low as u32),
            _ => Err(Error::new(line, "bits are wanted here, not a range")),
        }
    }
}

/// The type of a key that is one selector.
fn single(key: &Key, parser: &Parser) -> Result<Type, Error> {
    match key.as_slice() {
        [one] => Ok(one.kind),
        _ => parser.error("a mask can't be for several values at once"),
    }
}

fn byte_unit(unit: &str) -> Option<u64> {
    match unit {
        "bytes" => Some(1),
        "kbytes" => Some(1 << 10),
        "mbytes" => Some(1 << 20),
        _ => None,
    }
}
