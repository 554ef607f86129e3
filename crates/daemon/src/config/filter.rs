//! `[filter]`: rules about what may pass, in nft(8)'s language.
//!
//! They are in the configuration itself: of all files, the confined daemon can read that one alone. `narrows
//! nft -f` loads others.

use super::{Checker, ConfigError};
use crate::nft;
use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterTable {
    rules: Spanned<String>,
}

impl Checker<'_> {
    pub(super) fn filter(
        &self,
        table: Option<&FilterTable>,
    ) -> Result<Option<String>, ConfigError> {
        let Some(FilterTable { rules }) = table else { return Ok(None) };
        nft::check(rules.get_ref())
            .map_err(|error| self.error(rules.span(), format!("rules, {error}")))?;
        Ok(Some(rules.get_ref().clone()))
    }
}
