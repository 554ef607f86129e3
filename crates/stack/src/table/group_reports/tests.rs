use super::*;
use crate::table::membership::{Filter, FilterMode};
use narrows_wire::igmp::{self, Message};

const ETH: InterfaceId = InterfaceId(1);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const KEY: GroupKey = (ETH, GROUP);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn sources(lasts: &[u8]) -> BTreeSet<Ipv4Addr> {
    lasts.iter().map(|last| [10, 0, 0, *last].into()).collect()
}

fn include(lasts: &[u8]) -> Filter {
    Filter { mode: FilterMode::Include, sources: sources(lasts) }
}

fn transition(before: Filter, after: Filter) -> Transition {
    Transition { key: KEY, before, after }
}

fn joined() -> Transition {
    transition(Filter::NOBODY, Filter::EVERYBODY)
}

struct Host {
    reports: GroupReports,
    random: Random,
}

impl Host {
    fn new() -> Self {
        Self { reports: GroupReports::default(), random: Random::new([3; 16]) }
    }

    /// A query as it is on the wire: version 3 with `rest`, else with none.
    fn asked(&mut self, now: u64, code: u8, group: Ipv4Addr, rest: &[u8]) {
        let mut bytes = [&[0x11, code, 0, 0][..], &group.octets(), rest].concat();
        igmp::complete(&mut bytes);
        let Ok(Message::Query(query)) = Message::parse(&bytes) else { panic!("{bytes:?}") };
        self.reports.asked(at(now), &mut self.random, ETH, &query, true);
    }

    /// What becomes due until `until`, with when.
    fn due(&mut self, until: u64) -> Vec<(u64, Due)> {
        let mut due = Vec::new();
        while let Some(next) = self.reports.next_timeout().filter(|next| *next <= at(until)) {
            due.extend(
                self.reports.expire(next, &mut self.random).map(|each| (next.as_millis(), each)),
            );
        }
        due
    }
}

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[test]
fn a_change_of_mode_is_told_at_once_and_again_within_a_second() {
    let mut host = Host::new();
    host.reports.changed(at(5000), &joined());
    let due = host.due(99_999);
    let [(first, one), (second, two)] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!((one, two), (&Due::Change(KEY, Change::Mode), &Due::Change(KEY, Change::Mode)));
    assert_eq!(*first, 5000);
    assert!((5000..6000).contains(second), "{second}");
}

#[test]
fn changes_of_sources_are_each_told_twice() {
    let mut host = Host::new();
    host.reports.changed(at(0), &transition(include(&[]), include(&[1])));
    let first = host.reports.expire(at(0), &mut host.random);
    assert_eq!(first, Some(Due::Change(KEY, Change::Sources(sources(&[1])))));
    host.reports.changed(at(1), &transition(include(&[1]), include(&[1, 2])));
    let told: Vec<_> = host.due(99_999).into_iter().map(|(_, due)| due).collect();
    let of = |lasts: &[u8]| Due::Change(KEY, Change::Sources(sources(lasts)));
    assert_eq!(told, [of(&[1, 2]), of(&[2])]);
    // What is the same is not told.
    host.reports.changed(at(1), &transition(include(&[1]), include(&[1])));
    assert_eq!(host.reports.next_timeout(), None);
}

#[test]
fn the_queriers_robustness_is_followed() {
    let mut host = Host::new();
    host.asked(0, 1, ANY, &[5, 125, 0, 0]);
    host.due(10_000);
    host.reports.changed(at(20_000), &joined());
    assert_eq!(host.due(99_999).len(), 5);
}

/// CVE-2012-0207: a maximum response time of zero must neither stop the host nor make it a flood.
#[test]
fn no_response_time_is_at_most_ten_answers_a_second() {
    for (code, rest) in [(0, &[2, 125, 0, 0][..]), (1, &[2, 125, 0, 0]), (1, &[])] {
        let mut host = Host::new();
        for millis in 0..10_000 {
            host.asked(millis, code, ANY, rest);
            host.asked(millis, code, GROUP, rest);
            let due = host.due(millis);
            assert!(due.len() <= 2, "{due:?}");
        }
        let mut host = Host::new();
        let mut answers = 0;
        for _ in 0..1000 {
            host.asked(0, code, ANY, rest);
            answers += host.due(0).len();
        }
        assert!(answers <= 60, "{answers} of a thousand at once");
    }
}

#[test]
fn an_answer_comes_within_the_time_asked_for() {
    for (code, rest, longest) in [
        (100, &[2, 125, 0, 0][..], 10_000),
        (0xff, &[2, 125, 0, 0], 3_174_400),
        (50, &[], 5_000),
        (0, &[], 10_000),
    ] {
        let mut host = Host::new();
        host.asked(1000, code, ANY, rest);
        let due = host.due(u64::MAX / 2_000_000);
        assert!(
            matches!(due.as_slice(), [(when, Due::General(ETH))] if (1000..=1000 + longest).contains(when)),
            "{due:?}"
        );
    }
}

