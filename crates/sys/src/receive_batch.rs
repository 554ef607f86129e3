//! recvmmsg(2) into buffers that are made once.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
    ptr,
};

/// The most messages one call receives.
pub const MAX_MESSAGES: usize = 64;

/// Buffers for a number of messages, and the messages of the last call.
pub struct ReceiveBatch {
    /// `capacity` buffers of `buffer_len`, one after the other.
    memory: Vec<u8>,
    buffer_len: usize,
    /// Of the messages in the first buffers: length, and whether it was longer than the buffer.
    messages: Vec<(usize, bool)>,
}

/// One message as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What fitted into the buffer.
    pub bytes: &'a [u8],
    /// There was more, and it is lost.
    pub truncated: bool,
}

impl ReceiveBatch {
    /// Buffers for `capacity` messages (at most [`MAX_MESSAGES`]) of up to `buffer_len` bytes each.
    pub fn new(capacity: usize, buffer_len: usize) -> Self {
        let capacity = capacity.clamp(1, MAX_MESSAGES);
        let buffer_len = buffer_len.max(1);
        Self {
            memory: vec![0; capacity * buffer_len],
            buffer_len,
            messages: Vec::with_capacity(capacity),
        }
    }

    /// How many messages one call can receive.
    pub fn capacity(&self) -> usize {
        self.memory.len() / self.buffer_len
    }

    /// Receives at most `limit` messages, without blocking; none is an error of the kind
    /// `WouldBlock`. What the last call received is gone.
    pub fn receive(&mut self, socket: impl AsFd, limit: usize) -> io::Result<()> {
        self.messages.clear();
        let count = limit.min(self.capacity());
        let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; MAX_MESSAGES];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MAX_MESSAGES];
        let buffers = self.memory.chunks_exact_mut(self.buffer_len);
        for ((vector, header), buffer) in
            vectors.iter_mut().zip(&mut headers).zip(buffers.take(count))
        {
            let vector = vector
                .write(libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() });
            // SAFETY: all zeros is a valid mmsghdr: null pointers, zero lengths.
            let header = header.write(unsafe { std::mem::zeroed() });
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the first `count` headers are initialised above, each with an iovec that spans one
        // whole buffer of `memory`, which is borrowed mutably until the end of this function.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr().cast(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        self.messages.extend(headers.iter().take(received.min(count)).map(|header| {
            // SAFETY: `received` is at most `count`, and these were initialised above.
            let header = unsafe { header.assume_init_ref() };
            (header.msg_len as usize, header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0)
        }));
        Ok(())
    }

    /// The messages of the last call, in the order of their arrival.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        self.messages.iter().zip(self.memory.chunks_exact(self.buffer_len)).map(
            |(&(length, truncated), buffer)| Message {
                bytes: buffer.get(..length).unwrap_or(buffer),
                truncated,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn received(batch: &ReceiveBatch) -> Vec<(Vec<u8>, bool)> {
        batch.messages().map(|message| (message.bytes.to_vec(), message.truncated)).collect()
    }

    #[test]
    fn receives_in_order_and_reuses_its_buffers() {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        let mut batch = ReceiveBatch::new(3, 4);
        for messages in [&["a", "bcd", "", "efgh"][..], &["ij"]] {
            for message in messages {
                far.send(message.as_bytes()).expect("send");
            }
            for part in messages.chunks(3) {
                batch.receive(&near, 99).expect("receive");
                let expected: Vec<_> =
                    part.iter().map(|message| (message.as_bytes().to_vec(), false)).collect();
                assert_eq!(received(&batch), expected);
            }
        }
        let error = batch.receive(&near, 3).expect_err("nothing there");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(received(&batch), []);
    }

    #[test]
    fn keeps_to_the_limit_and_tells_of_truncation() {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        let mut batch = ReceiveBatch::new(8, 4);
        for message in ["12345", "6"] {
            far.send(message.as_bytes()).expect("send");
        }
        batch.receive(&near, 1).expect("receive");
        assert_eq!(received(&batch), [(b"1234".to_vec(), true)]);
        batch.receive(&near, 1).expect("receive");
        assert_eq!(received(&batch), [(b"6".to_vec(), false)]);
    }
}
