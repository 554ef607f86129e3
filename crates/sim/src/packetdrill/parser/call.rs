//! `name(arguments) = result ERRNO (note)`

use super::Parser;
use crate::packetdrill::{
    Fault,
    lexer::Token,
    script::{Call, Expected, Expression},
};

impl Parser<'_> {
    pub(super) fn call(&mut self) -> Result<Call, Fault> {
        let name = self.word("the name of a call")?.to_owned();
        self.expect('(')?;
        let arguments = self.expressions(')')?;
        self.expect('=')?;
        let result = self.expected()?;
        self.note()?;
        Ok(Call { name, arguments, result })
    }

    fn expected(&mut self) -> Result<Expected, Fault> {
        if self.token() == Some(&Token::Ellipsis) {
            self.at += 1;
            return Ok(Expected::Anything);
        }
        let negative = self.accept('-');
        let value: i64 = self.integer("the result of the call")?;
        if negative
            && value == 1
            && let Some(Token::Word(errno)) = self.token()
        {
            self.at += 1;
            return Ok(Expected::Errno(errno.clone()));
        }
        Ok(Expected::Value(if negative { -value } else { value }))
    }

    /// What is in parentheses after the result is for the reader.
    fn note(&mut self) -> Result<(), Fault> {
        if !self.accept('(') {
            return Ok(());
        }
        let mut depth = 1;
        while depth > 0 {
            match self.token() {
                Some(Token::Mark('(')) => depth += 1,
                Some(Token::Mark(')')) => depth -= 1,
                None => return Err(self.unexpected("\")\"")),
                Some(_) => {}
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Expressions between commas, up to and including `end`.
    fn expressions(&mut self, end: char) -> Result<Vec<Expression>, Fault> {
        let mut list = Vec::new();
        while !self.accept(end) {
            if !list.is_empty() {
                self.expect(',')?;
            }
            list.push(self.expression()?);
        }
        Ok(list)
    }

    fn expression(&mut self) -> Result<Expression, Fault> {
        let first = self.term()?;
        if !self.is_mark('|') {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.accept('|') {
            parts.push(self.term()?);
        }
        Ok(Expression::Or(parts))
    }

    fn term(&mut self) -> Result<Expression, Fault> {
        match self.token() {
            Some(Token::Number(_)) => Ok(Expression::Number(self.integer("a whole number")?)),
            Some(Token::Mark('-')) => {
                self.at += 1;
                let value: i64 = self.integer("a whole number")?;
                Ok(Expression::Number(-value))
            }
            Some(Token::Text(text)) => {
                self.at += 1;
                Ok(Expression::Text(text.clone()))
            }
            Some(Token::Ellipsis) => {
                self.at += 1;
                Ok(Expression::Any)
            }
            Some(Token::Mark('[')) => {
                self.at += 1;
                Ok(Expression::List(self.expressions(']')?))
            }
            Some(Token::Mark('{')) => {
                self.at += 1;
                Ok(Expression::Record(self.expressions('}')?))
            }
            Some(Token::Word(name)) => {
                self.at += 1;
                self.named(name)
            }
            _ => Err(self.unexpected("an argument")),
        }
    }

    /// A name, `name(arguments)`, and with `=value` a field of a record.
    fn named(&mut self, name: &str) -> Result<Expression, Fault> {
        let mut expression = Expression::Word(name.to_owned());
        if self.accept('(') {
            expression = Expression::Function(name.to_owned(), self.expressions(')')?);
        }
        if self.accept('=') {
            let value = self.expression()?;
            return Ok(Expression::Field(name.to_owned(), Box::new(value)));
        }
        Ok(expression)
    }
}