#[test]
fn a_storm_of_queries_has_one_answer_per_group_waiting() {
    let mut host = Host::new();
    for number in 0..1000u32 {
        let source = Ipv4Addr::from(number).octets();
        host.asked(0, 100, GROUP, &[&[2, 125, 0, 1][..], &source].concat());
    }
    assert!(host.reports.asked.values().all(|asked| asked.len() <= MAX_ASKED));
    assert_eq!(host.reports.timers.len(), 1);
    let due = host.due(99_999);
    assert!(matches!(due.as_slice(), [(_, Due::Response(KEY, _))]), "{due:?}");
}

#[test]
fn a_query_about_sources_is_answered_about_those_unless_the_group_was_asked_for() {
    let asks = |host: &mut Host, last| host.asked(0, 100, GROUP, &[2, 125, 0, 1, 10, 0, 0, last]);
    let mut host = Host::new();
    asks(&mut host, 1);
    asks(&mut host, 2);
    let due = host.due(99_999);
    assert_eq!(due.first().map(|(_, due)| due), Some(&Due::Response(KEY, sources(&[1, 2]))));
    for group_first in [true, false] {
        let mut host = Host::new();
        if !group_first {
            asks(&mut host, 1);
        }
        host.asked(0, 100, GROUP, &[2, 125, 0, 0]);
        if group_first {
            asks(&mut host, 1);
        }
        let due = host.due(99_999);
        assert_eq!(due.first().map(|(_, due)| due), Some(&Due::Response(KEY, sources(&[]))));
    }
}

#[test]
fn the_oldest_querier_decides_the_version_until_it_is_silent() {
    let mut host = Host::new();
    let version = |host: &Host, now| host.reports.version(at(now), ETH);
    assert_eq!(version(&host, 0), Version::V3);
    host.asked(0, 100, ANY, &[]);
    assert_eq!(version(&host, 1), Version::V2);
    host.asked(1000, 0, ANY, &[]);
    host.asked(2000, 100, ANY, &[2, 125, 0, 0]);
    assert_eq!(version(&host, 3000), Version::V1);
    assert_eq!(version(&host, 261_000), Version::V3);
    host.asked(200_000, 100, ANY, &[]);
    assert_eq!(version(&host, 261_000), Version::V2);
    assert_eq!(version(&host, 460_000), Version::V3);
}

#[test]
fn a_change_of_version_ends_what_waits() {
    let mut host = Host::new();
    host.reports.changed(at(0), &joined());
    host.reports.expire(at(0), &mut host.random);
    host.asked(0, 100, GROUP, &[2, 125, 0, 0]);
    host.asked(0, 100, ANY, &[]);
    let due = host.due(99_999);
    assert!(matches!(due.as_slice(), [(_, Due::General(ETH))]), "{due:?}");
}

#[test]
fn anothers_report_is_answer_enough_for_old_routers_only() {
    let mut host = Host::new();
    host.asked(0, 100, GROUP, &[]);
    host.reports.heard(at(1), KEY);
    assert_eq!(host.due(99_999), []);
    let mut host = Host::new();
    host.asked(0, 100, GROUP, &[2, 125, 0, 0]);
    host.reports.heard(at(1), KEY);
    assert_eq!(host.due(99_999).len(), 1);
}

#[test]
fn who_left_answers_nothing_and_says_so_once_to_old_routers() {
    let left = transition(Filter::EVERYBODY, Filter::NOBODY);
    for (rest, times) in [(&[2, 125, 0, 0][..], 2), (&[], 1)] {
        let mut host = Host::new();
        host.asked(0, 100, GROUP, rest);
        host.reports.changed(at(1), &left);
        let due = host.due(99_999);
        assert_eq!(due.len(), times, "{due:?}");
        assert!(due.iter().all(|(_, due)| *due == Due::Change(KEY, Change::Mode)), "{due:?}");
    }
}

#[test]
fn an_interface_takes_everything_along() {
    let mut host = Host::new();
    host.reports.changed(at(0), &joined());
    host.asked(0, 100, GROUP, &[2, 125, 0, 1, 10, 0, 0, 1]);
    host.asked(0, 100, ANY, &[]);
    host.reports.remove_interface(ETH);
    let GroupReports { routers, timers, deadlines, asked, changes } = &host.reports;
    assert!(routers.is_empty() && timers.is_empty() && deadlines.is_empty());
    assert!(asked.is_empty() && changes.is_empty());
}
