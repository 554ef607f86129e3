//! The names of devices, as configuration and commands write them.

use std::fmt;

/// A device by kind and interface name: `packet:eth1` or `tap:narrows0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeviceSpec {
    /// An AF_PACKET socket on an interface the kernel already has.
    Packet(String),
    /// A TAP interface, made if it is not there.
    Tap(String),
}

/// Why a text names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// the text is not of the form KIND:INTERFACE, or the kind is not known
    #[error("unknown device \"{0}\": write packet:INTERFACE or tap:INTERFACE")]
    Unknown(String),
    /// the interface name is empty, too long, or has a character the kernel refuses
    #[error("\"{0}\" is not an interface name: 1 to 15 characters, without '/', ':' and spaces")]
    Name(String),
}

/// The longest interface name (IFNAMSIZ less its NUL).
const MAX_NAME: usize = 15;

impl DeviceSpec {
    /// Parses `KIND:INTERFACE`.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let (kind, name) = text.split_once(':').ok_or_else(|| SpecError::Unknown(text.into()))?;
        let make = match kind {
            "packet" => Self::Packet,
            "tap" => Self::Tap,
            _ => return Err(SpecError::Unknown(text.into())),
        };
        if !is_interface_name(name) {
            return Err(SpecError::Name(name.into()));
        }
        Ok(make(name.into()))
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Packet(name) | Self::Tap(name) => name,
        }
    }
}

/// What the kernel's dev_valid_name() allows.
fn is_interface_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.bytes().any(|byte| byte == b'/' || byte == b':' || byte == 0 || is_space(byte))
}

/// isspace() as the kernel has it: ASCII, vertical tab and Latin-1's non-breaking space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
}

impl std::str::FromStr for DeviceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse(text)
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(name) => write!(formatter, "packet:{name}"),
            Self::Tap(name) => write!(formatter, "tap:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        for text in ["packet:eth1", "tap:narrows0", "packet:a-b.c_d@e"] {
            assert_eq!(DeviceSpec::parse(text).map(|spec| spec.to_string()), Ok(text.into()));
        }
    }

    #[test]
    fn refuses_the_rest() {
        let cases = [
            ("eth1", SpecError::Unknown("eth1".into())),
            ("", SpecError::Unknown("".into())),
            ("xdp:eth1", SpecError::Unknown("xdp:eth1".into())),
            ("packet:", SpecError::Name("".into())),
            ("packet:..", SpecError::Name("..".into())),
            ("tap:a/b", SpecError::Name("a/b".into())),
            ("tap:a:b", SpecError::Name("a:b".into())),
            ("tap:a b", SpecError::Name("a b".into())),
            ("tap:sixteen-letters-", SpecError::Name("sixteen-letters-".into())),
        ];
        for (text, error) in cases {
            assert_eq!(DeviceSpec::parse(text), Err(error), "{text}");
        }
    }
}
