//! How an interface takes part in routing: `forward`, `host_model`, `reverse_path`, `redirects`.

use super::{Checker, ConfigError, InterfaceTable};
use narrows_stack::table::route::{HostModel, ReversePath, RoutingSettings};

impl Checker<'_> {
    pub(super) fn routing(&self, table: &InterfaceTable) -> Result<RoutingSettings, ConfigError> {
        let models = HostModel::ALL.map(|model| (model.name(), model));
        let checks = ReversePath::ALL.map(|check| (check.name(), check));
        let host_model = self.choice("host_model", &table.host_model, &models)?;
        let reverse_path = self.choice("reverse_path", &table.reverse_path, &checks)?;
        Ok(RoutingSettings {
            forward: table.forward.unwrap_or(false),
            host_model: host_model.unwrap_or_default(),
            reverse_path: reverse_path.unwrap_or_default(),
            redirects: table.redirects.unwrap_or(false),
        })
    }
}
