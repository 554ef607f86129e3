//! What passed an interface, as `ip -s link` and `ip -s -j link` have it.

use narrows_ipc::link::Traffic;
use serde_json::{Value, json};
use std::io::{self, Write};

/// The heads of the columns, and how wide these are at least.
const RECEIVED: [&str; 6] = ["bytes", "packets", "errors", "dropped", "missed", "mcast"];
const SENT: [&str; 6] = ["bytes", "packets", "errors", "dropped", "carrier", "collsns"];
const WIDTHS: [usize; 6] = [10, 7, 6, 7, 7, 7];

pub fn write(out: &mut dyn Write, traffic: &Traffic) -> io::Result<()> {
    let Traffic { rx_bytes, rx_packets, rx_dropped, rx_multicast, .. } = *traffic;
    let received = [rx_bytes, rx_packets, 0, rx_dropped, 0, rx_multicast];
    let sent = [traffic.tx_bytes, traffic.tx_packets, 0, traffic.tx_dropped, 0, 0];
    for (name, heads, numbers) in [("RX", RECEIVED, received), ("TX", SENT, sent)] {
        let numbers = numbers.map(|number| number.to_string());
        let widths: Vec<_> =
            WIDTHS.iter().zip(&numbers).map(|(width, number)| *width.max(&number.len())).collect();
        let row = |cells: [&str; 6]| -> String {
            let cells = cells.iter().zip(&widths);
            cells.map(|(cell, width)| format!("{cell:>width$} ")).collect()
        };
        // The first head stands beside the direction.
        let head = row(heads);
        let head = head.get(4..).unwrap_or_default();
        writeln!(out, "    {name}: {head}{:10}", "")?;
        writeln!(out, "    {}", row(numbers.each_ref().map(String::as_str)))?;
    }
    Ok(())
}

pub fn to_json(traffic: &Traffic) -> Value {
    json!({
        "rx": {
            "bytes": traffic.rx_bytes,
            "packets": traffic.rx_packets,
            "errors": 0,
            "dropped": traffic.rx_dropped,
            "over_errors": 0,
            "multicast": traffic.rx_multicast,
        },
        "tx": {
            "bytes": traffic.tx_bytes,
            "packets": traffic.tx_packets,
            "errors": 0,
            "dropped": traffic.tx_dropped,
            "carrier_errors": 0,
            "collisions": 0,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As iproute2 6.1 prints the same numbers.
    #[test]
    fn reads_as_ip_statistics() {
        let traffic = Traffic {
            rx_bytes: 25_405_229,
            rx_packets: 2185,
            tx_bytes: 123_456_789_012,
            tx_packets: 98_765_432,
            ..Traffic::default()
        };
        let mut out = Vec::new();
        write(&mut out, &traffic).unwrap();
        let expected = concat!(
            "    RX:  bytes packets errors dropped  missed   mcast           \n",
            "      25405229    2185      0       0       0       0 \n",
            "    TX:    bytes  packets errors dropped carrier collsns           \n",
            "    123456789012 98765432      0       0       0       0 \n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(to_json(&traffic)["rx"]["packets"], 2185);
    }
}
