//! F-RTO (RFC 5682): was a retransmission timeout needless?
//!
//! After a timeout the oldest segment alone is sent again. If the next acknowledgment covers no more
//! than that, two new segments go out instead of what is taken for lost; and if anything that was sent
//! once and before the timeout is acknowledged then, it was only late: the window is given back, and
//! nothing more is sent again. Two duplicates, or no new text to send, and the repair goes on as ever. As
//! Linux has it, with SACK's knowledge where there is any (§3), and once in a repair: not where losses were
//! known before, nor at a timeout after the first. Unlike Eifel (RFC 4015) it needs no timestamps.

use super::{
    congestion::Congestion,
    recovery::{Arrival, Recovery},
};

/// How far the question has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The loss is real, or there was no timeout.
    #[default]
    None,
    /// §2.1 step 1: the oldest is sent again.
    Asked,
    /// Step 2b: new text goes before what is taken for lost.
    Probing,
    /// Step 3: what the next acknowledgment says of it decides.
    Waiting,
}

impl Recovery {
    /// Does new text go before what is taken for lost?
    pub fn prefers_new(&self) -> bool {
        self.doubt == Doubt::Probing
    }

    /// An acknowledgment came.
    pub(super) fn doubt_timeout(&mut self, arrival: &Arrival, congestion: &mut Congestion) {
        if !self.is_after_timeout() || self.doubt == Doubt::None {
            self.doubt = Doubt::None;
            return;
        }
        let high = self.high();
        let delivered = &arrival.delivered;
        // Without SACK what was sent once may have waited for what was sent again.
        let clear = arrival.sack || !delivered.again;
        if clear && delivered.lowest.is_some_and(|lowest| lowest.before(high)) {
            // §2.1 step 3b, §3.1 step 3b: what was sent once has arrived.
            self.doubt = Doubt::None;
            self.give_back(congestion);
            return;
        }
        self.doubt = match self.doubt {
            Doubt::Probing | Doubt::Waiting if arrival.nxt.after(high) => {
                let overtaken = !arrival.advanced && arrival.delivered.octets > 0;
                if arrival.duplicate || overtaken { Doubt::None } else { Doubt::Waiting }
            }
            _ if arrival.advanced && arrival.una.before(high) => {
                self.extend(arrival.nxt);
                if arrival.new_text { Doubt::Probing } else { Doubt::None }
            }
            doubt => doubt,
        };
    }
}
