//! The pieces of Python in scripts: `assert`, assignments and `print` over whole numbers and
//! strings. What else Python has is refused by name.

use super::Fault;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(i64),
    Text(String),
}

impl Value {
    fn is_true(&self) -> bool {
        match self {
            Self::Number(number) => *number != 0,
            Self::Text(text) => !text.is_empty(),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Names that code has assigned; they hold for the rest of the script.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<String, Value>);

/// Runs `code`, which begins at `line`. `lookup` knows the names that the code did not assign.
pub(super) fn run(
    line: usize,
    code: &str,
    names: &mut Names,
    lookup: &dyn Fn(&str) -> Option<i64>,
) -> Result<(), Fault> {
    // A line that ends in a backslash goes on in the next one.
    let code = code.replace("\\\n", "");
    for (line, text) in (line..).zip(code.split('\n')) {
        let tokens = lex(line, text)?;
        for statement in tokens.split(|token| *token == Token::Mark(";")) {
            if !statement.is_empty() {
                let mut evaluator = Evaluator { line, rest: statement, names, lookup };
                evaluator.statement(text.trim())?;
            }
        }
    }
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Number(i64),
    Name(String),
    Text(String),
    Mark(&'static str),
}

/// Longer ones first.
const MARKS: [&str; 25] = [
    "==", "!=", "<=", ">=", "<<", ">>", "//", "<", ">", "=", "+", "-", "*", "/", "%", "&", "|",
    "^", "~", "(", ")", ",", ";", "[", "]",
];

fn lex(line: usize, text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length;
        if first == '#' || rest.starts_with("//") && tokens.is_empty() {
            break;
        } else if first == '\'' || first == '"' {
            let inside = rest[1..].find(first);
            let end = inside.ok_or_else(|| Fault::syntax(line, "a string has no end"))?;
            tokens.push(Token::Text(rest[1..=end].into()));
            length = end + 2;
        } else if first.is_ascii_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            length = end.unwrap_or(rest.len());
            let word = &rest[..length];
            tokens.push(if first.is_ascii_digit() {
                let number = match word.strip_prefix("0x") {
                    Some(digits) => i64::from_str_radix(digits, 16),
                    None => word.parse(),
                };
                let wrong = |_| Fault::syntax(line, format!("\"{word}\" is not a whole number"));
                Token::Number(number.map_err(wrong)?)
            } else {
                Token::Name(word.into())
            });
        } else if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            tokens.push(Token::Mark(mark));
            length = mark.len();
        } else {
            return Err(Fault::syntax(line, format!("\"{first}\" in code is not understood")));
        }
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Evaluator<'a> {
    line: usize,
    rest: &'a [Token],
    names: &'a mut Names,
    lookup: &'a dyn Fn(&str) -> Option<i64>,
}

impl Evaluator<'_> {
    fn statement(&mut self, text: &str) -> Result<(), Fault> {
        match self.rest {
            [Token::Name(name), ..] if name == "assert" => {
                self.rest = &self.rest[1..];
                let holds = self.expression()?.is_true();
                let mut message = String::new();
                if self.accept(",") {
                    message = format!(" ({})", self.expression()?.shown());
                }
                self.end()?;
                if !holds {
                    let came = format!("that is not so{message}");
                    return Err(Fault::mismatch(self.line, format!("\"{text}\""), came));
                }
            }
            [Token::Name(name), ..] if name == "print" => {
                self.rest = &self.rest[1..];
                if !self.rest.is_empty() {
                    self.expression()?;
                }
                self.end()?;
            }
            [Token::Name(name), Token::Mark("="), ..] => {
                self.rest = &self.rest[2..];
                let value = self.expression()?;
                self.end()?;
                self.names.0.insert(name.clone(), value);
            }
            _ => return Err(self.unexpected("assert, print or an assignment")),
        }
        Ok(())
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = match self.rest.first() {
            Some(Token::Number(number)) => format!("\"{number}\""),
            Some(Token::Name(text) | Token::Text(text)) => format!("\"{text}\""),
            Some(Token::Mark(mark)) => format!("\"{mark}\""),
            None => "the end of the line".into(),
        };
        Fault::syntax(self.line, format!("{found} in code where {wanted} is expected"))
    }

    fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.unexpected("the end of the line")) }
    }

    fn accept(&mut self, mark: &str) -> bool {
        let found = matches!(self.rest.first(), Some(Token::Mark(next)) if *next == mark);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn accept_name(&mut self, name: &str) -> bool {
        let found = matches!(self.rest.first(), Some(Token::Name(next)) if next == name);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    /// `or`, the loosest.
    fn expression(&mut self) -> Result<Value, Fault> {
        let mut left = self.conjunction()?;
        while self.accept_name("or") {
            let right = self.conjunction()?;
            left = if left.is_true() { left } else { right };
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Value, Fault> {
        let mut left = self.negation()?;
        while self.accept_name("and") {
            let right = self.negation()?;
            left = if left.is_true() { right } else { left };
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Value, Fault> {
        if self.accept_name("not") {
            return Ok(Value::Number(i64::from(!self.negation()?.is_true())));
        }
        self.comparison()
    }

    /// `a < b <= c` holds if both do.
    fn comparison(&mut self) -> Result<Value, Fault> {
        let mut left = self.binary(0)?;
        let mut result = None;
        while let Some(Token::Mark(mark @ ("==" | "!=" | "<" | ">" | "<=" | ">="))) =
            self.rest.first()
        {
            self.rest = &self.rest[1..];
            let right = self.binary(0)?;
            let holds = match (&left, &right, *mark) {
                (a, b, "==") => a == b,
                (a, b, "!=") => a != b,
                (Value::Number(a), Value::Number(b), mark) => match mark {
                    "<" => a < b,
                    ">" => a > b,
                    "<=" => a <= b,
                    _ => a >= b,
                },
                _ => return Err(self.unexpected("a comparison of numbers")),
            };
            result = Some(result.unwrap_or(true) && holds);
            left = right;
        }
        Ok(result.map_or(left, |holds| Value::Number(i64::from(holds))))
    }

    /// Arithmetic, from the loosest operators to the tightest.
    fn binary(&mut self, level: usize) -> Result<Value, Fault> {
        const LEVELS: [&[&str]; 6] =
            [&["|"], &["^"], &["&"], &["<<", ">>"], &["+", "-"], &["*", "//", "/", "%"]];
        let Some(marks) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(Token::Mark(mark)) = self.rest.first()
            && marks.contains(mark)
        {
            self.rest = &self.rest[1..];
            let right = self.binary(level + 1)?;
            left = self.operate(mark, left, right)?;
        }
        Ok(left)
    }

    fn operate(&self, mark: &str, left: Value, right: Value) -> Result<Value, Fault> {
        let (a, b) = match (left, right) {
            (Value::Number(a), Value::Number(b)) => (a, b),
            // `'cwnd: %d' % cwnd`: good enough to be read.
            (Value::Text(text), value) if mark == "%" => {
                return Ok(Value::Text(format!("{text}: {}", value.shown())));
            }
            _ => return Err(Fault::syntax(self.line, format!("\"{mark}\" is for numbers"))),
        };
        let shift = |distance| u32::try_from(distance).ok();
        let result = match mark {
            "|" => Some(a | b),
            "^" => Some(a ^ b),
            "&" => Some(a & b),
            "<<" => shift(b).and_then(|distance| a.checked_shl(distance)),
            ">>" => shift(b).and_then(|distance| a.checked_shr(distance)),
            "+" => a.checked_add(b),
            "-" => a.checked_sub(b),
            "*" => a.checked_mul(b),
            "%" => a.checked_rem_euclid(b),
            "//" => a.checked_div_euclid(b),
            // Python's result has a fraction: only a whole one is the same.
            _ => a.checked_div(b).filter(|whole| whole * b == a),
        };
        let wrong = || Fault::syntax(self.line, format!("{a} {mark} {b} is no whole number"));
        result.map(Value::Number).ok_or_else(wrong)
    }

    fn unary(&mut self) -> Result<Value, Fault> {
        if self.accept("-") {
            return self.number().map(|number| Value::Number(number.wrapping_neg()));
        }
        if self.accept("~") {
            return self.number().map(|number| Value::Number(!number));
        }
        let Some(token) = self.rest.first() else { return Err(self.unexpected("a value")) };
        match token {
            Token::Number(number) => {
                self.rest = &self.rest[1..];
                Ok(Value::Number(*number))
            }
            Token::Text(text) => {
                self.rest = &self.rest[1..];
                Ok(Value::Text(text.clone()))
            }
            Token::Mark("(") => self.parenthesis(),
            Token::Name(name) => {
                let known = self.names.0.get(name).cloned();
                let value = known.or_else(|| (self.lookup)(name).map(Value::Number));
                let line = self.line;
                self.rest = &self.rest[1..];
                value.ok_or_else(|| Fault::unsupported(line, format!("the name {name} in code")))
            }
            Token::Mark(_) => Err(self.unexpected("a value")),
        }
    }

    fn number(&mut self) -> Result<i64, Fault> {
        match self.unary()? {
            Value::Number(number) => Ok(number),
            Value::Text(_) => Err(self.unexpected("a number")),
        }
    }

    /// `(a)`, or `(a, b)` where a string is filled in.
    fn parenthesis(&mut self) -> Result<Value, Fault> {
        self.accept("(");
        let first = self.expression()?;
        if self.accept(")") {
            return Ok(first);
        }
        let mut text = first.shown();
        while self.accept(",") {
            text += ", ";
            text += &self.expression()?.shown();
        }
        if self.accept(")") { Ok(Value::Text(text)) } else { Err(self.unexpected("\")\"")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_all(code: &str) -> Result<(), Fault> {
        let lookup = |name: &str| match name {
            "tcpi_snd_cwnd" => Some(10),
            "TCP_CA_Open" => Some(0),
            _ => None,
        };
        run(5, code, &mut Names::default(), &lookup)
    }

    #[test]
    fn what_holds_passes() {
        for code in [
            " assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd ",
            "assert tcpi_snd_cwnd == 10 and not TCP_CA_Open; assert 1 < 2 <= 2",
            "assert (tcpi_snd_cwnd & 2) != 0, 'it is %d of %d' % (tcpi_snd_cwnd, 5)",
            "X = 0x7fffffff\nassert X == 2147483647",
            "assert 2 + 3 * 4 == 14 and 7 // 2 == 3 and 7 % 4 == 3 and -1 < 0 and ~0 == -1",
            "assert 1 << 4 | 1 == 17 or 0",
            "print tcpi_snd_cwnd; print('a', 1)",
            "# nothing\n\n",
        ] {
            assert_eq!(run_all(code), Ok(()), "{code}");
        }
    }

    #[test]
    fn what_does_not_hold_is_told_with_its_line() {
        let fault = run_all("\nassert tcpi_snd_cwnd == 9, tcpi_snd_cwnd").unwrap_err();
        let expected = "\"assert tcpi_snd_cwnd == 9, tcpi_snd_cwnd\"";
        assert_eq!(fault, Fault::mismatch(6, expected, "that is not so (10)"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (code, message) in [
            ("assert tcpi_unheard_of", "the name tcpi_unheard_of in code is not supported"),
            ("import os", "\"import\" in code where assert, print or an assignment is expected"),
            ("assert 1 ==", "the end of the line in code where a value is expected"),
            ("assert 1 2", "\"2\" in code where the end of the line is expected"),
            (
                "assert 'a' < 1",
                "the end of the line in code where a comparison of numbers is expected",
            ),
            ("assert 1 / 2", "1 / 2 is no whole number"),
            ("assert 1 // 0", "1 // 0 is no whole number"),
            ("assert 'a", "a string has no end"),
            ("assert $", "\"$\" in code is not understood"),
        ] {
            assert_eq!(run_all(code).unwrap_err().to_string(), format!("line 5: {message}"));
        }
    }
}
