//! Frames that were taken and have not left.

use narrows_wire::offload::{TxOffload, VNET_HEADER_LEN};

/// Frames in the order they were taken, each led by its vnet header, in one stretch of memory that
/// is reused.
#[derive(Default)]
pub struct Queue {
    bytes: Vec<u8>,
    /// Where each frame ends in `bytes`.
    ends: Vec<usize>,
    /// Frames at the front that have left.
    left: usize,
}

impl Queue {
    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.ends.len() - self.left
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        let payload_len: usize = payload.iter().map(|part| part.len()).sum();
        self.bytes.reserve(VNET_HEADER_LEN + header.len() + payload_len);
        self.bytes.extend_from_slice(&offload.to_vnet());
        self.bytes.extend_from_slice(header);
        for part in payload {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// The frames that wait, first one first.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let last_left = self.left.checked_sub(1).and_then(|index| self.ends.get(index));
        let mut start = last_left.copied().unwrap_or(0);
        self.ends.iter().skip(self.left).map(move |&end| {
            let frame = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            frame
        })
    }

    /// The first of the frames that wait.
    pub fn first(&self) -> Option<&[u8]> {
        self.frames().next()
    }

    /// The first `count` frames have left.
    pub fn remove(&mut self, count: usize) {
        self.left += count;
        if self.left >= self.ends.len() {
            self.bytes.clear();
            self.ends.clear();
            self.left = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(queue: &Queue) -> Vec<String> {
        let text = |frame: &[u8]| String::from_utf8_lossy(&frame[VNET_HEADER_LEN..]).into_owned();
        queue.frames().map(text).collect()
    }

    #[test]
    fn frames_leave_in_the_order_they_came() {
        let mut queue = Queue::default();
        for (header, payload) in [("a", ["b", "c"]), ("d", ["", ""]), ("", ["e", "f"])] {
            let payload = payload.map(str::as_bytes);
            queue.push(TxOffload::default(), header.as_bytes(), payload);
        }
        assert_eq!(texts(&queue), ["abc", "d", "ef"]);
        queue.remove(1);
        assert_eq!((queue.len(), texts(&queue)), (2, vec!["d".into(), "ef".into()]));
        queue.push(TxOffload::default(), b"g", [b"", b""]);
        queue.remove(2);
        assert_eq!(texts(&queue), ["g"]);
        queue.remove(1);
        assert!(queue.is_empty() && texts(&queue).is_empty() && queue.bytes.is_empty());
    }
}
