//! Work that waits, in a line for each user, and whose turn it is: deficit round robin (Shreedhar and
//! Varghese, 1995).
//!
//! A user whose line came up may use [`QUANTUM`] before the next one's does; what he used beyond that
//! is taken off his next turns. So a thousand sockets of one user get what one of another's does, and
//! whoever has little to do waits for one piece of work of each other user at most, never for
//! another's line.

use super::BillId;
use std::collections::VecDeque;

/// What one user may use before another's line is looked at, in the unit of [`FairQueue::charge`]:
/// bytes, or what takes as long as moving one.
const QUANTUM: i64 = 256 << 10;

#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    /// By the number of the bill.
    lines: Vec<Line<T>>,
    /// Lines that are not empty, and may not have been told so yet, in their order.
    round: VecDeque<BillId>,
    len: usize,
}

#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<T>,
    credit: i64,
    in_round: bool,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), credit: 0, in_round: false }
    }
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), round: VecDeque::new(), len: 0 }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts work at the end of its user's line.
    pub(crate) fn push(&mut self, user: BillId, work: T) {
        if self.lines.len() <= user.0 {
            self.lines.resize_with(user.0 + 1, Line::default);
        }
        let Some(line) = self.lines.get_mut(user.0) else { return };
        line.waiting.push_back(work);
        self.len += 1;
        if !std::mem::replace(&mut line.in_round, true) {
            line.credit = line.credit.min(0) + QUANTUM;
            self.round.push_back(user);
        }
    }

    /// The first of the line whose turn it is. Who takes it says afterwards what it cost.
    pub(crate) fn pop(&mut self) -> Option<(BillId, T)> {
        loop {
            let user = *self.round.front()?;
            let line = self.lines.get_mut(user.0)?;
            if line.waiting.is_empty() {
                // A debt stays; what was not used does not.
                line.in_round = false;
                self.round.pop_front();
            } else if line.credit <= 0 {
                line.credit += QUANTUM;
                self.round.rotate_left(1);
            } else {
                self.len -= 1;
                return line.waiting.pop_front().map(|work| (user, work));
            }
        }
    }

    /// Takes off what the work of a user cost.
    pub(crate) fn charge(&mut self, user: BillId, cost: usize) {
        if let Some(line) = self.lines.get_mut(user.0) {
            line.credit = line.credit.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BillId = BillId(0);
    const B: BillId = BillId(5);
    const WHOLE: usize = QUANTUM as usize;

    #[test]
    fn one_user_is_served_in_order() {
        let mut queue = FairQueue::default();
        (0..10).for_each(|work| queue.push(A, work));
        let mut served = Vec::new();
        while let Some((user, work)) = queue.pop() {
            queue.charge(user, WHOLE);
            served.push(work);
        }
        assert_eq!(served, (0..10).collect::<Vec<_>>());
        assert!(queue.is_empty());
    }

    #[test]
    fn a_thousand_sockets_weigh_no_more_than_one() {
        let mut queue = FairQueue::default();
        (0..1000).for_each(|_| queue.push(A, ()));
        let mut waited = Vec::new();
        for _ in 0..20 {
            queue.push(B, ());
            let mut others = 0;
            loop {
                let (user, ()) = queue.pop().expect("work");
                queue.charge(user, if user == A { WHOLE } else { 100 });
                if user == B {
                    break;
                }
                others += 1;
                queue.push(A, ());
            }
            waited.push(others);
        }
        assert!(waited.iter().all(|others| *others <= 1), "{waited:?}");
    }

    /// The bound on what a good session waits for, whatever others do and however many sockets they do
    /// it with: a quantum of each of them, and the piece of work with which they overdraw it.
    #[test]
    fn who_asks_little_waits_for_a_quantum_of_each_other_user_at_most() {
        const OTHERS: usize = 10;
        for piece in [1000, WHOLE / 10, WHOLE - 1, 4 * WHOLE] {
            let mut queue = FairQueue::default();
            for user in 0..OTHERS {
                (0..500).for_each(|_| queue.push(BillId(user), ()));
            }
            let good = BillId(OTHERS);
            queue.push(good, ());
            let (mut waited, mut most, mut services) = (0, 0, 0);
            while services < 50 {
                let (user, ()) = queue.pop().expect("work");
                queue.push(user, ());
                if user == good {
                    queue.charge(good, 100);
                    most = most.max(waited);
                    (waited, services) = (0, services + 1);
                } else {
                    queue.charge(user, piece);
                    waited += piece;
                }
            }
            let bound = OTHERS * (WHOLE + piece);
            assert!(most <= bound, "{most} of {bound}, in pieces of {piece}");
        }
    }

    #[test]
    fn shares_are_by_cost_and_not_by_number() {
        let mut queue = FairQueue::default();
        for user in [A, B] {
            (0..4000).for_each(|_| queue.push(user, ()));
        }
        let mut used = [0, 0];
        for _ in 0..4000 {
            let (user, ()) = queue.pop().expect("work");
            let (index, cost) = if user == A { (0, WHOLE / 64) } else { (1, WHOLE / 4) };
            used[index] += cost;
            queue.charge(user, cost);
        }
        let difference = usize::abs_diff(used[0], used[1]);
        assert!(difference <= 2 * WHOLE, "{used:?}");
    }

    #[test]
    fn a_debt_is_paid_even_by_who_was_gone() {
        let mut queue = FairQueue::default();
        queue.push(A, 1);
        assert_eq!(queue.pop(), Some((A, 1)));
        queue.charge(A, 3 * WHOLE);
        assert_eq!(queue.pop(), None);
        queue.push(A, 2);
        queue.push(B, 3);
        assert_eq!(queue.pop(), Some((B, 3)));
        assert_eq!(queue.pop(), Some((A, 2)), "there is nobody else");
        assert_eq!(queue.pop(), None);
        assert_eq!(queue.len(), 0);
    }
}
