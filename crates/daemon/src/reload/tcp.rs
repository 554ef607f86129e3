//! What new TCP sockets start with; those that are there keep what they have.

use super::{Difference, Step};
use narrows_stack::request::Request;

pub(super) fn changed(difference: &Difference<'_>) -> Option<Step> {
    let algorithm = difference.new.tcp.congestion;
    let says = format!("tcp: congestion control of new sockets is {}", algorithm.name());
    let step = Step::ask(says, move |_| Ok(vec![Request::SetCongestion { algorithm }]));
    (difference.old.tcp.congestion != algorithm).then_some(step)
}
