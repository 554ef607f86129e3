//! How an interface takes part in routing.

/// What holds for packets that come in by an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoutingSettings {
    /// Packets for others go on to where the routes lead (RFC 1812); else this is a host's
    /// interface, and they are dropped.
    pub forward: bool,
    pub host_model: HostModel,
    pub reverse_path: ReversePath,
    /// Hosts on the link are told of a better gateway there (RFC 1812 §5.2.7.2). Redirects that
    /// others send are never obeyed.
    pub redirects: bool,
}

/// RFC 1122 §3.3.4.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostModel {
    /// Packets for an address come in, and packets from it leave, by the interface that has it. A
    /// router's own packets to itself do go through it: one that came in by an interface that
    /// forwards may be for another's address.
    #[default]
    Strong,
    /// An address is the host's, whatever interface it is on: as Linux has it.
    Weak,
}

impl HostModel {
    pub const ALL: [Self; 2] = [Self::Strong, Self::Weak];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Strong => "strong",
            Self::Weak => "weak",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }
}

/// Whether a source is believable (RFC 3704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReversePath {
    /// The answer would leave by the interface that the packet came in by (§2.2).
    #[default]
    Strict,
    /// There is a way for an answer (§2.4).
    Loose,
    /// Every source is believed that one host can have.
    Off,
}

impl ReversePath {
    pub const ALL: [Self; 3] = [Self::Strict, Self::Loose, Self::Off];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Loose => "loose",
            Self::Off => "off",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.name() == name)
    }
}
