//! Rules say in which table to look, as ip-rule(8) has them. Invariant: they stand in order of
//! preference, and a rule that goes to another goes forward, so that no lookup goes in circles.

use super::{Query, RouteError, RouteKind, TableId};
use crate::table::interface::InterfaceId;
use core::ops::RangeInclusive;
use narrows_wire::address::Prefix;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The lowest is asked first.
    pub preference: u32,
    pub selector: Selector,
    pub action: Action,
}

/// What a rule is about: packets of which all is true that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// About all others instead.
    pub invert: bool,
    pub from: Option<Prefix>,
    pub to: Option<Prefix>,
    /// Where the packet came in; the loopback for those of this host.
    pub input: Option<InterfaceId>,
    /// What the sending socket is bound to.
    pub output: Option<InterfaceId>,
    /// The same by group: ip-rule(8) has no words for it, nft(8) calls them `iifgroup` and `oifgroup`.
    pub input_group: Option<u32>,
    pub output_group: Option<u32>,
    /// Value and mask of the mark.
    pub mark: Option<(u32, u32)>,
    /// Of the sending socket's owner. Nobody owns what is forwarded: it has user 0, as on Linux.
    pub users: Option<RangeInclusive<u32>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Lookup(TableId),
    /// On to the first rule of that preference or a higher one.
    Goto(u32),
    Blackhole,
    Unreachable,
    Prohibit,
}

impl Action {
    /// What packets are refused with.
    pub(super) fn refusal(self) -> Option<RouteKind> {
        match self {
            Self::Lookup(_) | Self::Goto(_) => None,
            Self::Blackhole => Some(RouteKind::Blackhole),
            Self::Unreachable => Some(RouteKind::Unreachable),
            Self::Prohibit => Some(RouteKind::Prohibit),
        }
    }
}

impl Selector {
    fn matches(&self, query: &Query, groups: &BTreeMap<InterfaceId, u32>) -> bool {
        let group = |interface: InterfaceId| groups.get(&interface).copied().unwrap_or(0);
        let from = |prefix: Prefix| {
            // Nothing is known of a source that is yet to be chosen.
            prefix.length() == 0
                || query.source.is_some_and(|source| prefix.contains(source.into()))
        };
        let input = query.input.unwrap_or(InterfaceId::LOOPBACK);
        let all = self.from.is_none_or(from)
            && self.to.is_none_or(|prefix| prefix.contains(query.destination.into()))
            && self.input.is_none_or(|interface| interface == input)
            && self.output.is_none_or(|interface| query.output == Some(interface))
            && self.input_group.is_none_or(|wanted| wanted == group(input))
            && self.output_group.is_none_or(|wanted| query.output.map(group) == Some(wanted))
            && self.mark.is_none_or(|(value, mask)| (value ^ query.mark) & mask == 0)
            && self.users.as_ref().is_none_or(|users| users.contains(&query.principal.uid));
        all != self.invert
    }
}

/// Which rules to remove: the first of which all is true that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleFilter {
    pub preference: Option<u32>,
    pub selector: Selector,
    pub action: Option<Action>,
}

impl RuleFilter {
    fn matches(&self, rule: &Rule) -> bool {
        fn agrees<T: PartialEq>(asked: &Option<T>, held: &Option<T>) -> bool {
            asked.is_none() || asked == held
        }
        let (asked, held) = (&self.selector, &rule.selector);
        self.preference.is_none_or(|preference| preference == rule.preference)
            && self.action.is_none_or(|action| action == rule.action)
            && asked.invert == held.invert
            && agrees(&asked.from, &held.from)
            && agrees(&asked.to, &held.to)
            && agrees(&asked.input, &held.input)
            && agrees(&asked.output, &held.output)
            && agrees(&asked.input_group, &held.input_group)
            && agrees(&asked.output_group, &held.output_group)
            && agrees(&asked.mark, &held.mark)
            && agrees(&asked.users, &held.users)
    }
}

#[derive(Clone, Debug)]
pub(super) struct RuleList {
    rules: Vec<Rule>,
    /// Of interfaces in another group than 0.
    groups: BTreeMap<InterfaceId, u32>,
}

/// As in the kernel.
const LOCAL: u32 = 0;
const MAIN: u32 = 32_766;
const DEFAULT: u32 = 32_767;

