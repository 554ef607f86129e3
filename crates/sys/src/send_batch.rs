//! sendmmsg(2) of whole messages.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
};

/// The most messages one call sends.
pub const MAX_MESSAGES: usize = 64;

/// Sends messages in order, without blocking, until one does not go; at most [`MAX_MESSAGES`]. How
/// many went, or the error of the first if none did.
pub fn send<'a>(
    socket: impl AsFd,
    messages: impl IntoIterator<Item = &'a [u8]>,
) -> io::Result<usize> {
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; MAX_MESSAGES];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MAX_MESSAGES];
    let mut count = 0;
    for ((vector, header), message) in vectors.iter_mut().zip(&mut headers).zip(messages) {
        let vector = vector.write(libc::iovec {
            iov_base: message.as_ptr().cast_mut().cast(),
            iov_len: message.len(),
        });
        // SAFETY: all zeros is a valid mmsghdr: null pointers, zero lengths.
        let header = header.write(unsafe { std::mem::zeroed() });
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers are initialised above, each with an iovec that spans one
    // message, which is borrowed until the end of this function; sendmmsg only reads messages.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn sends_in_order_until_one_does_not_fit() {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        // More than the socket's buffer holds: a connected pair counts bytes, not datagrams.
        let messages: Vec<[u8; 2]> = (0..5000_u16).map(u16::to_be_bytes).collect();
        let mut sent = 0;
        let error = loop {
            match send(&near, messages[sent..].iter().map(<[u8; 2]>::as_slice)) {
                Ok(count) => sent += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(sent > 0);
        let mut buffer = [0; 8];
        for message in &messages[..sent] {
            let length = far.recv(&mut buffer).expect("receive");
            assert_eq!(&buffer[..length], message);
        }
    }

    #[test]
    fn takes_no_more_than_it_can() {
        let (near, _far) = UnixDatagram::pair().expect("socketpair");
        let sent = send(&near, std::iter::repeat_n(&b"x"[..], 1000)).expect("send");
        assert!((1..=MAX_MESSAGES).contains(&sent));
    }
}
