//! What several reports share: words of ip(8), tables, JSON.

use std::{
    fmt,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
};

/// A MAC address as ip(8) prints it.
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A destination as ip(8) prints it: `default`, an address, or a prefix.
pub fn prefix(address: IpAddr, length: u8) -> String {
    let whole = if address.is_ipv4() { 32 } else { 128 };
    match length {
        0 => "default".to_owned(),
        length if length == whole => address.to_string(),
        length => format!("{address}/{length}"),
    }
}

/// The directed broadcast address of an interface's network, where there is one (RFC 3021: not
/// in networks of two).
pub fn broadcast(address: IpAddr, length: u8) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) if length < 31 => {
            Some(Ipv4Addr::from_bits(address.to_bits() | u32::MAX.checked_shr(length.into())?))
        }
        _ => None,
    }
}

/// Nothing at all for an interface that isn't there would be a lie.
pub fn no_such_device(name: &str) -> anyhow::Error {
    anyhow::anyhow!("Device \"{name}\" does not exist.")
}

/// What `write` prints of one record, its further lines behind a `\` if it is to be one line, as with
/// ip(8)'s -oneline.
pub fn record(
    out: &mut dyn Write,
    oneline: bool,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if !oneline {
        return write(out);
    }
    let mut text = Vec::new();
    write(&mut text)?;
    let text = String::from_utf8(text)?;
    if !text.is_empty() {
        writeln!(out, "{}", text.trim_end_matches('\n').replace('\n', "\\"))?;
    }
    Ok(())
}

/// One value and a line's end.
pub fn write_json(out: &mut dyn Write, value: &serde_json::Value) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows under a header, each column as wide as its widest cell, one space between; nothing after
/// the last cell.
pub fn write_table<const N: usize>(
    out: &mut dyn Write,
    columns: [Align; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    for row in rows {
        write_row(out, columns, widths, row)?;
    }
    Ok(())
}

fn write_row<const N: usize>(
    out: &mut dyn Write,
    columns: [Align; N],
    widths: [usize; N],
    row: &[String; N],
) -> io::Result<()> {
    let mut line = String::new();
    for ((cell, width), align) in row.iter().zip(widths).zip(columns) {
        let gap = " ".repeat(width - cell.chars().count());
        match align {
            Align::Left => line.extend([cell, gap.as_str(), " "]),
            Align::Right => line.extend([gap.as_str(), cell, " "]),
        }
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_may_be_lines() {
        for (oneline, text, expected) in [
            (false, "1: lo\n    link\n", "1: lo\n    link\n"),
            (true, "1: lo\n    link\n", "1: lo\\    link\n"),
            (true, "10.0.0.0/8 dev lan\n", "10.0.0.0/8 dev lan\n"),
            (true, "", ""),
        ] {
            let mut out = Vec::new();
            record(&mut out, oneline, |out| Ok(out.write_all(text.as_bytes())?)).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn prefixes_read_as_in_ip() {
        for (address, length, text) in [
            ("0.0.0.0", 0, "default"),
            ("10.0.0.0", 24, "10.0.0.0/24"),
            ("10.0.0.1", 32, "10.0.0.1"),
            ("fd00::", 64, "fd00::/64"),
            ("fd00::1", 128, "fd00::1"),
        ] {
            assert_eq!(prefix(address.parse().unwrap(), length), text);
        }
    }

    #[test]
    fn broadcast_addresses() {
        for (address, length, expected) in [
            ("10.0.0.2", 24, Some("10.0.0.255")),
            ("10.0.0.2", 8, Some("10.255.255.255")),
            ("10.0.0.2", 30, Some("10.0.0.3")),
            ("10.0.0.2", 31, None),
            ("10.0.0.2", 32, None),
            ("10.0.0.2", 0, Some("255.255.255.255")),
            ("fd00::1", 64, None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(broadcast(address.parse().unwrap(), length), expected, "{address}/{length}");
        }
    }

    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        let rows =
            [["a", "1", "x"], ["long", "200", ""]].map(|row| row.map(str::to_owned)).to_vec();
        write_table(&mut out, [Align::Left, Align::Right, Align::Left], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a      1 x\nlong 200\n");
    }
}
