//! nfnetlink messages as bytes: lengths in the machine's order, values in the network's.

use super::{Condition, Field, Header};
use std::io;

// linux/netlink.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLMSG_ERROR: u16 = 2;
const NLMSG_HEADER: usize = 16;
const NLA_F_NESTED: u16 = 1 << 15;

// linux/netfilter/nfnetlink.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_NETDEV: u8 = 5;

// linux/netfilter/nf_tables.h
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFT_TABLE_F_OWNER: u32 = 2;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_HOOK_DEV: u16 = 3;
const NF_NETDEV_INGRESS: u32 = 0;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFT_PAYLOAD_LL_HEADER: u32 = 0;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;

const CHAIN: &str = "ingress";

/// One step of a rule.
pub enum Expression {
    /// Goes on only if it holds.
    Check(Condition),
    /// Ends with the frame dropped.
    Drop,
}

/// Messages that take effect together.
pub struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    /// Messages that asked for an acknowledgement.
    acknowledged: usize,
}

impl Batch {
    pub fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), sequence: 0, acknowledged: 0 };
        batch.edge(NFNL_MSG_BATCH_BEGIN);
        batch
    }

    /// A new table that its socket owns.
    pub fn table(&mut self, name: &str) {
        self.message(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, |body| {
            put_text(body, NFTA_TABLE_NAME, name);
            put_u32(body, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
        });
    }

    /// The table's chain at the ingress of `interface`, which lets pass what no rule drops.
    pub fn ingress_chain(&mut self, table: &str, interface: &str, priority: i32) {
        self.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, |body| {
            put_text(body, NFTA_CHAIN_TABLE, table);
            put_text(body, NFTA_CHAIN_NAME, CHAIN);
            put_text(body, NFTA_CHAIN_TYPE, "filter");
            put_u32(body, NFTA_CHAIN_POLICY, NF_ACCEPT);
            nest(body, NFTA_CHAIN_HOOK, |hook| {
                put_u32(hook, NFTA_HOOK_HOOKNUM, NF_NETDEV_INGRESS);
                put(hook, NFTA_HOOK_PRIORITY, &priority.to_be_bytes());
                put_text(hook, NFTA_HOOK_DEV, interface);
            });
        });
    }

    /// A rule at the end of the table's chain.
    pub fn rule(&mut self, table: &str, expressions: impl Iterator<Item = Expression>) {
        self.message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |body| {
            put_text(body, NFTA_RULE_TABLE, table);
            put_text(body, NFTA_RULE_CHAIN, CHAIN);
            nest(body, NFTA_RULE_EXPRESSIONS, |list| {
                for expression in expressions {
                    match expression {
                        Expression::Check(Condition::Equal(field)) => {
                            put_compare(list, &field, NFT_CMP_EQ);
                        }
                        Expression::Check(Condition::Different(field)) => {
                            put_compare(list, &field, NFT_CMP_NEQ);
                        }
                        Expression::Drop => put_drop(list),
                    }
                }
            });
        });
    }

    /// The bytes to send, and how many answers will come unless one is an error.
    pub fn finish(mut self) -> (Vec<u8>, usize) {
        self.edge(NFNL_MSG_BATCH_END);
        (self.bytes, self.acknowledged)
    }

    fn edge(&mut self, kind: u16) {
        let header = [NFPROTO_UNSPEC, 0];
        self.append(kind, NLM_F_REQUEST, header, NFNL_SUBSYS_NFTABLES, |_| ());
    }

    fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Vec<u8>)) {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        self.acknowledged += 1;
        self.append(kind, NLM_F_REQUEST | NLM_F_ACK | flags, [NFPROTO_NETDEV, 0], 0, body);
    }

    /// `struct nlmsghdr`, then `struct nfgenmsg` (family, version, resource), then attributes.
    fn append(
        &mut self,
        kind: u16,
        flags: u16,
        family_version: [u8; 2],
        resource: u16,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(family_version);
        self.bytes.extend(resource.to_be_bytes());
        body(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.sequence += 1;
    }
}

