//! What goes between programs of this host: `[local]`.

use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LocalConfig {
    /// Whether connections between programs may run on a socket pair of their own. They then pass no
    /// filter and no capture.
    #[serde(default = "yes")]
    pub cut_through: bool,
}

fn yes() -> bool {
    true
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self { cut_through: true }
    }
}
