//! Commands upon a ruleset. A command that can't be done says why, and the ruleset that it was tried upon
//! is not to be used.

use super::{
    Error,
    ast::{Chain, Element, Family, Object, ObjectKey, Ruleset, Set, Table, TableKey},
    parser::{Act, Command, List, Place, resolve},
};

/// What is to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub list: List,
    /// Counters and quotas begin anew afterwards.
    pub reset: bool,
}

/// Does what the commands say, in their order; returns what is to be listed.
pub(crate) fn apply(ruleset: &mut Ruleset, commands: Vec<Command>) -> Result<Vec<Listing>, Error> {
    let mut lists = Vec::new();
    for Command { line, act } in commands {
        one(ruleset, line, act, &mut lists)?;
    }
    Ok(lists)
}

fn one(ruleset: &mut Ruleset, line: u32, act: Act, lists: &mut Vec<Listing>) -> Result<(), Error> {
    match act {
        Act::AddTable { table, create } => {
            let there = ruleset.tables.contains_key(&table);
            if create && there {
                return Err(Error::new(
                    line,
                    format!("there is a table {} already", print(&table)),
                ));
            }
            if !there {
                let handle = ruleset.new_handle();
                ruleset.tables.insert(table, Table { handle, ..Table::default() });
            }
        }
        Act::SetDormant { table } => find(ruleset, line, &table)?.dormant = true,
        Act::AddChain { table, chain, base, create } => {
            check_base(line, &table, base.as_ref())?;
            let handle = ruleset.new_handle();
            let new = Chain { handle, base, rules: Vec::new() };
            add_chain(find(ruleset, line, &table)?, line, chain, new, create)?;
        }
        Act::SetPolicy { table, chain, accept } => {
            let base = find_chain(ruleset, line, &table, &chain)?.base.as_mut();
            let message = || format!("{chain} has no hook, so that it can have no policy");
            base.ok_or_else(|| Error::new(line, message()))?.accept = accept;
        }
        Act::AddRule { table, chain, place, mut rule } => {
            rule.handle = ruleset.new_handle();
            put(find_chain(ruleset, line, &table, &chain)?, line, place, *rule)?;
        }
        Act::AddSet { table, name, mut set, create } => {
            set.handle = ruleset.new_handle();
            add_set(find(ruleset, line, &table)?, line, name, *set, create)?;
        }
        Act::AddObject { table, object, state, create } => {
            let handle = ruleset.new_handle();
            let table = find(ruleset, line, &table)?;
            match table.objects.contains_key(&object) {
                true if create => {
                    let (kind, name) = (object.0.name(), object.1);
                    return Err(Error::new(line, format!("there is a {kind} {name} already")));
                }
                true => {}
                false => {
                    table.object_order.push(object.clone());
                    table.objects.insert(object, Object { handle, state });
                }
            }
        }
        Act::DeleteObject { table, object, must_exist } => {
            let table = find(ruleset, line, &table)?;
            if table.objects.remove(&object).is_none() && must_exist {
                return Err(no_object(line, &object));
            }
            table.object_order.retain(|other| *other != object);
        }
        Act::AddElements { table, set, elements } => {
            let set = find_set(ruleset, line, &table, &set)?;
            let elements = resolve(set, &elements)?;
            for element in elements {
                set.elements.retain(|other| other.key != element.key);
                set.elements.push(element);
            }
        }
        Act::DeleteElements { table, set, elements } => {
            let set = find_set(ruleset, line, &table, &set)?;
            delete_elements(set, line, resolve(set, &elements)?)?;
        }
        Act::DeleteTable { table, must_exist } => {
            if ruleset.tables.remove(&table).is_none() && must_exist {
                return Err(no_table(line, &table));
            }
        }
        Act::DeleteChain { table, chain, must_exist } => {
            let table = find(ruleset, line, &table)?;
            if table.chains.remove(&chain).is_none() && must_exist {
                return Err(Error::new(line, format!("there is no chain {chain}")));
            }
            table.chain_order.retain(|other| *other != chain);
        }
        Act::DeleteRule { table, chain, handle } => {
            let rules = &mut find_chain(ruleset, line, &table, &chain)?.rules;
            let at = position(rules, line, handle)?;
            rules.remove(at);
        }
        Act::DeleteSet { table, set, must_exist } => {
            let table = find(ruleset, line, &table)?;
            if table.sets.remove(&set).is_none() && must_exist {
                return Err(Error::new(line, format!("there is no set {set}")));
            }
            table.set_order.retain(|other| *other != set);
        }
        Act::FlushRuleset(family) => {
            ruleset.tables.retain(|(own, _), _| family.is_some_and(|family| family != *own));
        }
        Act::FlushTable { table } => {
            for chain in find(ruleset, line, &table)?.chains.values_mut() {
                chain.rules.clear();
            }
        }
        Act::FlushChain { table, chain } => {
            find_chain(ruleset, line, &table, &chain)?.rules.clear();
        }
        Act::FlushSet { table, set } => {
            find_set(ruleset, line, &table, &set)?.elements.clear();
        }
        Act::List { list, reset } => {
            match &list {
                List::Table(table) => drop(find(ruleset, line, table)?),
                List::Chain(table, chain) => drop(find_chain(ruleset, line, table, chain)?),
                List::Set(table, set) => drop(find_set(ruleset, line, table, set)?),
                List::Object(table, object) => {
                    let found = find(ruleset, line, table)?.objects.get(object);
                    found.ok_or_else(|| no_object(line, object))?;
                }
                List::Objects { table: Some(table), .. } => drop(find(ruleset, line, table)?),
                List::Ruleset(_) | List::Tables(_) | List::Objects { .. } => {}
            }
            lists.push(Listing { list, reset });
        }
    }
    Ok(())
}

