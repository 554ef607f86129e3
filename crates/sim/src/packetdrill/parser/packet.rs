//! Packets: `[ect0] S. 0:0(0) ack 1 win 65535 <mss 1460,nop,wscale 8>`, `icmp …`, `udp (10)`.

use super::Parser;
use crate::packetdrill::{
    Fault,
    lexer::Token,
    script::{Body, Cookie, IcmpPacket, IpInfo, Packet, TcpOption, TcpOptions, TcpPacket, flag},
    tcp_options::counter_names,
};
use narrows_wire::icmpv4::Unreachable;

/// ICMP's types that scripts use.
const UNREACHABLE: u8 = 3;
const TIME_EXCEEDED: u8 = 11;

impl Parser<'_> {
    pub(super) fn packet(&mut self) -> Result<Packet, Fault> {
        let ip = self.ip_info()?;
        let body = if self.accept_word("icmp") {
            Body::Icmp(self.icmp()?)
        } else if self.accept_word("udp") {
            self.expect('(')?;
            let payload = self.integer("the length of the datagram")?;
            self.expect(')')?;
            Body::Udp { payload }
        } else {
            Body::Tcp(self.tcp()?)
        };
        Ok(Packet { ip, body })
    }

    /// `[ect0]`, `[tos 0x10]`, `[ttl 5]`, with commas between several.
    fn ip_info(&mut self) -> Result<IpInfo, Fault> {
        let mut info = IpInfo::default();
        if !self.accept('[') {
            return Ok(info);
        }
        loop {
            match self.word("noecn, ect0, ect1, ce, tos or ttl")? {
                "noecn" => info.ecn = Some(0),
                "ect1" => info.ecn = Some(1),
                "ect0" => info.ecn = Some(2),
                "ce" => info.ecn = Some(3),
                "tos" => info.tos = Some(self.integer("a TOS of 8 bits")?),
                "ttl" => info.ttl = Some(self.integer("a TTL of 8 bits")?),
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected("noecn, ect0, ect1, ce, tos or ttl"));
                }
            }
            if !self.accept(',') {
                break;
            }
        }
        self.expect(']')?;
        Ok(info)
    }

    fn tcp(&mut self) -> Result<TcpPacket, Fault> {
        let flags = self.flags()?;
        let (sequence, payload) = self.sequence()?;
        let mut packet = TcpPacket {
            flags,
            sequence,
            payload,
            acknowledgment: None,
            window: None,
            urgent: None,
            options: TcpOptions::These(Vec::new()),
        };
        if self.accept_word("ack") {
            packet.acknowledgment = Some(self.integer("an acknowledgment number")?);
        }
        if self.accept_word("win") {
            packet.window = Some(self.integer("a window of 16 bits")?);
        }
        if self.accept_word("urg") {
            packet.urgent = Some(self.integer("an urgent pointer of 16 bits")?);
        }
        if self.accept('<') {
            packet.options = self.options()?;
        }
        Ok(packet)
    }

    /// `S`, `.`, `FP.`, `SEWA`, or `-` for none.
    fn flags(&mut self) -> Result<u16, Fault> {
        const WANTED: &str = "flags (F S R P . U E W A, or - for none)";
        if self.accept('-') {
            return Ok(0);
        }
        let mut flags = 0;
        let start = self.at;
        while let Some(lexeme) = self.peek() {
            if self.at > start && !lexeme.glued {
                break;
            }
            let letters = match &lexeme.token {
                Token::Word(word) => word.as_str(),
                Token::Mark('.') => ".",
                _ => break,
            };
            for letter in letters.chars() {
                flags |= match letter {
                    'F' => flag::FIN,
                    'S' => flag::SYN,
                    'R' => flag::RST,
                    'P' => flag::PSH,
                    '.' => flag::ACK,
                    'U' => flag::URG,
                    'E' => flag::ECE,
                    'W' => flag::CWR,
                    'A' => flag::AE,
                    _ => return Err(self.unexpected(WANTED)),
                };
            }
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected(WANTED)) } else { Ok(flags) }
    }

    /// `first:end(length)`: the first octet and how many there are.
    fn sequence(&mut self) -> Result<(u32, u32), Fault> {
        let line = self.line();
        let first: u32 = self.integer("a sequence number")?;
        self.expect(':')?;
        let end: u32 = self.integer("the sequence number after the last octet")?;
        self.expect('(')?;
        let length: u32 = self.integer("the length of the text")?;
        self.expect(')')?;
        if end.wrapping_sub(first) != length {
            let message = format!("{first}:{end} is not {length} octets long");
            return Err(Fault::syntax(line, message));
        }
        Ok((first, length))
    }

    fn options(&mut self) -> Result<TcpOptions, Fault> {
        if self.token() == Some(&Token::Ellipsis) {
            self.at += 1;
            self.expect('>')?;
            return Ok(TcpOptions::Any);
        }
        let mut list = Vec::new();
        while !self.accept('>') {
            if !list.is_empty() {
                self.expect(',')?;
            }
            list.push(self.option()?);
        }
        Ok(TcpOptions::These(list))
    }

    fn option(&mut self) -> Result<TcpOption, Fault> {
        const WANTED: &str =
            "a TCP option (mss, nop, eol, wscale, sackOK, TS, sack, ECN, FO, FOEXP)";
        Ok(match self.word(WANTED)? {
            "eol" => TcpOption::EndOfList,
            "nop" => TcpOption::NoOperation,
            "mss" => TcpOption::MaximumSegment(self.integer("a segment size of 16 bits")?),
            "wscale" => TcpOption::WindowScale(self.integer("a shift of 8 bits")?),
            "sackOK" => TcpOption::SackPermitted,
            "TS" => {
                let named = |parser: &mut Self, name: &str| match parser.accept_word(name) {
                    true => parser.integer("a timestamp of 32 bits"),
                    false => Err(parser.unexpected(&format!("\"{name}\""))),
                };
                TcpOption::Timestamps { value: named(self, "val")?, echo: named(self, "ecr")? }
            }
            "sack" => TcpOption::Sack(self.sack_blocks()?),
            "ECN" => self.counters()?,
            "FO" => TcpOption::FastOpen { cookie: self.cookie()?, experimental: false },
            "FOEXP" => TcpOption::FastOpen { cookie: self.cookie()?, experimental: true },
            _ => {
                self.at -= 1;
                return Err(self.unexpected(WANTED));
            }
        })
    }

    /// `e1b 1 ceb 0 e0b 1`, or the other order, or the first of them, or none.
    fn counters(&mut self) -> Result<TcpOption, Fault> {
        let ect1_first = !matches!(self.token(), Some(Token::Word(name)) if name == "e0b");
        let mut fields = Vec::new();
        for name in counter_names(ect1_first) {
            if !self.accept_word(name) {
                break;
            }
            fields.push(self.integer("a counter of 24 bits")?);
        }
        Ok(TcpOption::Counters { ect1_first, fields })
    }

    /// `1:2 5:6`
    fn sack_blocks(&mut self) -> Result<Vec<(u32, u32)>, Fault> {
        let mut blocks = Vec::new();
        while matches!(self.token(), Some(Token::Number(_))) {
            let left = self.integer("a sequence number")?;
            self.expect(':')?;
            blocks.push((left, self.integer("a sequence number")?));
        }
        Ok(blocks)
    }

    /// Hexadecimal digits, none (a request), or `TFO_COOKIE`.
    fn cookie(&mut self) -> Result<Cookie, Fault> {
        let text = match self.token() {
            Some(Token::Word(text) | Token::Number(text)) => text.as_str(),
            _ => return Ok(Cookie::Bytes(Vec::new())),
        };
        if text == "TFO_COOKIE" {
            self.at += 1;
            return Ok(Cookie::Valid);
        }
        let pairs = text.as_bytes().chunks(2).map(|pair| {
            let digits = core::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2)?;
            u8::from_str_radix(digits, 16).ok()
        });
        let bytes = pairs.collect::<Option<Vec<u8>>>();
        let bytes = bytes.ok_or_else(|| self.unexpected("a cookie of hexadecimal bytes"))?;
        self.at += 1;
        Ok(Cookie::Bytes(bytes))
    }

    /// `unreachable frag_needed mtu 1280 [0:10(10)]`
    fn icmp(&mut self) -> Result<IcmpPacket, Fault> {
        let kind = match self.word("unreachable or time_exceeded")? {
            "unreachable" => UNREACHABLE,
            "time_exceeded" => TIME_EXCEEDED,
            _ => {
                self.at -= 1;
                return Err(self.unexpected("unreachable or time_exceeded"));
            }
        };
        let mut packet = IcmpPacket { kind, code: 0, mtu: None, quoted: (0, 0) };
        if let Some(Token::Word(name)) = self.token()
            && name != "mtu"
        {
            let code = unreachable_code(name).filter(|_| kind == UNREACHABLE);
            packet.code = code.ok_or_else(|| self.unexpected("a code of ICMP unreachable"))?;
            self.at += 1;
        }
        if self.accept_word("mtu") {
            packet.mtu = Some(self.integer("an MTU of 16 bits")?);
        }
        self.expect('[')?;
        packet.quoted = self.sequence()?;
        self.expect(']')?;
        Ok(packet)
    }
}

/// The names that scripts have for RFC 792's and RFC 1122's codes; `CODE` stands for the code that
/// is the host's being unreachable in either version of IP.
fn unreachable_code(name: &str) -> Option<u8> {
    Some(match name {
        "net_unreachable" => 0,
        "host_unreachable" | "CODE" => Unreachable::HOST.0,
        "protocol_unreachable" => 2,
        "port_unreachable" => 3,
        "frag_needed" => 4,
        "source_route_failed" => 5,
        "net_unknown" => 6,
        "host_unknown" => 7,
        "source_host_isolated" => 8,
        "net_prohibited" => 9,
        "host_prohibited" => 10,
        "net_unreachable_for_tos" => 11,
        "host_unreachable_for_tos" => 12,
        "packet_filtered" => 13,
        "precedence_violation" => 14,
        "precedence_cutoff" => 15,
        _ => return None,
    })
}
