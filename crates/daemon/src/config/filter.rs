//! `[filter]`: rules about what may pass, here or in a file of their own.

use super::{Checker, ConfigError};
use crate::nft;
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterTable {
    /// Beside the configuration, if the path is relative.
    file: Option<Spanned<PathBuf>>,
    rules: Option<Spanned<String>>,
}

impl Checker<'_> {
    pub(super) fn filter(
        &self,
        table: Option<&FilterTable>,
    ) -> Result<Option<String>, ConfigError> {
        match table {
            None => Ok(None),
            Some(FilterTable { file: Some(file), rules: None }) => self.filter_file(file).map(Some),
            Some(FilterTable { file: None, rules: Some(rules) }) => {
                let text = rules.get_ref();
                nft::check(text)
                    .map_err(|error| self.error(rules.span(), format!("rules, {error}")))?;
                Ok(Some(text.clone()))
            }
            Some(FilterTable { file: Some(file), rules: Some(_) }) => {
                Err(self.error(file.span(), "both file and rules: write one of them"))
            }
            Some(FilterTable { file: None, rules: None }) => Err(self
                .error(0..0, "[filter] is empty: write file = \"PATH\" or rules = \"\"\"…\"\"\"")),
        }
    }

    fn filter_file(&self, file: &Spanned<PathBuf>) -> Result<String, ConfigError> {
        let path = self.file.parent().map_or_else(PathBuf::new, PathBuf::from).join(file.get_ref());
        let text = std::fs::read_to_string(&path).map_err(|error| {
            self.error(file.span(), format!("can't read {}: {error}", path.display()))
        })?;
        nft::check(&text)
            .map_err(|error| self.error(file.span(), format!("{}: {error}", path.display())))?;
        Ok(text)
    }
}
