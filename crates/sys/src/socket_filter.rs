//! Socket filters in classic BPF (Documentation/networking/filter.rst): what a socket does not take
//! is never queued on it.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd},
};

/// One instruction. Offsets count from the start of the frame.
#[derive(Clone, Copy)]
pub struct Instruction(libc::sock_filter);

/// What the kernel knows of a frame beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// To whom the frame is addressed: one of [`packet_type`].
    PacketType,
    /// 1 if the frame came with a VLAN tag, which is no longer among its bytes; else 0.
    VlanTagPresent,
    /// That tag's control information: priority and VLAN.
    VlanTag,
}

/// Values of [`Extension::PacketType`] (packet(7)).
pub mod packet_type {
    pub const BROADCAST: u32 = libc::PACKET_BROADCAST as u32;
    pub const MULTICAST: u32 = libc::PACKET_MULTICAST as u32;
}

impl Instruction {
    /// Loads two bytes. A frame that ends before is not taken.
    pub const fn load_half(offset: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, offset)
    }

    /// Loads four bytes. A frame that ends before is not taken.
    pub const fn load_word(offset: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
    }

    /// Loads what the kernel knows.
    pub const fn load_extension(extension: Extension) -> Self {
        let number = match extension {
            Extension::PacketType => libc::SKF_AD_PKTTYPE,
            Extension::VlanTagPresent => libc::SKF_AD_VLAN_TAG_PRESENT,
            Extension::VlanTag => libc::SKF_AD_VLAN_TAG,
        };
        Self::load_word((libc::SKF_AD_OFF + number) as u32)
    }

    /// Skips the next instruction unless what was loaded last has that value.
    pub const fn if_equal(value: u32) -> Self {
        Self(libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: value })
    }

    /// Skips the next instruction if what was loaded last has that value.
    pub const fn unless_equal(value: u32) -> Self {
        Self(libc::sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: value })
    }

    /// Keeps of what was loaded last only these bits.
    pub const fn and(mask: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask)
    }

    /// Skips that many instructions.
    pub const fn skip(count: u32) -> Self {
        Self::new(libc::BPF_JMP | libc::BPF_JA, count)
    }

    /// Takes the frame, all of it.
    pub const fn take() -> Self {
        Self::new(libc::BPF_RET | libc::BPF_K, u32::MAX)
    }

    /// Does not take the frame.
    pub const fn refuse() -> Self {
        Self::new(libc::BPF_RET | libc::BPF_K, 0)
    }

    const fn new(code: u32, k: u32) -> Self {
        Self(libc::sock_filter { code: code as u16, jt: 0, jf: 0, k })
    }
}

const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;

/// The longest program (BPF_MAXINSNS).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Gives the socket a filter in place of the one it may have. The kernel refuses a program that does
/// not end with a verdict on every path.
pub fn attach(socket: impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let mut program: Vec<_> = program.iter().map(|instruction| instruction.0).collect();
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: `filter` is a valid sock_fprog; it points to `length` instructions, which the kernel
    // copies during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_socket_takes_what_its_filter_takes() {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        near.set_nonblocking(true).expect("fcntl");
        let program = [
            Instruction::load_half(1),
            Instruction::and(0xff5f),
            Instruction::unless_equal(0x6243),
            Instruction::refuse(),
            Instruction::skip(1),
            Instruction::refuse(),
            Instruction::load_half(0),
            Instruction::if_equal(0x6162),
            Instruction::take(),
            Instruction::refuse(),
        ];
        attach(&near, &program).expect("attach");
        for (message, taken) in
            [("abc", true), ("abd", false), ("ab", false), ("xbc", false), ("abcde", true)]
        {
            // One that is not taken is an error of some kernels' Unix sockets, and lost in others.
            let _ = far.send(message.as_bytes());
            let mut buffer = [0; 8];
            let received = near.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec());
            assert_eq!(received, taken.then(|| message.as_bytes().to_vec()), "{message}");
        }
    }

    #[test]
    fn a_program_without_a_verdict_is_refused() {
        let (near, _far) = UnixDatagram::pair().expect("socketpair");
        for program in [&[][..], &[Instruction::load_half(0)]] {
            let error = attach(&near, program).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
