//! Words of nft's language. An address, a range, a rate are one word each; what they mean depends on what
//! they are compared with.

use super::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub line: u32,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word(String),
    /// In quotes.
    Quoted(String),
    Symbol(&'static str),
    /// A line's end, or a semicolon.
    End,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => write!(f, "\"{word}\""),
            Self::Quoted(text) => write!(f, "the text \"{text}\""),
            Self::Symbol(symbol) => write!(f, "\"{symbol}\""),
            Self::End => f.write_str("the end of the line"),
        }
    }
}

/// The longer of two that begin alike first.
const SYMBOLS: [&str; 25] = [
    "==", "!=", "<=", ">=", "<<", ">>", "{", "}", "(", ")", ",", ":", ".", "=", "<", ">", "&", "|",
    "^", "@", "$", "-", "+", "/", "!",
];

pub(super) fn lex(text: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    for (line, content) in (1..).zip(joined(text)) {
        lex_line(line, &content, &mut tokens)?;
        tokens.push(Token { line, kind: Kind::End });
    }
    Ok(tokens)
}

/// Lines; one that ends with a backslash goes on in the next, which is then empty.
fn joined(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = None;
    for line in text.lines() {
        let (content, more) = match line.strip_suffix('\\') {
            Some(content) => (content, true),
            None => (line, false),
        };
        let at = match goes_on {
            Some(at) => {
                lines.push(String::new());
                at
            }
            None => {
                lines.push(String::new());
                lines.len() - 1
            }
        };
        lines[at].push_str(content);
        goes_on = more.then_some(at);
    }
    lines
}

fn lex_line(line: u32, content: &str, tokens: &mut Vec<Token>) -> Result<(), Error> {
    let mut rest = content.trim_start();
    while let Some(first) = rest.chars().next() {
        let (kind, length) = match first {
            '#' => return Ok(()),
            ';' => (Kind::End, 1),
            '"' => {
                let end = rest[1..].find('"');
                let end =
                    end.ok_or_else(|| Error::new(line, "a \" has no other to end the text"))?;
                (Kind::Quoted(rest[1..=end].to_owned()), end + 2)
            }
            _ => match word(rest) {
                0 => {
                    let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
                    let symbol = symbol.ok_or_else(|| {
                        Error::new(line, format!("\"{first}\" has no meaning here"))
                    })?;
                    (Kind::Symbol(symbol), symbol.len())
                }
                length => (Kind::Word(rest[..length].to_owned()), length),
            },
        };
        tokens.push(Token { line, kind });
        rest = rest[length..].trim_start();
    }
    Ok(())
}

/// How many bytes of `text` are one word: letters and digits, and between them what addresses, ranges,
/// prefixes and names are written with.
fn word(text: &str) -> usize {
    if let Some(length) = mac(text) {
        return length;
    }
    let bytes = text.as_bytes();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'*';
    let mut length = 0;
    while let Some(byte) = bytes.get(length).copied() {
        let between = matches!(byte, b'.' | b'-' | b'/')
            && length > 0
            && bytes.get(length + 1).copied().is_some_and(plain);
        // A priority below zero.
        let sign = byte == b'-' && length == 0 && bytes.get(1).is_some_and(u8::is_ascii_digit);
        if !(plain(byte) || between || sign) {
            break;
        }
        length += 1;
    }
    length
}

/// A MAC address is six pairs with colons between them, which elsewhere are symbols.
fn mac(text: &str) -> Option<usize> {
    const LENGTH: usize = 17;
    let candidate = text.as_bytes().get(..LENGTH)?;
    let fits = candidate.iter().enumerate().all(|(at, byte)| match at % 3 {
        2 => *byte == b':',
        _ => byte.is_ascii_hexdigit(),
    });
    let ends = text.as_bytes().get(LENGTH).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    (fits && ends).then_some(LENGTH)
}