impl Default for RuleList {
    fn default() -> Self {
        let lookup = |preference, table| Rule {
            preference,
            selector: Selector::default(),
            action: Action::Lookup(table),
        };
        Self {
            rules: vec![
                lookup(LOCAL, TableId::LOCAL),
                lookup(MAIN, TableId::MAIN),
                lookup(DEFAULT, TableId::DEFAULT),
            ],
            groups: BTreeMap::new(),
        }
    }
}

impl RuleList {
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// The rules that are about such a packet, in turn.
    pub fn about<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = Action> + 'a {
        let mut from = 0;
        self.rules.iter().filter_map(move |rule| {
            if rule.preference < from || !rule.selector.matches(query, &self.groups) {
                return None;
            }
            if let Action::Goto(preference) = rule.action {
                from = preference;
                return None;
            }
            Some(rule.action)
        })
    }

    /// The preference of a rule that names none: before the first but the local one, as Linux has
    /// it.
    pub fn free_preference(&self) -> u32 {
        let first = self.rules.get(1).map_or(MAIN, |rule| rule.preference);
        first.saturating_sub(1)
    }

    /// After those of the same preference.
    pub fn add(&mut self, rule: Rule) -> Result<(), RouteError> {
        if matches!(rule.action, Action::Goto(preference) if preference <= rule.preference) {
            return Err(RouteError::GotoBackwards);
        }
        if matches!(rule.action, Action::Lookup(TableId(0))) {
            return Err(RouteError::NoSuchTable);
        }
        if self.rules.contains(&rule) {
            return Err(RouteError::RuleExists);
        }
        let index = self.rules.partition_point(|held| held.preference <= rule.preference);
        self.rules.insert(index, rule);
        Ok(())
    }

    pub fn remove(&mut self, filter: &RuleFilter) -> Result<Rule, RouteError> {
        let found = self.rules.iter().position(|rule| filter.matches(rule));
        match found.ok_or(RouteError::RuleNotFound)? {
            0 => Err(RouteError::RuleIsPermanent),
            index => Ok(self.rules.remove(index)),
        }
    }

    pub fn set_group(&mut self, interface: InterfaceId, group: u32) {
        match group {
            0 => self.groups.remove(&interface),
            group => self.groups.insert(interface, group),
        };
    }

    /// An interface goes, and the rules about it.
    pub fn remove_interface(&mut self, interface: InterfaceId) {
        self.groups.remove(&interface);
        let gone = Some(interface);
        self.rules
            .retain(|Rule { selector, .. }| selector.input != gone && selector.output != gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Principal;

    fn rule(preference: u32, selector: Selector, table: u32) -> Rule {
        Rule { preference, selector, action: Action::Lookup(TableId(table)) }
    }

    fn prefix(text: &str) -> Option<Prefix> {
        let (address, length) = text.split_once('/')?;
        Prefix::new(address.parse().ok()?, length.parse().ok()?)
    }

    fn tables(list: &RuleList, query: &Query) -> Vec<u32> {
        let table = |action| match action {
            Action::Lookup(TableId(table)) => table,
            other => panic!("{other:?}"),
        };
        list.about(query).map(table).collect()
    }

    #[test]
    fn rules_about_a_group_are_about_who_is_in_it() {
        let (lan, wan) = (InterfaceId(1), InterfaceId(2));
        let mut list = RuleList::default();
        let input = Selector { input_group: Some(7), ..Selector::default() };
        let output = Selector { output_group: Some(7), ..Selector::default() };
        list.add(rule(10, input, 10)).expect("a new rule");
        list.add(rule(20, output, 20)).expect("a new rule");
        let zero = Selector { input_group: Some(0), ..Selector::default() };
        list.add(rule(30, zero, 30)).expect("a new rule");
        let plain = Query::to([192, 0, 2, 1].into());
        let asked = |list: &RuleList, interface| {
            let from = tables(list, &Query { input: Some(interface), ..plain });
            let by = tables(list, &Query { output: Some(interface), ..plain });
            (from.contains(&10), by.contains(&20), from.contains(&30))
        };
        assert_eq!(asked(&list, lan), (false, false, true));
        list.set_group(lan, 7);
        assert_eq!(asked(&list, lan), (true, true, false));
        assert_eq!(asked(&list, wan), (false, false, true));
        // Neither is what this host sends of itself, wherever it may leave.
        assert!(!tables(&list, &plain).iter().any(|table| [10, 20].contains(table)));
        list.remove_interface(lan);
        assert_eq!(asked(&list, lan), (false, false, true), "the number may be another's then");
        assert_eq!(list.len(), 6);
    }

    #[test]
    fn each_selector_selects() {
        let destination = [192, 0, 2, 1].into();
        let plain = Query::to(destination);
        let from = |source: [u8; 4]| Query { source: Some(source.into()), ..plain };
        let by = |input| Query { input: Some(InterfaceId(input)), ..plain };
        let (any, none) = (Selector::default, BTreeMap::new());
        for (selector, yes, no) in [
            (
                Selector { from: prefix("10.0.0.0/8"), ..any() },
                from([10, 1, 1, 1]),
                from([11, 1, 1, 1]),
            ),
            (Selector { from: prefix("10.0.0.0/8"), ..any() }, from([10, 1, 1, 1]), plain),
            (
                Selector { to: prefix("192.0.2.0/24"), ..any() },
                plain,
                Query::to([192, 0, 3, 1].into()),
            ),
            (Selector { input: Some(InterfaceId(2)), ..any() }, by(2), by(1)),
            (Selector { input: Some(InterfaceId::LOOPBACK), ..any() }, plain, by(1)),
            (
                Selector { output: Some(InterfaceId(2)), ..any() },
                Query { output: Some(InterfaceId(2)), ..plain },
                plain,
            ),
            (
                Selector { mark: Some((0x10, 0xf0)), ..any() },
                Query { mark: 0x1f, ..plain },
                Query { mark: 0x2f, ..plain },
            ),
            (
                Selector { users: Some(1000..=1999), ..any() },
                Query { principal: Principal::user(1999), ..plain },
                Query { principal: Principal::user(2000), ..plain },
            ),
            (
                Selector { invert: true, to: prefix("10.0.0.0/8"), ..any() },
                plain,
                Query::to([10, 0, 0, 1].into()),
            ),
        ] {
            assert!(selector.matches(&yes, &none), "{selector:?} {yes:?}");
            assert!(!selector.matches(&no, &none), "{selector:?} {no:?}");
        }
    }

    #[test]
    fn rules_are_asked_in_order_of_preference() {
        let query = Query::to([192, 0, 2, 1].into());
        let mut list = RuleList::default();
        assert_eq!(tables(&list, &query), [255, 254, 253]);
        assert_eq!(list.free_preference(), 32_765);
        list.add(rule(100, Selector::default(), 7)).unwrap();
        list.add(rule(50, Selector::default(), 8)).unwrap();
        list.add(rule(100, Selector::default(), 9)).unwrap();
        assert_eq!(tables(&list, &query), [255, 8, 7, 9, 254, 253]);
        assert_eq!(list.free_preference(), 49);
    }

    #[test]
    fn a_rule_can_only_go_forward() {
        let query = Query::to([192, 0, 2, 1].into());
        let mut list = RuleList::default();
        let goto = |preference, target| Rule {
            preference,
            selector: Selector::default(),
            action: Action::Goto(target),
        };
        list.add(rule(200, Selector::default(), 7)).unwrap();
        assert_eq!(list.add(goto(100, 100)), Err(RouteError::GotoBackwards));
        assert_eq!(list.add(goto(100, 50)), Err(RouteError::GotoBackwards));
        list.add(goto(100, 300)).unwrap();
        assert_eq!(tables(&list, &query), [255, 254, 253]);
        list.add(goto(50, u32::MAX)).unwrap();
        assert_eq!(tables(&list, &query), [255]);
    }

    #[test]
    fn what_can_not_be_changed() {
        let mut list = RuleList::default();
        let local = RuleFilter { preference: Some(0), ..RuleFilter::default() };
        assert_eq!(list.remove(&local), Err(RouteError::RuleIsPermanent));
        let missing = RuleFilter { preference: Some(5), ..RuleFilter::default() };
        assert_eq!(list.remove(&missing), Err(RouteError::RuleNotFound));
        let again = rule(32_766, Selector::default(), 254);
        assert_eq!(list.add(again), Err(RouteError::RuleExists));
        let main =
            RuleFilter { action: Some(Action::Lookup(TableId::MAIN)), ..RuleFilter::default() };
        assert_eq!(list.remove(&main).map(|rule| rule.preference), Ok(32_766));
        let nowhere = rule(5, Selector::default(), 0);
        assert_eq!(list.add(nowhere), Err(RouteError::NoSuchTable));
    }
}
