//! Netlink's messages (netlink(7)): requests taken apart, answers put together. All numbers are in
//! the machine's byte order, and everything begins at a multiple of four bytes.

use rustix::io::Errno;

/// `sizeof(struct nlmsghdr)`: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// `sizeof(struct nlattr)`: length, type.
const ATTRIBUTE: usize = 4;
/// Bits of an attribute's type that say something else.
const ATTRIBUTE_TYPE: u16 = !(libc::NLA_F_NESTED | libc::NLA_F_NET_BYTEORDER) as u16;

/// Of messages with an error: what was sent is not repeated, and attributes follow.
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Bytes of a datagram of several messages: programs read with buffers of a page or more.
const PIECE: usize = 3_584;

/// One request of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// The header as it came, for an error to repeat.
    header: &'a [u8],
    pub body: &'a [u8],
}

impl Request<'_> {
    pub fn has(&self, flags: i32) -> bool {
        i32::from(self.flags) & flags == flags
    }

    /// Asks for all there is. `NLM_F_DUMP` is two flags.
    pub fn is_dump(&self) -> bool {
        i32::from(self.flags) & libc::NLM_F_DUMP != 0
    }
}

/// The messages of a datagram; as in the kernel, what is cut off ends it.
pub fn requests(mut bytes: &[u8]) -> Vec<Request<'_>> {
    let mut requests = Vec::new();
    while let Some((header, _)) = bytes.split_at_checked(HEADER) {
        let len = number(header, 0) as usize;
        let Some((_, body)) = bytes.get(..len).and_then(|whole| whole.split_at_checked(HEADER))
        else {
            break;
        };
        let half = |at: usize| u16::from_ne_bytes([byte(header, at), byte(header, at + 1)]);
        let (kind, flags, sequence) = (half(4), half(6), number(header, 8));
        requests.push(Request { kind, flags, sequence, header, body });
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
    }
    requests
}

/// Type and contents of the attributes that follow `fixed` bytes of a body.
pub fn attributes(body: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(aligned(fixed)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, _) = rest.split_first_chunk::<ATTRIBUTE>()?;
        let [l0, l1, k0, k1] = *header;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(ATTRIBUTE..len)?;
        rest = rest.get(aligned(len)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & ATTRIBUTE_TYPE, value))
    })
}

/// The byte at an offset; what is missing counts as zero, as the kernel takes short headers.
pub fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// The number of four bytes at an offset.
pub fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([0, 1, 2, 3].map(|offset| byte(bytes, at.saturating_add(offset))))
}

/// Text up to a NUL.
pub fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()
}

fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

/// One message under construction: a body of fixed size, then attributes.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub fn new(kind: u16, body: &[u8]) -> Self {
        let mut message = Self { bytes: vec![0; HEADER] };
        message.place(4, &kind.to_ne_bytes());
        message.append(body);
        message
    }

    fn place(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.append(value);
    }

    pub fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    pub fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// An attribute of attributes.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.attribute(kind, &[]);
        fill(self);
        let len = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.place(start, &len.to_ne_bytes());
    }

    /// Raw bytes inside a nested attribute, which begin at a multiple of four.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.append(bytes);
    }

    /// The message as an answer to `request`, for the socket of that port.
    fn seal(mut self, request: &Request<'_>, flags: u16, port: u32) -> Vec<u8> {
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.place(0, &len.to_ne_bytes());
        self.place(6, &flags.to_ne_bytes());
        self.place(8, &request.sequence.to_ne_bytes());
        self.place(12, &port.to_ne_bytes());
        self.bytes
    }
}

