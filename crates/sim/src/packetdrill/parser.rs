//! Tokens in, a [`Script`] out. A line of a script is a time and what happens then: a call, a
//! packet, a command, a piece of code.

mod call;
mod packet;

use super::{
    Fault,
    lexer::{Lexeme, Token, lex},
    script::{Action, Event, Moment, Script, ScriptOption, Start, When},
};
use narrows_stack::time::Duration;

/// Reads a whole script, where the names `defined` are.
pub(super) fn parse(text: &str, defined: &[String]) -> Result<Script, Fault> {
    let lexemes = lex(text, defined)?;
    let last_line = lexemes.last().map_or(1, |lexeme| lexeme.line);
    let mut parser = Parser { lexemes: &lexemes, at: 0, last_line };
    let mut script = Script::default();
    while let Some(lexeme) = parser.peek() {
        if let Token::Option(name, value) = &lexeme.token {
            let (name, value) = (name.clone(), value.clone());
            script.options.push(ScriptOption { line: lexeme.line, name, value });
            parser.at += 1;
        } else {
            script.events.push(parser.event()?);
        }
    }
    Ok(script)
}

pub(super) struct Parser<'a> {
    lexemes: &'a [Lexeme],
    at: usize,
    last_line: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Lexeme> {
        self.lexemes.get(self.at)
    }

    fn token(&self) -> Option<&'a Token> {
        self.peek().map(|lexeme| &lexeme.token)
    }

    fn line(&self) -> usize {
        self.peek().map_or(self.last_line, |lexeme| lexeme.line)
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = match self.token() {
            Some(token) => format!("\"{}\"", token.shown()),
            None => "the end of the script".into(),
        };
        Fault::syntax(self.line(), format!("{found} where {wanted} is expected"))
    }

    fn is_mark(&self, mark: char) -> bool {
        self.token() == Some(&Token::Mark(mark))
    }

    /// Takes `mark` if it is next.
    fn accept(&mut self, mark: char) -> bool {
        let found = self.is_mark(mark);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), Fault> {
        if self.accept(mark) { Ok(()) } else { Err(self.unexpected(&format!("\"{mark}\""))) }
    }

    /// Takes the word `word` if it is next.
    fn accept_word(&mut self, word: &str) -> bool {
        let found = matches!(self.token(), Some(Token::Word(next)) if next == word);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, wanted: &str) -> Result<&'a str, Fault> {
        match self.token() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// A number that fits in `T`; `wanted` says what it is.
    fn integer<T: TryFrom<i64>>(&mut self, wanted: &str) -> Result<T, Fault> {
        let Some(Token::Number(text)) = self.token() else { return Err(self.unexpected(wanted)) };
        let value = match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let value = value.ok().and_then(|value| T::try_from(value).ok());
        let value = value.ok_or_else(|| self.unexpected(wanted))?;
        self.at += 1;
        Ok(value)
    }

    fn event(&mut self) -> Result<Event, Fault> {
        let line = self.line();
        let when = self.when()?;
        let action = match self.token() {
            Some(Token::Shell(command)) => {
                self.at += 1;
                Action::Shell(command.clone())
            }
            Some(Token::Code(code)) => {
                self.at += 1;
                Action::Code(code.clone())
            }
            Some(Token::Mark('<')) => {
                self.at += 1;
                Action::Inbound(self.packet()?)
            }
            Some(Token::Mark('>')) => {
                self.at += 1;
                Action::Outbound(self.packet()?)
            }
            Some(Token::Word(_)) => Action::Call(self.call()?),
            _ => return Err(self.unexpected("a call, a packet, a command or code")),
        };
        if when.end.is_some() && !matches!(action, Action::Call(_)) {
            return Err(Fault::syntax(line, "only a call has a time \"a...b\""));
        }
        Ok(Event { line, when, action })
    }

    /// `+a`, `a`, `a~b`, `+a~+b`, `*`, `+a...b`; nothing before commands and code is `+0`.
    fn when(&mut self) -> Result<When, Fault> {
        if matches!(self.token(), Some(Token::Shell(_) | Token::Code(_))) {
            let start = Start::At(Moment::Relative(Duration::ZERO));
            return Ok(When { start, end: None });
        }
        if self.accept('*') {
            return Ok(When { start: Start::Any, end: None });
        }
        let first = self.moment(false)?;
        let relative = matches!(first, Moment::Relative(_));
        if self.accept('~') {
            let second = self.moment(relative)?;
            return Ok(When { start: Start::Between(first, second), end: None });
        }
        let mut end = None;
        if self.token() == Some(&Token::Ellipsis) {
            self.at += 1;
            end = Some(self.moment(relative)?);
        }
        Ok(When { start: Start::At(first), end })
    }

    /// The end of a range is relative where its beginning is, with a `+` or without.
    fn moment(&mut self, relative: bool) -> Result<Moment, Fault> {
        let relative = self.accept('+') || relative;
        let seconds = match self.token() {
            Some(Token::Number(text)) => parse_seconds(text),
            _ => None,
        };
        let time = seconds.ok_or_else(|| self.unexpected("a time in seconds"))?;
        self.at += 1;
        Ok(if relative { Moment::Relative(time) } else { Moment::Absolute(time) })
    }
}

/// Decimal seconds, exactly, down to nanoseconds.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // What a script can mean by more is not known.
    if whole > 100_000_000 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(Duration::new(whole, digits.parse().ok()?))
}

#[cfg(test)]
mod tests;
