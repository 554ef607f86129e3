//! How an interface takes part in routing: `forward`, `host_model`, `reverse_path`, `redirects`.

use super::{Checker, ConfigError, InterfaceTable};
use narrows_stack::table::route::{HostModel, ReversePath, RoutingSettings};

impl Checker<'_> {
    pub(super) fn routing(&self, table: &InterfaceTable) -> Result<RoutingSettings, ConfigError> {
        let mut routing = RoutingSettings {
            forward: table.forward.unwrap_or(false),
            redirects: table.redirects.unwrap_or(false),
            ..RoutingSettings::default()
        };
        if let Some(text) = &table.host_model {
            routing.host_model = match text.get_ref().as_str() {
                "strong" => HostModel::Strong,
                "weak" => HostModel::Weak,
                other => {
                    let message = format!("host_model = \"{other}\": write \"strong\" or \"weak\"");
                    return Err(self.error(text.span(), message));
                }
            };
        }
        if let Some(text) = &table.reverse_path {
            routing.reverse_path = match text.get_ref().as_str() {
                "strict" => ReversePath::Strict,
                "loose" => ReversePath::Loose,
                "off" => ReversePath::Off,
                other => {
                    let message = format!(
                        "reverse_path = \"{other}\": write \"strict\", \"loose\" or \"off\""
                    );
                    return Err(self.error(text.span(), message));
                }
            };
        }
        Ok(routing)
    }
}
