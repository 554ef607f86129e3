//! Frames from devices, one by one or in bursts.

use super::Shard;
use crate::{
    counters::Place,
    layer::{self, forward::Span},
    table::{burst::Candidate, egress::Frame, interface::InterfaceId},
    time::Instant,
};
use narrows_wire::offload::{RxOffload, TxOffload};

impl Shard {
    /// One frame from a device.
    pub fn receive(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &[u8],
        offload: RxOffload,
    ) {
        self.begin(now, Place::at(interface));
        self.counters.frames_received += 1;
        self.counters.bytes_received += frame.len() as u64;
        if self.watchers.is_some() {
            layer::watch::depart(self, interface, frame, offload);
        }
        let result =
            layer::inspect::taken(layer::link::input(self, now, interface, frame, offload));
        if self.watchers.is_some() {
            layer::watch::arrive(self, interface, frame, offload, result);
        }
        if let Err(reason) = result {
            self.counters.drop(reason);
            if let Some(link) = self.links.get_mut(interface) {
                link.traffic.rx_dropped += 1;
            }
        }
    }

    /// As [`Shard::receive`]; a frame that is only passed on to another device is given to `pass`, from
    /// where it is: the interface, what the device has to do, new headers, and what is behind them. False:
    /// that device has no room now, and the frame waits for its turn.
    pub fn receive_and_pass(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &[u8],
        offload: RxOffload,
        pass: impl FnOnce(InterfaceId, TxOffload, &[u8], &[u8]) -> bool,
    ) {
        self.span = Some(Span::of(frame));
        self.receive(now, interface, frame, offload);
        self.span = None;
        let Some(onward) = self.onward.take() else { return };
        let (interface, offload, headers) = (onward.interface, onward.offload, onward.headers());
        let payload = frame.get(onward.payload.clone()).unwrap_or_default();
        if !pass(interface, offload, headers, payload) {
            let frame = Frame { bytes: [headers, payload].concat(), offload };
            if let Err(reason) = self.egress.push(interface, frame) {
                self.drop(reason);
            }
            return;
        }
        let len = headers.len() + payload.len();
        self.count_sent(len);
        if let Some(link) = self.links.get_mut(interface) {
            link.traffic.sent(1, len as u64);
        }
    }

    /// As [`Shard::receive_and_pass`], of a frame behind which others may wait: TCP segments that continue
    /// each other are received as one, when something else comes or [`Shard::end_burst`] is called, which
    /// has to be done behind the last.
    pub fn receive_in_burst(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &[u8],
        offload: RxOffload,
        mut pass: impl FnMut(InterfaceId, TxOffload, &[u8], &[u8]) -> bool,
    ) {
        let Some(candidate) = Candidate::of(frame, offload) else {
            self.end_burst(now, &mut pass);
            return self.receive_and_pass(now, interface, frame, offload, pass);
        };
        if self.burst.append(interface, &candidate) {
            self.counters.frames_merged += 1;
        } else {
            self.end_burst(now, &mut pass);
            self.burst.begin(interface, &candidate);
        }
        if self.burst.is_complete() {
            self.end_burst(now, pass);
        }
    }

    /// No frame of the burst is left: what was held back is received.
    pub fn end_burst(
        &mut self,
        now: Instant,
        pass: impl FnOnce(InterfaceId, TxOffload, &[u8], &[u8]) -> bool,
    ) {
        let Some((interface, frame, offload)) = self.burst.take() else { return };
        self.receive_and_pass(now, interface, &frame, offload, pass);
        self.burst.reuse(frame);
    }
}
