//! Whether, and how many, flows are tracked.

use super::{Difference, Step};
use narrows_stack::request::Request;

pub(super) fn changed(difference: &Difference<'_>) -> Option<Step> {
    let config = difference.new.conntrack.clone();
    let says = match config.always {
        true => "conntrack: flows are tracked, with new limits and times".to_owned(),
        false => "conntrack: flows are tracked as rules ask for it".to_owned(),
    };
    let is_new = difference.old.conntrack != config;
    is_new.then(|| {
        Step::ask(says, move |_| Ok(vec![Request::SetConntrack { config: config.clone() }]))
    })
}
