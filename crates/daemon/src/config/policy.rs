//! `[policy]`, `[[grant]]` and `[[deny]]`: who may do what. Each text of a table becomes a rule of its
//! own, with the line that it is on.

use super::{
    Checker, ConfigError, Configuration, PUBLIC,
    account::{Named, WhoWords},
};
use narrows_policy::{ActKind, Default, Defaults, Effect, Origin, Permit, Rule, Who};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use std::{fmt, ops::Range};
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyTable {
    default: Option<DefaultTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultTable {
    bind: Option<Spanned<String>>,
    listen: Option<Spanned<String>>,
    connect: Option<Spanned<String>>,
    multicast: Option<Spanned<String>>,
    raw: Option<Spanned<String>>,
    packet: Option<Spanned<String>>,
    inspect: Option<Spanned<String>>,
    administer: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantTable {
    user: Option<Spanned<Named>>,
    group: Option<Spanned<Named>>,
    executable: Option<Spanned<String>>,
    cgroup: Option<Spanned<String>>,
    zone: Option<Spanned<String>>,
    bind: Option<Texts>,
    listen: Option<Texts>,
    connect: Option<Texts>,
    multicast: Option<Texts>,
    raw: Option<Texts>,
    packet: Option<Texts>,
    inspect: Option<Spanned<bool>>,
    administer: Option<Spanned<bool>>,
}

/// One text, or a list of them.
struct Texts(Vec<Spanned<String>>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Texts;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list as [\"10.0.0.2:80\"]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

impl Checker<'_> {
    pub(super) fn defaults(&self, table: Option<&PolicyTable>) -> Result<Defaults, ConfigError> {
        let mut defaults = Defaults::default();
        let Some(table) = table.and_then(|table| table.default.as_ref()) else {
            return Ok(defaults);
        };
        for (kind, word) in [
            (ActKind::Bind, &table.bind),
            (ActKind::Listen, &table.listen),
            (ActKind::Connect, &table.connect),
            (ActKind::Multicast, &table.multicast),
            (ActKind::Raw, &table.raw),
            (ActKind::Packet, &table.packet),
            (ActKind::Inspect, &table.inspect),
            (ActKind::Administer, &table.administer),
        ] {
            let Some(word) = word else { continue };
            let text = word.get_ref();
            let found = Default::ALL.into_iter().find(|default| default.name() == text);
            let default = found.ok_or_else(|| {
                let message = format!(
                    "{} = \"{text}\": write \"linux\" (what Linux does), \"allow\" or \"deny\"",
                    kind.name()
                );
                self.error(word.span(), message)
            })?;
            defaults.set(kind, default);
        }
        Ok(defaults)
    }

    /// The rules of one `[[grant]]` or `[[deny]]`.
    pub(super) fn rules_of(
        &self,
        configuration: &Configuration,
        effect: Effect,
        table: &Spanned<GrantTable>,
    ) -> Result<Vec<Rule>, ConfigError> {
        let words = table.get_ref();
        let who = self.who(configuration, words)?;
        let lists = [
            (ActKind::Bind, &words.bind),
            (ActKind::Listen, &words.listen),
            (ActKind::Connect, &words.connect),
            (ActKind::Multicast, &words.multicast),
            (ActKind::Raw, &words.raw),
            (ActKind::Packet, &words.packet),
        ];
        let mut rules = Vec::new();
        let rule = |permit, span: Range<usize>| Rule {
            effect,
            who: who.clone(),
            permit,
            origin: self.origin(span),
        };
        for (kind, list) in lists {
            for text in list.iter().flat_map(|list| &list.0) {
                let permit = Permit::parse(kind, text.get_ref())
                    .map_err(|why| self.error(text.span(), format!("{}: {why}", kind.name())))?;
                self.check_interface(configuration, &permit, text)?;
                rules.push(rule(permit, text.span()));
            }
        }
        let flags = [(Permit::Inspect, &words.inspect), (Permit::Administer, &words.administer)];
        for (permit, flag) in flags {
            let Some(flag) = flag else { continue };
            if !flag.get_ref() {
                let message = format!(
                    "{} = false says nothing in a [[{}]]: leave it out",
                    permit.kind().name(),
                    effect.name()
                );
                return Err(self.error(flag.span(), message));
            }
            rules.push(rule(permit, flag.span()));
        }
        if rules.is_empty() {
            let kinds = ActKind::ALL.map(ActKind::name);
            let message =
                format!("[[{}]] of nothing: write one of {}", effect.name(), kinds.join(", "));
            return Err(self.error(table.span(), message));
        }
        Ok(rules)
    }

    pub(super) fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File {
            file: self.file.display().to_string(),
            line: u32::try_from(self.line(span)).unwrap_or(u32::MAX),
        }
    }

    fn who(&self, configuration: &Configuration, table: &GrantTable) -> Result<Who, ConfigError> {
        let GrantTable { user, group, executable, cgroup, zone, .. } = table;
        let zone = self.zone_of_rule(configuration, zone)?;
        let who = self.who_is(&WhoWords { user, group, executable, cgroup })?;
        Ok(Who { zone, ..who })
    }

    /// A zone that is there.
    pub(super) fn zone_of_rule(
        &self,
        configuration: &Configuration,
        zone: &Option<Spanned<String>>,
    ) -> Result<Option<String>, ConfigError> {
        let zones = || configuration.zones.iter().map(|zone| zone.name.as_str()).chain([PUBLIC]);
        let strange = |zone: &&Spanned<String>| !zones().any(|name| name == zone.get_ref());
        if let Some(zone) = zone.as_ref().filter(strange) {
            let names: Vec<_> = zones().collect();
            let message =
                format!("no zone \"{}\": write one of {}", zone.get_ref(), names.join(", "));
            return Err(self.error(zone.span(), message));
        }
        Ok(zone.as_ref().map(|zone| zone.get_ref().clone()))
    }

    /// An interface that isn't there is a mistake, and in a denial a dangerous one.
    fn check_interface(
        &self,
        configuration: &Configuration,
        permit: &Permit,
        text: &Spanned<String>,
    ) -> Result<(), ConfigError> {
        let (Permit::Raw(medium) | Permit::Packet(medium)) = permit else { return Ok(()) };
        let Some(name) = &medium.interface else { return Ok(()) };
        let mut names: Vec<_> =
            configuration.interfaces.iter().map(|held| held.name.as_str()).collect();
        names.push("lo");
        if names.contains(&name.as_str()) {
            return Ok(());
        }
        let message =
            format!("no interface \"{name}\": write \"*\" or one of {}", names.join(", "));
        Err(self.error(text.span(), message))
    }
}

#[cfg(test)]
mod tests;
