//! Who may do what: each act is asked about here before the engine is, or a device, or the
//! configuration. The rules and what follows from them are [`narrows_policy`]'s; here they meet
//! principals and errors.
//!
//! A refusal is the error that Linux would give (EACCES for addresses, EPERM for what needs a
//! privilege), a count by kind of act that `narrows stat` shows, and a line in the log with the
//! principal, the act and the rule.

mod places;
mod refusals;

use crate::{clock::Clock, config::Configuration, principal::Principal};
use narrows_ipc::{Error, message::DropRow};
use narrows_policy::{Access, Act, ActKind, Decision, Policy, Protocol, Reason, Subject};
use narrows_stack::Shard;
use places::Places;
use refusals::Refusals;
use std::net::{IpAddr, SocketAddr};

pub(crate) struct Authority {
    pub policy: Policy,
    places: Places,
    refusals: Refusals,
    clock: Clock,
}

impl Principal {
    /// As rules see it.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            user: self.uid,
            group: self.gid,
            groups: &self.groups,
            executable: self.executable(),
            cgroup: self.cgroup(),
        }
    }
}

impl Authority {
    pub(crate) fn new(policy: Policy, clock: Clock) -> Self {
        let (places, refusals) = (Places::default(), Refusals::default());
        Self { policy, places, refusals, clock }
    }

    /// Takes over which zones there are, and what is in them.
    pub(crate) fn know_zones(&mut self, configuration: &Configuration, shard: &Shard) {
        self.places = Places::of(configuration, shard);
    }

    /// May he bind a socket to that address and port?
    pub(crate) fn bind(
        &mut self,
        shard: &Shard,
        who: &Principal,
        protocol: Protocol,
        local: SocketAddr,
    ) -> Result<(), Error> {
        self.ask(Some(shard), who, &Act::Bind { protocol, local })
    }

    /// May he let others connect there?
    pub(crate) fn listen(
        &mut self,
        shard: &Shard,
        who: &Principal,
        local: SocketAddr,
    ) -> Result<(), Error> {
        self.ask(Some(shard), who, &Act::Listen { local })
    }

    /// May he connect or send there?
    pub(crate) fn connect(
        &mut self,
        shard: &Shard,
        who: &Principal,
        protocol: Protocol,
        mut remote: SocketAddr,
    ) -> Result<(), Error> {
        if protocol == Protocol::Icmp {
            // Whatever the program wrote there.
            remote.set_port(0);
        }
        self.ask(Some(shard), who, &Act::Connect { protocol, remote })
    }

    /// May he hear what is for that group?
    pub(crate) fn multicast(&mut self, who: &Principal, group: IpAddr) -> Result<(), Error> {
        self.ask(None, who, &Act::Multicast { group })
    }

    /// May he use a packet socket so? `None`: on every interface.
    pub(crate) fn packet(
        &mut self,
        who: &Principal,
        interface: Option<&str>,
        access: Access,
    ) -> Result<(), Error> {
        self.ask(None, who, &Act::Packet { interface, access })
    }

    /// The same, where a refusal is none yet.
    pub(crate) fn lets_packet(
        &self,
        who: &Principal,
        interface: Option<&str>,
        access: Access,
    ) -> bool {
        self.judge(None, who, &Act::Packet { interface, access }).allowed
    }

    /// May he use a raw IP socket so? `None`: on every interface.
    pub(crate) fn raw(
        &mut self,
        who: &Principal,
        interface: Option<&str>,
        access: Access,
    ) -> Result<(), Error> {
        self.ask(None, who, &Act::Raw { interface, access })
    }

    /// The same, where a refusal is none yet.
    pub(crate) fn lets_raw(
        &self,
        who: &Principal,
        interface: Option<&str>,
        access: Access,
    ) -> bool {
        self.judge(None, who, &Act::Raw { interface, access }).allowed
    }

    /// May he read reports about the daemon and what everybody does there?
    pub(crate) fn inspect(&mut self, who: &Principal) -> Result<(), Error> {
        self.ask(None, who, &Act::Inspect)
    }

    /// The same, of who does not ask for it, so that nothing is refused.
    pub(crate) fn lets_inspect(&self, who: &Principal) -> bool {
        self.judge(None, who, &Act::Inspect).allowed
    }

    /// May he change how the daemon is set up, end it, or mark packets for its rules?
    pub(crate) fn administer(&mut self, who: &Principal) -> Result<(), Error> {
        self.ask(None, who, &Act::Administer)
    }

