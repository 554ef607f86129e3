//! What goes between programs of this host, and the ports that they are given: `[local]`.

use narrows_stack::Config;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LocalConfig {
    /// Whether connections between programs may run on a socket pair of their own. They then pass no
    /// filter and no capture.
    #[serde(default = "yes")]
    pub cut_through: bool,
    /// For sockets that ask for no port in particular.
    #[serde(default)]
    pub ip_local_port_range: PortRange,
}

/// The first port and the last, as net.ipv4.ip_local_port_range has them: `[32768, 60999]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "[i64; 2]")]
pub(crate) struct PortRange(pub u16, pub u16);

impl TryFrom<[i64; 2]> for PortRange {
    type Error = String;

    fn try_from([first, last]: [i64; 2]) -> Result<Self, String> {
        match (u16::try_from(first), u16::try_from(last)) {
            (Ok(first), Ok(last)) if first > 0 && first <= last => Ok(Self(first, last)),
            _ => Err(format!(
                "ip_local_port_range = [{first}, {last}]: write the first port and the last, of 1 to 65535"
            )),
        }
    }
}

impl From<PortRange> for (u16, u16) {
    fn from(PortRange(first, last): PortRange) -> Self {
        (first, last)
    }
}

impl Default for PortRange {
    fn default() -> Self {
        let (first, last) = Config::default().ephemeral_ports;
        Self(first, last)
    }
}

fn yes() -> bool {
    true
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self { cut_through: true, ip_local_port_range: PortRange::default() }
    }
}
