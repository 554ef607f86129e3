//! Text in, tokens out. The language has three tongues of its own inside (shell in backticks, code
//! in `%{ }%`, strings), which are single tokens here. Lines with `#ifdef NAME`, `#ifndef NAME`,
//! `#else` and `#endif` choose between parts of a script; other lines that begin with `#` are
//! comments.

use super::Fault;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Digits, with at most one dot between or before them, or hexadecimal after `0x`.
    Number(String),
    /// A name; also what only looks like a number: `192.0.2.1`, `12ab`.
    Word(String),
    Text(String),
    Shell(String),
    Code(String),
    /// `--name=value` at the start of a line.
    Option(String, Option<String>),
    /// `...`
    Ellipsis,
    Mark(char),
}

impl Token {
    /// As the script has it, for messages.
    pub fn shown(&self) -> String {
        match self {
            Self::Number(text) | Self::Word(text) => text.clone(),
            Self::Text(text) => format!("\"{text}\""),
            Self::Shell(text) => format!("`{text}`"),
            Self::Code(text) => format!("%{{{text}}}%"),
            Self::Option(name, _) => format!("--{name}"),
            Self::Ellipsis => "...".into(),
            Self::Mark(mark) => mark.to_string(),
        }
    }
}

/// A token and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lexeme {
    pub token: Token,
    pub line: usize,
    /// Nothing stands between it and the token before.
    pub glued: bool,
}

/// The tokens of a script, where the names `defined` are.
pub(super) fn lex(text: &str, defined: &[String]) -> Result<Vec<Lexeme>, Fault> {
    let text = choose(text, defined)?;
    let mut lexer = Lexer { rest: &text, line: 1, fresh_line: true };
    let mut lexemes = Vec::new();
    loop {
        let glued = !lexer.skip()?;
        let line = lexer.line;
        match lexer.next()? {
            Some(token) => lexemes.push(Lexeme { token, line, glued }),
            None => return Ok(lexemes),
        }
    }
}

/// Blanks the parts of the text that are not for those who have `defined` these names.
fn choose(text: &str, defined: &[String]) -> Result<String, Fault> {
    // For each `#ifdef` that is open: its line, and whether its part holds.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut chosen = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let mut words = line.split_whitespace();
        let without = |what: &str| Fault::syntax(index + 1, format!("{what} without #ifdef"));
        let is_defined = |name: Option<&str>| defined.iter().any(|it| Some(it.as_str()) == name);
        match words.next() {
            Some("#ifdef") => open.push((index + 1, is_defined(words.next()))),
            Some("#ifndef") => open.push((index + 1, !is_defined(words.next()))),
            Some("#else") => {
                let last = open.last_mut().ok_or_else(|| without("#else"))?;
                last.1 = !last.1;
            }
            Some("#endif") => {
                open.pop().ok_or_else(|| without("#endif"))?;
            }
            _ if open.iter().all(|(_, holds)| *holds) => {
                chosen.push_str(line);
                continue;
            }
            _ => {}
        }
        chosen.push('\n');
    }
    match open.last() {
        Some((line, _)) => Err(Fault::syntax(*line, "#ifdef without #endif")),
        None => Ok(chosen),
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    /// Only white space was seen since the line began.
    fresh_line: bool,
}

