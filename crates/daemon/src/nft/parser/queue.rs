//! `queue [flags bypass,fanout] [to 3-5]`, and as it was written before: `queue num 3-5 bypass`.

use super::Parser;
use crate::nft::{Error, ast::Queue};

impl Parser {
    pub(super) fn queue(&mut self) -> Result<Queue, Error> {
        let mut queue = Queue { first: 0, last: 0, bypass: false, fanout: false };
        let flags_first = self.takes_word("flags");
        if flags_first {
            self.queue_flags(&mut queue)?;
        }
        if self.takes_word("to") || !flags_first && self.takes_word("num") {
            (queue.first, queue.last) = self.queue_numbers()?;
        }
        if !flags_first {
            self.takes_word("flags");
            self.queue_flags(&mut queue)?;
        }
        if queue.fanout && queue.first == queue.last {
            return self.error("fanout is among several queues: write \"to 0-3\"");
        }
        Ok(queue)
    }

    fn queue_flags(&mut self, queue: &mut Queue) -> Result<(), Error> {
        loop {
            match self.peek_word() {
                Some("bypass") => queue.bypass = true,
                Some("fanout") => queue.fanout = true,
                _ => return Ok(()),
            }
            self.at += 1;
            if !self.takes(",") {
                return Ok(());
            }
        }
    }

    fn queue_numbers(&mut self) -> Result<(u16, u16), Error> {
        let line = self.line();
        let word = self.name("the number of a queue")?;
        let (first, last) = word.split_once('-').unwrap_or((&word, &word));
        let wrong = || {
            let message = format!("\"{word}\" is not a queue, 0 to 65535, or a range of them");
            Error::new(line, message)
        };
        let (first, last) = (first.parse(), last.parse());
        match (first, last) {
            (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
            _ => Err(wrong()),
        }
    }
}
