//! Ports to rules: spans that don't overlap, sorted, so that a lookup is one binary search however
//! many rules overlap.

use std::collections::BTreeSet;

/// Index of a rule in its policy.
pub(crate) type RuleIndex = u32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortMap {
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: u16,
    last: u16,
    rule: RuleIndex,
}

impl PortMap {
    /// Of ranges (both ends included) that may overlap; the first rule counts where several do.
    pub(crate) fn new(ranges: &[(u16, u16, RuleIndex)]) -> Self {
        // Where a range begins and where it has ended, as numbers beyond the last port too.
        let mut edges: Vec<(u32, bool, RuleIndex)> = Vec::with_capacity(ranges.len() * 2);
        for (first, last, rule) in ranges.iter().filter(|(first, last, _)| first <= last) {
            edges.push((u32::from(*first), true, *rule));
            edges.push((u32::from(*last) + 1, false, *rule));
        }
        edges.sort_unstable();
        let mut spans: Vec<Span> = Vec::new();
        let mut active = BTreeSet::new();
        let mut edges = edges.into_iter().peekable();
        while let Some((at, begins, rule)) = edges.next() {
            if begins {
                active.insert(rule);
            } else {
                active.remove(&rule);
            }
            let Some((next, ..)) = edges.peek() else { break };
            let (Some(rule), true) = (active.first(), *next > at) else { continue };
            let (Ok(first), Ok(last)) = (u16::try_from(at), u16::try_from(*next - 1)) else {
                continue;
            };
            match spans.last_mut() {
                Some(span) if span.rule == *rule && span.last.checked_add(1) == Some(first) => {
                    span.last = last;
                }
                _ => spans.push(Span { first, last, rule: *rule }),
            }
        }
        Self { spans }
    }

    pub(crate) fn get(&self, port: u16) -> Option<RuleIndex> {
        let at = self.spans.partition_point(|span| span.last < port);
        self.spans.get(at).filter(|span| span.first <= port).map(|span| span.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_rule_counts_where_several_overlap() {
        let map = PortMap::new(&[(80, 90, 3), (85, 85, 1), (88, 65_535, 2), (0, 0, 9), (7, 5, 0)]);
        let cases = [
            (0, Some(9)),
            (1, None),
            (6, None),
            (79, None),
            (80, Some(3)),
            (84, Some(3)),
            (85, Some(1)),
            (86, Some(3)),
            (88, Some(2)),
            (65_535, Some(2)),
        ];
        for (port, expected) in cases {
            assert_eq!(map.get(port), expected, "{port}");
        }
    }

    #[test]
    fn a_rule_that_another_begins_and_ends_in_is_one_span() {
        let map = PortMap::new(&[(1, 9, 7), (3, 5, 8)]);
        assert_eq!(map.spans, [Span { first: 1, last: 9, rule: 7 }]);
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_every_range(
            ranges in prop::collection::vec((0_u16..40, 0_u16..40), 0..30),
        ) {
            let ranges: Vec<_> = ranges.into_iter().zip(0..).map(|((a, b), rule)| (a, b, rule)).collect();
            let map = PortMap::new(&ranges);
            for port in 0..=41 {
                let mut holding = ranges.iter().filter(|(a, b, _)| (*a..=*b).contains(&port));
                prop_assert_eq!(map.get(port), holding.next().map(|(.., rule)| *rule));
            }
        }
    }
}
