//! Programs that decide about packets.

use super::Shard;
use crate::{
    Instant,
    filter::Hook,
    layer::inspect,
    request::Principal,
    table::{
        inspector::{Answer, InspectorId, Inspectors, Lie, Source, Tally, Terms},
        interface::InterfaceId,
    },
};

/// A packet for an inspector to decide about.
#[derive(Clone, Copy, Debug)]
pub struct Inspection<'a> {
    /// To be named in the answer.
    pub packet: u64,
    pub hook: Hook,
    pub source: Source,
    pub input: Option<InterfaceId>,
    pub output: Option<InterfaceId>,
    /// Whose socket sent it, if it is this host's.
    pub user: Option<u32>,
    pub mark: u32,
    pub seen: Instant,
    /// From its IPv4 header on; what does not fit into the inspector's `snap` is left out.
    pub bytes: &'a [u8],
    /// Of the whole.
    pub length: usize,
    /// It is several segments in one, each but the last with so many bytes of data.
    pub segment_size: Option<u16>,
    /// Its transport's checksum is for a device to complete.
    pub partial: bool,
}

/// An inspector, as reports show it.
#[derive(Clone, Debug)]
pub struct Inspecting {
    pub id: InspectorId,
    pub principal: Principal,
    pub terms: Terms,
    pub tally: Tally,
    /// Packets that wait for its answers, and their bytes.
    pub waiting: (usize, usize),
}

impl Shard {
    /// Somebody decides about packets from now on; `None`: as many do as can.
    pub fn inspect(&mut self, principal: Principal, terms: Terms) -> Option<InspectorId> {
        if self.inspectors.is_none() {
            self.inspectors = Some(Box::new(Inspectors::new(self.random.key())));
        }
        self.inspectors.as_mut()?.attach(principal, terms)
    }

    /// An inspector is gone; what waits for it goes on or is dropped, as its terms say.
    pub fn end_inspector(&mut self, now: Instant, id: InspectorId) {
        inspect::detach(self, now, id);
    }

    /// Gives the next packet that an inspector was not told of to `tell`, which says whether it was told; if
    /// not, it is the next again. False: there is none.
    pub fn tell_inspector(
        &mut self,
        id: InspectorId,
        tell: impl FnOnce(Inspection<'_>) -> bool,
    ) -> bool {
        let Some(member) = self.inspectors.as_mut().and_then(|all| all.get_mut(id)) else {
            return false;
        };
        let snap = member.terms.snap;
        let Some((packet, parked)) = member.poll() else { return false };
        if !tell(inspect::show(packet, parked, snap)) {
            member.untell(packet);
            return false;
        }
        true
    }

    /// What an inspector says of a packet, and the bytes that the packet is to have from now on.
    pub fn answer_inspection(
        &mut self,
        now: Instant,
        id: InspectorId,
        packet: u64,
        answer: Answer,
        bytes: Option<&[u8]>,
    ) -> Result<(), Lie> {
        inspect::answer(self, now, id, packet, answer, bytes)
    }

    /// An answer that was none.
    pub fn note_lie(&mut self, id: InspectorId) {
        if let Some(member) = self.inspectors.as_mut().and_then(|all| all.get_mut(id)) {
            member.tally.lies += 1;
        }
    }

    pub fn inspectors(&self) -> Vec<Inspecting> {
        let all = self.inspectors.iter().flat_map(|all| all.iter());
        let row =
            |(id, member): (InspectorId, &crate::table::inspector::Inspector<_>)| Inspecting {
                id,
                principal: member.principal,
                terms: member.terms.clone(),
                tally: member.tally,
                waiting: member.waiting(),
            };
        all.map(row).collect()
    }
}
