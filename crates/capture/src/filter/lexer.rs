//! An expression to words. A dash is part of a word, as in `tcp-syn`; a colon is, but between brackets,
//! where it comes before a size.

use super::Error;

/// The longest expression: far more than a command line is read with care.
const MAX_LEN: usize = 16 << 10;

const SYMBOLS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "<<", ">>", "(", ")", "[", "]", "!", "&", "|", "=", "<",
    ">", "+", "*", "/", "%", "^", ":", "-", ",",
];

pub(super) fn words(text: &str) -> Result<Vec<&str>, Error> {
    if text.len() > MAX_LEN {
        return Err(Error { near: "end".into(), message: "the filter is too long".into() });
    }
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    let mut brackets = 0_u32;
    while let Some(first) = rest.chars().next() {
        // A backslash says that what follows is no keyword.
        let escaped = usize::from(first == '\\');
        let body = rest.get(escaped..).unwrap_or_default();
        let belongs = |c: char| match c {
            '.' | '_' | '-' => true,
            ':' | '/' => brackets == 0,
            c => c.is_ascii_alphanumeric(),
        };
        let starts = body.starts_with(|c: char| c.is_ascii_alphanumeric());
        let length = if starts {
            escaped + body.find(|c| !belongs(c)).unwrap_or(body.len())
        } else {
            let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
            symbol.map(|symbol| symbol.len()).ok_or_else(|| Error {
                near: first.to_string(),
                message: "no filter has that sign".into(),
            })?
        };
        let (word, after) = rest.split_at(length);
        match word {
            "[" => brackets += 1,
            "]" => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_signs_come_apart() {
        for (text, expected) in [
            ("", vec![]),
            (
                "tcp and(port 80||net 10.0.0.0/8)",
                vec!["tcp", "and", "(", "port", "80", "||", "net", "10.0.0.0/8", ")"],
            ),
            ("ether host 02:00:00:00:00:01", vec!["ether", "host", "02:00:00:00:00:01"]),
            ("ip[2:2]>=4&&!arp", vec!["ip", "[", "2", ":", "2", "]", ">=", "4", "&&", "!", "arp"]),
            ("tcp[tcpflags]&tcp-syn", vec!["tcp", "[", "tcpflags", "]", "&", "tcp-syn"]),
            ("ether proto \\arp", vec!["ether", "proto", "\\arp"]),
        ] {
            assert_eq!(words(text), Ok(expected), "{text}");
        }
        assert!(words("host $x").is_err() && words("port é").is_err());
        assert!(words(&"a ".repeat(MAX_LEN)).is_err());
    }
}