impl<'a> Lexer<'a> {
    /// Takes what `len` bytes of the rest are.
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Takes up to and including `end`, and returns what is before it.
    fn take_until(&mut self, end: &str, what: &str) -> Result<&'a str, Fault> {
        let line = self.line;
        let length = self
            .rest
            .find(end)
            .ok_or_else(|| Fault::syntax(line, format!("{what} has no end: write {end}")))?;
        let inside = self.take(length);
        self.take(end.len());
        Ok(inside)
    }

    /// Passes over white space and comments; false if there were none.
    fn skip(&mut self) -> Result<bool, Fault> {
        let before = self.rest.len();
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            if self.take(blank).contains('\n') {
                self.fresh_line = true;
            }
            if self.rest.starts_with("//") || (self.fresh_line && self.rest.starts_with('#')) {
                let length = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(length);
            } else if self.rest.starts_with("/*") {
                self.take(2);
                self.take_until("*/", "a comment")?;
            } else {
                return Ok(self.rest.len() != before);
            }
        }
    }

    fn next(&mut self) -> Result<Option<Token>, Fault> {
        let first_of_line = std::mem::replace(&mut self.fresh_line, false);
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let token = if first_of_line && self.rest.starts_with("--") {
            self.option()
        } else if self.rest.starts_with("%{") {
            self.take(2);
            Token::Code(self.take_until("}%", "a piece of code")?.to_owned())
        } else if self.rest.starts_with("...") {
            self.take(3);
            Token::Ellipsis
        } else if first == '`' {
            self.take(1);
            Token::Shell(self.take_until("`", "a command")?.to_owned())
        } else if first == '"' {
            self.take(1);
            Token::Text(self.take_until("\"", "a string")?.to_owned())
        } else if first.is_ascii_alphanumeric() || first == '_' || self.is_fraction() {
            self.name_or_number()
        } else {
            self.take(first.len_utf8());
            Token::Mark(first)
        };
        Ok(Some(token))
    }

    fn option(&mut self) -> Token {
        let length = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let word = self.take(length).trim_start_matches('-');
        match word.split_once('=') {
            Some((name, value)) => Token::Option(name.into(), Some(value.into())),
            None => Token::Option(word.into(), None),
        }
    }

    /// `.5`
    fn is_fraction(&self) -> bool {
        let mut chars = self.rest.chars();
        chars.next() == Some('.') && chars.next().is_some_and(|next| next.is_ascii_digit())
    }

    fn name_or_number(&mut self) -> Token {
        let bytes = self.rest.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let starts_with_digits = digit(0) || self.is_fraction();
        let mut length = 0;
        let mut dots = 0;
        while let Some(&byte) = bytes.get(length) {
            let dot = byte == b'.' && starts_with_digits && digit(length + 1);
            if !(byte.is_ascii_alphanumeric() || byte == b'_' || dot) {
                break;
            }
            dots += usize::from(dot);
            length += 1;
        }
        let text = self.take(length);
        let hexadecimal = text.strip_prefix("0x").is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && dots < 2;
        if hexadecimal || decimal { Token::Number(text.into()) } else { Token::Word(text.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        lex(text, &[]).unwrap().iter().map(|lexeme| lexeme.token.shown()).collect()
    }

    #[test]
    fn words_numbers_and_marks() {
        for (text, expected) in [
            ("+.1...0.200 read(4", &["+", ".1", "...", "0.200", "read", "(", "4"][..]),
            (
                "+.99~+1.1 > P. 1:1001(0)",
                &["+", ".99", "~", "+", "1.1", ">", "P", ".", "1", ":", "1001", "(", "0", ")"],
            ),
            ("<FO 12ab34,nop>", &["<", "FO", "12ab34", ",", "nop", ">"]),
            ("192.0.2.1 0x7fff", &["192.0.2.1", "0x7fff"]),
            ("SOCK_STREAM|O_2", &["SOCK_STREAM", "|", "O_2"]),
            ("a // b\nc /* d\n */ e\n# f\n g # h", &["a", "c", "e", "g", "#", "h"]),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn kinds_lines_and_neighbours() {
        let lexemes = lex("--mss=1000\n  `a\nb` %{ x }% \"t\"\nS.", &[]).unwrap();
        let kinds: Vec<_> = lexemes.iter().map(|lexeme| (&lexeme.token, lexeme.line)).collect();
        assert_eq!(
            kinds,
            [
                (&Token::Option("mss".into(), Some("1000".into())), 1),
                (&Token::Shell("a\nb".into()), 2),
                (&Token::Code(" x ".into()), 3),
                (&Token::Text("t".into()), 3),
                (&Token::Word("S".into()), 4),
                (&Token::Mark('.'), 4),
            ]
        );
        assert!(lexemes[5].glued && !lexemes[4].glued);
    }

    #[test]
    fn what_has_no_end_is_told_with_its_line() {
        for (text, message) in [
            ("\n`abc", "a command has no end: write `"),
            ("\n%{ abc", "a piece of code has no end: write }%"),
            ("\n\"abc", "a string has no end: write \""),
            ("\n/* abc", "a comment has no end: write */"),
        ] {
            assert_eq!(lex(text, &[]), Err(Fault::syntax(2, message)), "{text}");
        }
    }

    #[test]
    fn parts_are_chosen_by_names() {
        let text = "a\n#ifdef X\nb\n#ifndef Y\nc\n#else\nd\n#endif\n#endif\ne";
        for (defined, expected) in [
            (&[][..], &["a", "e"][..]),
            (&["X"], &["a", "b", "c", "e"]),
            (&["X", "Y"], &["a", "b", "d", "e"]),
        ] {
            let defined: Vec<String> = defined.iter().map(|name| (*name).to_owned()).collect();
            let lexemes = lex(text, &defined).unwrap();
            let words: Vec<_> = lexemes.iter().map(|lexeme| lexeme.token.shown()).collect();
            assert_eq!(words, expected);
            assert_eq!(lexemes.last().unwrap().line, 10);
        }
        for text in ["#ifdef X\na", "a\n#endif", "#else"] {
            assert!(lex(text, &[]).is_err(), "{text}");
        }
    }
}
