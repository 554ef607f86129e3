//! `[[forbid]]`: what rules and zones may not lead to. It keeps nobody from anything; `narrows audit`
//! fails when somebody could.

use super::{Checker, ConfigError, Configuration, zone::WhoTable};
use core::ops::Range;
use narrows_policy::{
    Who,
    audit::{Ability, Forbid},
};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use std::fmt;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForbidTable {
    who: Option<Spanned<WhoTable>>,
    #[serde(default)]
    except: Vec<Spanned<WhoTable>>,
    can: Option<Spanned<Abilities>>,
    zone: Option<Spanned<String>>,
}

enum Abilities {
    One(String),
    List(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Abilities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Abilities;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a word as \"observe\", or a list of them")
            }

            fn visit_str<E>(self, word: &str) -> Result<Abilities, E> {
                Ok(Abilities::One(word.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Abilities, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Abilities::List(words))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Checker<'_> {
    pub(super) fn forbid(
        &self,
        configuration: &Configuration,
        table: &Spanned<ForbidTable>,
    ) -> Result<Forbid, ConfigError> {
        let ForbidTable { who, except, can, zone } = table.get_ref();
        let somebody = |words: &Spanned<WhoTable>| -> Result<Who, ConfigError> {
            // Its addresses are a member's.
            self.no_member(words)?;
            self.somebody(words)
        };
        let can = match can.as_ref().map(|can| (can.get_ref(), can.span())) {
            None => Vec::new(),
            Some((Abilities::One(word), span)) => vec![self.ability(word, span)?],
            Some((Abilities::List(words), _)) => {
                let each = words.iter().map(|word| self.ability(word.get_ref(), word.span()));
                each.collect::<Result<_, _>>()?
            }
        };
        if can.is_empty() {
            let names = Ability::ALL.map(Ability::name).join(", ");
            let message = format!("[[forbid]] of nothing: write can = one of {names}");
            return Err(self.error(table.span(), message));
        }
        Ok(Forbid {
            who: who.as_ref().map(somebody).transpose()?.unwrap_or_default(),
            except: except.iter().map(somebody).collect::<Result<_, _>>()?,
            can,
            zone: self.zone_of_rule(configuration, zone)?,
            origin: self.origin(table.span()),
        })
    }

    fn ability(&self, word: &str, span: Range<usize>) -> Result<Ability, ConfigError> {
        Ability::named(word).ok_or_else(|| {
            let names = Ability::ALL.map(Ability::name).join(", ");
            self.error(span, format!("can = \"{word}\": write one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(text: &str) -> Result<Vec<String>, String> {
        let text = format!(
            "[[interface]]\nname = \"lan\"\ndevice = \"tap:t0\"\naddress = [\"10.0.0.2/24\"]\n\
             [[zone]]\nname = \"vault\"\nadmit = [{{ user = 7 }}]\n{text}"
        );
        let configuration = Configuration::parse_elsewhere(Path::new("n.toml"), &text);
        let forbidden = configuration.map_err(|error| error.to_string())?.forbidden;
        Ok(forbidden
            .iter()
            .map(|Forbid { who, except, can, zone, origin }| {
                let can: Vec<_> = can.iter().map(|ability| ability.name()).collect();
                let except: Vec<_> = except.iter().map(Who::to_string).collect();
                format!("{origin}: {who} | {} | {} | {zone:?}", except.join(" "), can.join(" "))
            })
            .collect())
    }

    #[test]
    fn a_table_is_a_declaration_with_its_line() {
        let declared = parse(
            "[[forbid]]\nwho = { user = 7, executable = \"/bin/x\" }\ncan = \"observe\"\n\
             zone = \"vault\"\n\
             [[forbid]]\nexcept = [{ user = 7 }, { group = 8 }]\ncan = [\"bind\", \"reach\"]\n",
        );
        let expected = [
            "n.toml:8: user 7 executable /bin/x |  | observe | Some(\"vault\")",
            "n.toml:12:  | user 7 group 8 | bind reach | None",
        ];
        assert_eq!(declared.expect("declarations"), expected);
    }

    #[test]
    fn what_says_nothing_or_nonsense_is_refused() {
        for (text, expected) in [
            ("who = { user = 7 }", "n.toml:8: [[forbid]] of nothing: write can = one of bind"),
            ("can = []", "n.toml:8: [[forbid]] of nothing"),
            ("can = \"sniff\"", "n.toml:9: can = \"sniff\": write one of bind, reach"),
            ("can = [\"bind\",\n\"x\"]", "n.toml:10: can = \"x\": write one of"),
            ("can = 7", "a word as \"observe\", or a list of them"),
            (
                "can = \"bind\"\nzone = \"x\"",
                "n.toml:10: no zone \"x\": write one of vault, public",
            ),
            ("can = \"bind\"\nwho = {}", "n.toml:10: who is it? write user"),
            (
                "can = \"bind\"\nexcept = [{ user = 7, address = \"10.0.0.1\" }]",
                "n.toml:10: addresses are for members",
            ),
            ("can = \"bind\"\nuser = 7", "unknown field `user`"),
        ] {
            let error = parse(&format!("[[forbid]]\n{text}\n")).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