fn put_compare(list: &mut Vec<u8>, field: &Field, operation: u32) {
    let base = match field.header {
        Header::Link => NFT_PAYLOAD_LL_HEADER,
        Header::Network => NFT_PAYLOAD_NETWORK_HEADER,
    };
    put_expression(list, "payload", |data| {
        put_u32(data, NFTA_PAYLOAD_DREG, NFT_REG_1);
        put_u32(data, NFTA_PAYLOAD_BASE, base);
        put_u32(data, NFTA_PAYLOAD_OFFSET, field.offset);
        put_u32(data, NFTA_PAYLOAD_LEN, field.value.len() as u32);
    });
    put_expression(list, "cmp", |data| {
        put_u32(data, NFTA_CMP_SREG, NFT_REG_1);
        put_u32(data, NFTA_CMP_OP, operation);
        nest(data, NFTA_CMP_DATA, |value| put(value, NFTA_DATA_VALUE, &field.value));
    });
}

fn put_drop(list: &mut Vec<u8>) {
    put_expression(list, "immediate", |data| {
        put_u32(data, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
        nest(data, NFTA_IMMEDIATE_DATA, |value| {
            nest(value, NFTA_DATA_VERDICT, |verdict| {
                put_u32(verdict, NFTA_VERDICT_CODE, NF_DROP);
            });
        });
    });
}

fn put_expression(list: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
    nest(list, NFTA_LIST_ELEM, |element| {
        put_text(element, NFTA_EXPR_NAME, name);
        nest(element, NFTA_EXPR_DATA, data);
    });
}

/// `struct nlattr` and its value, padded to four bytes.
fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let start = body.len();
    body.extend([0; 2]);
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    close(body, start);
}

fn put_u32(body: &mut Vec<u8>, kind: u16, value: u32) {
    put(body, kind, &value.to_be_bytes());
}

fn put_text(body: &mut Vec<u8>, kind: u16, text: &str) {
    let start = body.len();
    body.extend([0; 2]);
    body.extend(kind.to_ne_bytes());
    body.extend(text.bytes());
    body.push(0);
    close(body, start);
}

fn nest(body: &mut Vec<u8>, kind: u16, inside: impl FnOnce(&mut Vec<u8>)) {
    let start = body.len();
    body.extend([0; 2]);
    body.extend((kind | NLA_F_NESTED).to_ne_bytes());
    inside(body);
    close(body, start);
}

/// Writes the length of the attribute that begins at `start` and ends here, and pads it.
fn close(body: &mut Vec<u8>, start: usize) {
    let length = (body.len() - start) as u16;
    body[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Counts the acknowledgements in what the kernel sent; the first error among them is the result.
pub fn read_answers(mut bytes: &[u8]) -> io::Result<usize> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut answers = 0;
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize;
        let (kind, _) = rest.split_first_chunk::<2>().ok_or_else(malformed)?;
        if length < NLMSG_HEADER {
            return Err(malformed());
        }
        let body = bytes.get(NLMSG_HEADER..length).ok_or_else(malformed)?;
        if u16::from_ne_bytes(*kind) == NLMSG_ERROR {
            // struct nlmsgerr: a negative errno, or 0 for "done"; then the message it is about.
            let (code, _) = body.split_first_chunk::<4>().ok_or_else(malformed)?;
            match i32::from_ne_bytes(*code) {
                0 => answers += 1,
                code => return Err(io::Error::from_raw_os_error(code.saturating_neg())),
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(36_u32.to_ne_bytes());
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.resize(NLMSG_HEADER, 0);
        bytes.extend(code.to_ne_bytes());
        bytes.resize(36, 0);
        bytes
    }

    #[test]
    fn counts_acknowledgements() {
        assert_eq!(read_answers(&[]).expect("nothing"), 0);
        assert_eq!(read_answers(&[answer(0), answer(0)].concat()).expect("two"), 2);
    }

    #[test]
    fn the_first_error_is_the_result() {
        let bytes = [answer(0), answer(-libc::EPERM), answer(-libc::ENOENT)].concat();
        let error = read_answers(&bytes).expect_err("EPERM");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn any_bytes_give_a_result() {
        let whole = answer(0);
        for length in 1..whole.len() {
            let _ = read_answers(&whole[..length]);
        }
        assert!(read_answers(&[0; 16]).is_err(), "a length under the header's own");
        assert!(read_answers(&[0xff; 64]).is_err(), "a length beyond the end");
        assert!(read_answers(&answer(i32::MIN)).is_err());
    }

    #[test]
    fn attributes_are_padded_but_say_their_own_length() {
        let mut body = Vec::new();
        put_text(&mut body, 7, "ab");
        let expected = [&7_u16.to_ne_bytes()[..], &7_u16.to_ne_bytes(), b"ab\0\0"].concat();
        assert_eq!(body, expected);
    }
}
