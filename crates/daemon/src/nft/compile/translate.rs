//! Giving flows other ends.

use super::{Compiler, Place, fields};
use crate::nft::ast::{self, Data, Holds, Key, Target, Translate, TranslateKind, ValueMap};
use crate::nft::value::Type;
use narrows_stack::filter::{
    rule::{Place as Address, Ports, SetId, To, Translate as EngineTranslate},
    set::{Data as EngineData, Set},
};
use narrows_wire::rewrite::End;

impl Compiler<'_> {
    pub(super) fn translate(
        &mut self,
        place: &Place<'_>,
        translate: &Translate,
    ) -> Result<EngineTranslate, String> {
        let name = translate.kind.name();
        if let Some(base) = place.base {
            if !base.nat {
                return Err(format!("{name} is for chains of type nat"));
            }
            if !translate.kind.hooks().contains(&base.hook) {
                let hooks: Vec<_> = translate.kind.hooks().iter().map(|hook| hook.name()).collect();
                return Err(format!("{name} is for chains at {}", hooks.join(" and ")));
            }
        }
        let end = match translate.kind {
            TranslateKind::Snat | TranslateKind::Masquerade => End::Source,
            TranslateKind::Dnat | TranslateKind::Redirect => End::Destination,
        };
        let to = match (&translate.to, translate.kind) {
            (Target::Own, TranslateKind::Masquerade) => To::Place(Address::Interface),
            (Target::Own, TranslateKind::Redirect) => To::Place(Address::Here),
            (Target::Own, _) => To::Place(Address::Same),
            (Target::Addresses(first, last), _) => To::Place(Address::Range(*first, *last)),
            (Target::Map { key, map, port }, _) => {
                let (map, port) = self.addresses(place, key, map, *port)?;
                To::Map { key: fields(key)?, map, port }
            }
        };
        let ports = match &translate.ports {
            None => None,
            Some(ast::Ports::Range(low, high)) => Some(Ports::Range(*low, *high)),
            Some(ast::Ports::Map { key, map }) => {
                let map = self.value_map(place, key, map, Holds::Values(Type::Port))?;
                Some(Ports::Map { key: fields(key)?, map })
            }
        };
        Ok(EngineTranslate {
            end,
            to,
            ports,
            random: translate.random || translate.fully_random,
            persistent: translate.persistent,
        })
    }

    /// A map to addresses, and whether it has ports beside them.
    fn addresses(
        &mut self,
        place: &Place<'_>,
        key: &Key,
        map: &ValueMap,
        port: bool,
    ) -> Result<(SetId, bool), String> {
        let pairs = Holds::Pairs(Type::Ipv4, Type::Port);
        let port = port
            || match map {
                ValueMap::Named(name) => {
                    place.table.sets.get(name).is_some_and(|set| set.holds == pairs)
                }
                ValueMap::Inline(_) => false,
            };
        let holds = if port { pairs } else { Holds::Values(Type::Ipv4) };
        self.value_map(place, key, map, holds).map(|map| (map, port))
    }

    fn value_map(
        &mut self,
        place: &Place<'_>,
        key: &Key,
        map: &ValueMap,
        holds: Holds,
    ) -> Result<SetId, String> {
        let elements = match map {
            ValueMap::Named(name) => return self.named(place, name, key, holds),
            ValueMap::Inline(elements) => elements,
        };
        let mut set = Set::new(0, elements.len(), self.random.key());
        for (key, data) in elements {
            let value = match data {
                Data::Value(one) => self.single(one)?,
                Data::Pair(address, port) => self.single(address)? << 16 | self.single(port)?,
                Data::Nothing | Data::Verdict(_) => return Err("a value is wanted".to_owned()),
            };
            let ranges = self.ranges(key)?;
            set.insert(&ranges, EngineData::Number(value), None).map_err(|why| why.to_string())?;
        }
        self.sets.push(set);
        Ok(self.sets.len() - 1)
    }
}
