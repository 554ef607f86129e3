//! What new TCP sockets start with; those that are there keep what they have.

use super::{Difference, Step};
use narrows_stack::request::Request;

pub(super) fn changed(difference: &Difference<'_>) -> Option<Step> {
    let defaults = difference.new.tcp;
    let algorithm = defaults.congestion.name();
    let says = format!("tcp: new sockets have {algorithm}, and what else [tcp] says");
    let step = Step::ask(says, move |_| Ok(vec![Request::SetTcpDefaults { defaults }]));
    (difference.old.tcp != defaults).then_some(step)
}