/// All that there is, in datagrams of a few messages each, and the end of it. Of what is longer than
/// `limit` bytes the rest is left out, and the end says so.
pub fn dump(
    request: &Request<'_>,
    messages: Vec<Message>,
    port: u32,
    limit: usize,
) -> Vec<Vec<u8>> {
    let multi = libc::NLM_F_MULTI as u16;
    let (mut pieces, mut piece, mut total) = (Vec::new(), Vec::new(), 0);
    let mut outcome = 0;
    for message in messages {
        let bytes = message.seal(request, multi, port);
        total += bytes.len();
        if total > limit {
            outcome = -Errno::NOBUFS.raw_os_error();
            break;
        }
        if piece.len() + bytes.len() > PIECE && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.extend(bytes);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    let done = Message::new(libc::NLMSG_DONE as u16, &i32::to_ne_bytes(outcome));
    pieces.push(done.seal(request, multi, port));
    pieces
}

pub fn one(request: &Request<'_>, message: Message, port: u32) -> Vec<u8> {
    message.seal(request, 0, port)
}

/// Why not, or with `None` that it was done; `hint`: words for the user.
pub fn outcome(request: &Request<'_>, error: Option<Errno>, hint: &str, port: u32) -> Vec<u8> {
    let number = -error.map_or(0, Errno::raw_os_error);
    let body = [&number.to_ne_bytes()[..], request.header].concat();
    let mut message = Message::new(libc::NLMSG_ERROR as u16, &body);
    let mut flags = NLM_F_CAPPED;
    if !hint.is_empty() {
        message.text(NLMSGERR_ATTR_MSG, hint);
        flags |= NLM_F_ACK_TLVS;
    }
    message.seal(request, flags, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: u16, flags: i32, body: &[u8]) -> Vec<u8> {
        let message = Message::new(kind, body);
        let asked = Request { kind, flags: 0, sequence: 7, header: &[], body: &[] };
        message.seal(&asked, flags as u16, 0)
    }

    #[test]
    fn a_datagram_may_hold_several_requests() {
        let mut bytes = request(18, libc::NLM_F_DUMP, &[1, 2, 3]);
        bytes.extend(request(22, libc::NLM_F_ACK, &[]));
        let found = requests(&bytes);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, found[0].sequence, found[0].body), (18, 7, &[1, 2, 3, 0][..]));
        assert!(found[0].is_dump() && !found[1].is_dump());
        assert!(found[1].has(libc::NLM_F_ACK) && found[1].body.is_empty());
    }

    #[test]
    fn lengths_that_lie_end_the_datagram() {
        let good = request(18, 0, &[]);
        for len in [0_u32, 15, 17, u32::MAX] {
            let mut bytes = good.clone();
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(requests(&bytes), [], "{len}");
        }
        assert_eq!(requests(&good[..15]), []);
        for value in [[0, 0, 1, 0], [3, 0, 1, 0], [5, 0, 1, 0], [255, 255, 1, 0]] {
            assert_eq!(attributes(&value, 0).count(), 0, "{value:?}");
        }
    }

    #[test]
    fn attributes_are_found_again() {
        let mut message = Message::new(16, &[9; 6]);
        message.text(3, "lan");
        message.nested(18, |inner| {
            inner.text(1, "vlan");
            inner.number(2, 70_000);
        });
        let bytes = one(&requests(&request(18, 0, &[]))[0], message, 5);
        let whole = requests(&bytes)[0];
        let found: Vec<_> = attributes(whole.body, 6).collect();
        assert_eq!(found[0], (3, &b"lan\0"[..]));
        let inner: Vec<_> = attributes(found[1].1, 0).collect();
        assert_eq!(inner[0], (1, &b"vlan\0"[..]));
        assert_eq!((inner[1].0, number(inner[1].1, 0)), (2, 70_000));
    }

    #[test]
    fn a_dump_is_cut_into_pieces_and_ends_with_how_it_went() {
        let asked = request(18, libc::NLM_F_DUMP, &[]);
        let asked = requests(&asked)[0];
        let rows = || (0..100).map(|_| Message::new(16, &[0; 84])).collect::<Vec<_>>();
        let pieces = dump(&asked, rows(), 5, usize::MAX);
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
        let all: Vec<_> = pieces.iter().flat_map(|piece| requests(piece)).collect();
        assert_eq!(all.len(), 101);
        assert!(all.iter().all(|row| row.has(libc::NLM_F_MULTI) && row.sequence == 7));
        let end = |pieces: &[Vec<u8>]| {
            let last = pieces.last().expect("an end");
            let last = requests(last)[0];
            (i32::from(last.kind), number(last.body, 0).cast_signed())
        };
        assert_eq!(end(&pieces), (libc::NLMSG_DONE, 0));
        let cut = dump(&asked, rows(), 5, 1000);
        assert_eq!(cut.iter().map(|piece| requests(piece).len()).sum::<usize>(), 11);
        assert_eq!(end(&cut), (libc::NLMSG_DONE, -libc::ENOBUFS));
    }

    #[test]
    fn an_error_repeats_the_header_and_says_why() {
        let asked = request(16, libc::NLM_F_ACK, &[1; 16]);
        let bytes = outcome(&requests(&asked)[0], Some(Errno::PERM), "no", 5);
        let error = requests(&bytes)[0];
        assert_eq!(i32::from(error.kind), libc::NLMSG_ERROR);
        assert_eq!(number(error.body, 0).cast_signed(), -libc::EPERM);
        assert_eq!(error.body[4..20], asked[..16]);
        assert_eq!(attributes(error.body, 20).next(), Some((1, &b"no\0"[..])));
    }
}
