//! The zone of each interface, so that a route by it is looked up for who is admitted there alone.

use crate::table::{interface::InterfaceId, zone::ZoneId};

/// By interface number; those past the end are in `public`.
#[derive(Clone, Debug, Default)]
pub(super) struct ZoneMap(Vec<ZoneId>);

impl ZoneMap {
    pub(super) fn is_single(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of(&self, interface: InterfaceId) -> ZoneId {
        self.0.get(usize::from(interface.0)).copied().unwrap_or(ZoneId::PUBLIC)
    }

    pub(super) fn set(&mut self, interface: InterfaceId, zone: ZoneId) {
        let index = usize::from(interface.0);
        if self.0.len() <= index {
            self.0.resize(index + 1, ZoneId::PUBLIC);
        }
        if let Some(place) = self.0.get_mut(index) {
            *place = zone;
        }
    }
}