fn print((family, name): &TableKey) -> String {
    format!("{} {name}", family.name())
}

fn no_object(line: u32, (kind, name): &ObjectKey) -> Error {
    Error::new(line, format!("there is no {} {name}", kind.name()))
}

fn no_table(line: u32, table: &TableKey) -> Error {
    Error::new(line, format!("there is no table {}", print(table)))
}

fn find<'a>(ruleset: &'a mut Ruleset, line: u32, table: &TableKey) -> Result<&'a mut Table, Error> {
    ruleset.tables.get_mut(table).ok_or_else(|| no_table(line, table))
}

fn find_chain<'a>(
    ruleset: &'a mut Ruleset,
    line: u32,
    table: &TableKey,
    chain: &str,
) -> Result<&'a mut Chain, Error> {
    let found = find(ruleset, line, table)?.chains.get_mut(chain);
    found.ok_or_else(|| Error::new(line, format!("there is no chain {chain} in {}", print(table))))
}

fn find_set<'a>(
    ruleset: &'a mut Ruleset,
    line: u32,
    table: &TableKey,
    set: &str,
) -> Result<&'a mut Set, Error> {
    let found = find(ruleset, line, table)?.sets.get_mut(set);
    found.ok_or_else(|| Error::new(line, format!("there is no set {set} in {}", print(table))))
}

/// Where packets' flows are found.
const LEAST_NAT_PRIORITY: i32 = -200;

/// Has a table of this family that hook?
fn check_base(line: u32, table: &TableKey, base: Option<&super::ast::Base>) -> Result<(), Error> {
    use super::ast::Hook;
    let Some(base) = base else { return Ok(()) };
    let has = match table.0 {
        Family::Ip => !matches!(base.hook, Hook::Ingress | Hook::Egress),
        Family::Inet => base.hook != Hook::Egress,
        Family::Arp => matches!(base.hook, Hook::Input | Hook::Output),
        Family::Netdev => matches!(base.hook, Hook::Ingress | Hook::Egress),
    };
    if !has {
        let (family, hook) = (table.0.name(), base.hook.name());
        return Err(Error::new(line, format!("tables of family {family} have no hook {hook}")));
    }
    if base.nat {
        let has = matches!(table.0, Family::Ip | Family::Inet)
            && matches!(
                base.hook,
                Hook::Prerouting | Hook::Input | Hook::Output | Hook::Postrouting
            );
        if !has {
            let (family, hook) = (table.0.name(), base.hook.name());
            return Err(Error::new(
                line,
                format!(
                    "tables of family {family} have no chains of type nat at {hook}: ip and inet have, at prerouting, input, output and postrouting"
                ),
            ));
        }
        if base.priority <= LEAST_NAT_PRIORITY {
            return Err(Error::new(
                line,
                "a chain of type nat needs a priority above -200: before, flows are not known",
            ));
        }
    }
    let on_device = matches!(base.hook, Hook::Ingress | Hook::Egress);
    match (on_device, base.devices.is_empty()) {
        (true, true) => Err(Error::new(line, "at this hook a chain needs \"device NAME\"")),
        (false, false) => Err(Error::new(
            line,
            "at this hook a chain is for all interfaces: leave \"device\" out",
        )),
        _ => Ok(()),
    }
}

fn add_chain(
    table: &mut Table,
    line: u32,
    name: String,
    new: Chain,
    create: bool,
) -> Result<(), Error> {
    match table.chains.get_mut(&name) {
        Some(_) if create => Err(Error::new(line, format!("there is a chain {name} already"))),
        Some(chain) => match (&mut chain.base, new.base) {
            (_, None) => Ok(()),
            (Some(old), Some(new)) => {
                let accept = old.accept;
                *old = super::ast::Base { accept, ..new };
                Ok(())
            }
            (None, Some(_)) => Err(Error::new(
                line,
                format!("the chain {name} is there, without a hook: delete it first"),
            )),
        },
        None => {
            table.chain_order.push(name.clone());
            table.chains.insert(name, new);
            Ok(())
        }
    }
}

fn add_set(
    table: &mut Table,
    line: u32,
    name: String,
    set: Set,
    create: bool,
) -> Result<(), Error> {
    match table.sets.get(&name) {
        Some(_) if create => Err(Error::new(line, format!("there is a set {name} already"))),
        Some(old) if (&old.key, old.holds) != (&set.key, set.holds) => {
            Err(Error::new(line, format!("the set {name} is there, with another type")))
        }
        Some(_) => Ok(()),
        None => {
            table.set_order.push(name.clone());
            table.sets.insert(name, set);
            Ok(())
        }
    }
}

fn delete_elements(set: &mut Set, line: u32, elements: Vec<Element>) -> Result<(), Error> {
    for element in elements {
        let before = set.elements.len();
        set.elements.retain(|other| other.key != element.key);
        if set.elements.len() == before {
            return Err(Error::new(line, "there is no such element"));
        }
    }
    Ok(())
}

fn position(rules: &[super::ast::Rule], line: u32, handle: u64) -> Result<usize, Error> {
    let at = rules.iter().position(|rule| rule.handle == handle);
    at.ok_or_else(|| Error::new(line, format!("the chain has no rule with handle {handle}")))
}

fn put(chain: &mut Chain, line: u32, place: Place, rule: super::ast::Rule) -> Result<(), Error> {
    let rules = &mut chain.rules;
    let at = match place {
        Place::First => 0,
        Place::Last => rules.len(),
        Place::Before(handle) => position(rules, line, handle)?,
        Place::After(handle) => position(rules, line, handle)? + 1,
        Place::Instead(handle) => {
            let at = position(rules, line, handle)?;
            rules.remove(at);
            at
        }
    };
    rules.insert(at, rule);
    Ok(())
}