    fn ask(&mut self, shard: Option<&Shard>, who: &Principal, act: &Act<'_>) -> Result<(), Error> {
        let decision = self.judge(shard, who, act);
        if decision.allowed {
            return Ok(());
        }
        if self.refusals.note(act.kind(), self.clock.now()) {
            let (pid, uid, executable) = (who.pid, who.uid, who.executable());
            let why = self.explain(decision);
            tracing::warn!(pid, uid, executable, "refused {act}: {why}");
        }
        Err(match act.kind() {
            ActKind::Bind | ActKind::Listen | ActKind::Connect | ActKind::Multicast => {
                Error::PermissionDenied
            }
            ActKind::Raw | ActKind::Packet | ActKind::Inspect | ActKind::Administer => {
                Error::NotPermitted
            }
        })
    }

    /// In every zone where it would happen; a refusal in one of them is a refusal.
    pub(crate) fn decide(
        &self,
        shard: Option<&Shard>,
        subject: &Subject<'_>,
        act: &Act<'_>,
    ) -> Decision {
        self.decide_in(shard, subject, None, act)
    }

    /// The same about a session, which may want to be in one zone alone.
    fn judge(&self, shard: Option<&Shard>, who: &Principal, act: &Act<'_>) -> Decision {
        self.decide_in(shard, &who.subject(), who.zone.get().map(String::as_str), act)
    }

    fn decide_in(
        &self,
        shard: Option<&Shard>,
        subject: &Subject<'_>,
        only: Option<&str>,
        act: &Act<'_>,
    ) -> Decision {
        let (first, more) = self.places.of_act(shard, subject, only, act);
        let decision = self.policy.decide(subject, first, act);
        let others = more.iter().map(|zone| self.policy.decide(subject, zone, act));
        others.fold(decision, |found, other| if found.allowed { other } else { found })
    }

    /// Where the rule is and what it says, or why none was needed.
    pub(crate) fn explain(&self, decision: Decision) -> String {
        match decision.reason {
            Reason::Rule(id) => match self.policy.rule(id) {
                Some(rule) => format!("{}: {rule}", rule.origin),
                None => decision.reason.to_string(),
            },
            reason => reason.to_string(),
        }
    }

    /// What was refused so far, by kind of act.
    pub(crate) fn refused(&self) -> impl Iterator<Item = DropRow> {
        self.refusals.rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_policy::{Effect, Origin, Permit, Rule, Who};

    fn authority(rules: Vec<Rule>) -> Authority {
        let mut policy = Policy::new(500);
        policy.add(rules);
        Authority::new(policy, Clock::start())
    }

    #[test]
    fn refusals_are_the_errors_that_linux_gives_and_are_counted() {
        let shard = Shard::new(narrows_stack::Config::default(), [7; 16]);
        let mut authority = authority(Vec::new());
        let who = Principal::fake(1000, &[], "/bin/x", "/");
        let local = SocketAddr::from(([10, 0, 0, 2], 80));
        let free = SocketAddr::from(([10, 0, 0, 2], 8080));
        let refused = Err(Error::PermissionDenied);
        let not_permitted = Err(Error::NotPermitted);
        assert_eq!(authority.bind(&shard, &who, Protocol::Tcp, local), refused);
        assert_eq!(authority.bind(&shard, &who, Protocol::Udp, local), refused);
        assert_eq!(authority.bind(&shard, &who, Protocol::Tcp, free), Ok(()));
        assert_eq!(authority.administer(&who), not_permitted);
        assert_eq!(authority.packet(&who, Some("lan"), Access::Observe), not_permitted);
        assert_eq!(authority.inspect(&who), Ok(()));
        let root = Principal::fake(0, &[], "", "");
        assert_eq!(authority.bind(&shard, &root, Protocol::Tcp, local), Ok(()));
        let counted: Vec<_> = authority.refused().map(|row| (row.name, row.count)).collect();
        let expected = [("policy-bind", 2), ("policy-packet", 1), ("policy-administer", 1)];
        assert_eq!(counted, expected.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn a_reason_names_the_line() {
        let who = Who { group: Some(4), ..Who::default() };
        let permit = Permit::parse(ActKind::Connect, "10.0.0.0/8:25").expect("grammar");
        let origin = Origin::File { file: "/etc/narrows.toml".into(), line: 12 };
        let authority = authority(vec![Rule { effect: Effect::Deny, who, permit, origin }]);
        let sender = Principal::fake(1000, &[4], "/bin/x", "/");
        let remote = SocketAddr::from(([10, 1, 1, 1], 25));
        let act = Act::Connect { protocol: Protocol::Tcp, remote };
        let decision = authority.decide(None, &sender.subject(), &act);
        assert_eq!(
            authority.explain(decision),
            "/etc/narrows.toml:12: deny group 4 connect 10.0.0.0/8:25"
        );
    }
}
