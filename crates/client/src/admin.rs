//! Questions about the daemon itself.

use crate::{error::Error, session::Session, stack::Stack};
use narrows_ipc::{
    Reply, Request,
    change::Change,
    conntrack::{FlowFilter, FlowNews, FlowRow},
    inspect::InspectorRow,
    link::{BondRow, FdbRow, PortRow},
    message::{BillRow, GroupRow, LinkRow, NeighborRow, Page, SocketRow, Statistics},
    packet::{FrameMatch, TakerRow},
    policy::{Defaults, Forbid, PolicyAnswer, PolicyQuestion, PolicyRow},
    route::{RouteAnswer, RouteQuestion, RouteRow, RuleRow},
    see::LossRow,
    zone::ZoneRow,
};
use std::{
    cell::Cell,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// An answered echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    pub round_trip: Duration,
    pub ttl: u8,
}

/// All that decides who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyReport {
    /// The user who started the daemon, who may do what root may.
    pub owner: u32,
    pub defaults: Defaults,
    pub rows: Vec<PolicyRow>,
}

impl Stack {
    /// Every socket, asked for page by page.
    pub fn sockets(&self) -> Result<Vec<SocketRow>, Error> {
        self.with(|session| session.sockets())
    }

    /// Who gets such a frame, in order, and what becomes of it.
    pub fn who_has(&self, frame: &FrameMatch) -> Result<Vec<TakerRow>, Error> {
        self.pages(
            |after| Request::WhoHas { frame: Box::new(frame.clone()), after },
            |reply| match reply {
                Reply::Takers(page) => Some(page),
                _ => None,
            },
        )
    }

    /// Who decides about packets.
    pub fn inspectors(&self) -> Result<Vec<InspectorRow>, Error> {
        self.pages(
            |after| Request::Inspectors { after },
            |reply| match reply {
                Reply::Inspectors(page) => Some(page),
                _ => None,
            },
        )
    }

    /// Ends the TCP connection between two addresses, as one of its ends sees them: that end's program
    /// is told `ConnectionAborted`, the other end's a reset. Refused as `NoSuchEntry` if there is none.
    pub fn kill(&self, local: SocketAddr, remote: SocketAddr) -> Result<(), Error> {
        match self.ask(Request::Kill { local, remote })? {
            Reply::Done => Ok(()),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// Counters, and drops by name.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        match self.ask(Request::Statistics)? {
            Reply::Statistics(statistics) => Ok(statistics),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// Every user's bill.
    pub fn bills(&self) -> Result<Vec<BillRow>, Error> {
        self.pages(
            |after| Request::Bills { after },
            |reply| match reply {
                Reply::Bills(page) => Some(page),
                _ => None,
            },
        )
    }

    /// What frames can end for.
    pub fn drop_reasons(&self) -> Result<Vec<String>, Error> {
        match self.ask(Request::DropReasons)? {
            Reply::Names(names) => Ok(names),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// Drops by reason, interface and user.
    pub fn losses(&self) -> Result<Vec<LossRow>, Error> {
        self.pages(
            |after| Request::Losses { after },
            |reply| match reply {
                Reply::Losses(page) => Some(page),
                _ => None,
            },
        )
    }

    pub fn links(&self) -> Result<Vec<LinkRow>, Error> {
        self.with(|session| session.links())
    }

    pub fn bonds(&self) -> Result<Vec<BondRow>, Error> {
        self.pages(
            |after| Request::Bonds { after },
            |reply| match reply {
                Reply::Bonds(page) => Some(page),
                _ => None,
            },
        )
    }

    /// The ports of all bridges.
    pub fn bridge_ports(&self) -> Result<Vec<PortRow>, Error> {
        self.pages(
            |after| Request::Ports { after },
            |reply| match reply {
                Reply::Ports(page) => Some(page),
                _ => None,
            },
        )
    }

    /// The stations that bridges know.
    pub fn bridge_stations(&self) -> Result<Vec<FdbRow>, Error> {
        self.pages(
            |after| Request::Fdb { after },
            |reply| match reply {
                Reply::Fdb(page) => Some(page),
                _ => None,
            },
        )
    }

    /// The routes of one table, or of all, asked for page by page; in no order.
    pub fn routes(&self, table: Option<u32>) -> Result<Vec<RouteRow>, Error> {
        self.with(|session| session.routes(table))
    }

    /// In the order in which they are asked.
    pub fn rules(&self) -> Result<Vec<RuleRow>, Error> {
        self.with(|session| session.rules())
    }

    /// Where a packet would go.
    pub fn route(&self, question: RouteQuestion) -> Result<RouteAnswer, Error> {
        self.with(|session| session.route(question))
    }

    pub fn neighbors(&self) -> Result<Vec<NeighborRow>, Error> {
        self.with(|session| session.neighbors())
    }

    /// Multicast groups, by interface.
    pub fn groups(&self) -> Result<Vec<GroupRow>, Error> {
        self.pages(
            |after| Request::Groups { after },
            |reply| match reply {
                Reply::Groups(page) => Some(page),
                _ => None,
            },
        )
    }

    /// The rules of the policy by ascending number, and what holds without one.
    pub fn policy(&self) -> Result<PolicyReport, Error> {
        let found = Cell::new((0, Defaults::default()));
        let rows = self.pages(
            |after| Request::Policy { after },
            |reply| match reply {
                Reply::Policy { owner, defaults, page } => {
                    found.set((owner, defaults));
                    Some(page)
                }
                _ => None,
            },
        )?;
        let (owner, defaults) = found.get();
        Ok(PolicyReport { owner, defaults, rows })
    }

    /// What the configuration says that nobody of some kind may be able to do.
    pub fn forbidden(&self) -> Result<Vec<Forbid>, Error> {
        self.pages(
            |after| Request::Forbidden { after },
            |reply| match reply {
                Reply::Forbidden(page) => Some(page),
                _ => None,
            },
        )
    }

    /// What the policy would decide.
    pub fn decide(&self, question: PolicyQuestion) -> Result<PolicyAnswer, Error> {
        match self.ask(Request::Decide(Box::new(question)))? {
            Reply::Decided(answer) => Ok(answer),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// `public` first.
    pub fn zones(&self) -> Result<Vec<ZoneRow>, Error> {
        self.pages(
            |after| Request::Zones { after },
            |reply| match reply {
                Reply::Zones(page) => Some(page),
                _ => None,
            },
        )
    }

    /// Tracked flows; [`Error::RefusedBecause`] if none are tracked.
    pub fn flows(&self) -> Result<Vec<FlowRow>, Error> {
        self.pages(
            |after| Request::Flows { after },
            |reply| match reply {
                Reply::Flows(page) => Some(page),
                _ => None,
            },
        )
    }

    /// Forgets the flows that fit; how many there were. For root and the daemon's own user.
    pub fn flush_flows(&self, filter: &FlowFilter) -> Result<u32, Error> {
        match self.ask(Request::FlushFlows(filter.clone()))? {
            Reply::Count(count) => Ok(count),
            Reply::Refused(why) => Err(Error::RefusedBecause(why)),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// What happened to flows since the last answer's `next`, or from now on.
    pub fn flow_news(&self, after: Option<u64>) -> Result<FlowNews, Error> {
        match self.ask(Request::FlowNews { after })? {
            Reply::FlowNews(news) => Ok(news),
            Reply::Refused(why) => Err(Error::RefusedBecause(why)),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// One ICMP echo request with `payload_len` bytes of data. `TimedOut` when no answer came
    /// in time.
    pub fn ping(
        &self,
        destination: Ipv4Addr,
        sequence: u16,
        payload_len: u16,
        timeout: Duration,
    ) -> Result<Pong, Error> {
        match self.ask(Request::Ping { destination, sequence, payload_len, timeout })? {
            Reply::Pong { round_trip, ttl } => Ok(Pong { round_trip, ttl }),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// Changes something of the running daemon; allowed to root and the daemon's own user.
    pub fn change(&self, change: Change) -> Result<(), Error> {
        match self.ask(Request::Change(change))? {
            Reply::Done => Ok(()),
            Reply::Refused(why) => Err(Error::RefusedBecause(why)),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// Has the daemon read its configuration file again: what changed, a line each.
    pub fn reload(&self) -> Result<Vec<String>, Error> {
        match self.ask(Request::Reload)? {
            Reply::Reloaded(changes) => Ok(changes),
            Reply::Refused(why) => Err(Error::RefusedBecause(why)),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// Ends the daemon.
    pub fn stop(&self) -> Result<(), Error> {
        match self.ask(Request::Stop)? {
            Reply::Done => Ok(()),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    fn pages<T>(
        &self,
        request: impl Fn(u32) -> Request,
        page: impl Fn(Reply) -> Option<Page<T>>,
    ) -> Result<Vec<T>, Error> {
        self.with(|session| session.pages(request, page))
    }

    fn ask(&self, request: Request) -> Result<Reply, Error> {
        self.with(|session| session.ask(&request, None))
    }
}

/// What programs ask about this host, too.
impl Session {
    /// Every socket, asked for page by page.
    pub fn sockets(&mut self) -> Result<Vec<SocketRow>, Error> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            match self.ask(&Request::Sockets { after }, None)? {
                Reply::Sockets { rows, more } => {
                    let last = rows.last().map(|row| row.id);
                    all.extend(rows);
                    match last {
                        Some(last) if more && last > after => after = last,
                        _ => return Ok(all),
                    }
                }
                _ => return Err(Error::UnexpectedAnswer),
            }
        }
    }

    pub fn links(&mut self) -> Result<Vec<LinkRow>, Error> {
        self.pages(
            |after| Request::Links { after },
            |reply| match reply {
                Reply::Links(page) => Some(page),
                _ => None,
            },
        )
    }

    /// The routes of one table, or of all, asked for page by page; in no order.
    pub fn routes(&mut self, table: Option<u32>) -> Result<Vec<RouteRow>, Error> {
        let (mut all, mut after) = (Vec::new(), (0, 0));
        loop {
            match self.ask(&Request::Routes { table, after }, None)? {
                Reply::Routes { rows, next } => {
                    all.extend(rows);
                    match next {
                        Some(next) if next > after => after = next,
                        _ => return Ok(all),
                    }
                }
                _ => return Err(Error::UnexpectedAnswer),
            }
        }
    }

    /// In the order in which they are asked.
    pub fn rules(&mut self) -> Result<Vec<RuleRow>, Error> {
        self.pages(
            |after| Request::Rules { after },
            |reply| match reply {
                Reply::Rules(page) => Some(page),
                _ => None,
            },
        )
    }

    /// Where a packet would go.
    pub fn route(&mut self, question: RouteQuestion) -> Result<RouteAnswer, Error> {
        match self.ask(&Request::Route(question), None)? {
            Reply::Route(answer) => Ok(answer),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    pub fn neighbors(&mut self) -> Result<Vec<NeighborRow>, Error> {
        self.pages(
            |after| Request::Neighbors { after },
            |reply| match reply {
                Reply::Neighbors(page) => Some(page),
                _ => None,
            },
        )
    }

    /// A report, asked for page by page.
    fn pages<T>(
        &mut self,
        request: impl Fn(u32) -> Request,
        page: impl Fn(Reply) -> Option<Page<T>>,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        loop {
            let after = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let Page { rows, more } = match self.ask(&request(after), None)? {
                Reply::Refused(why) => return Err(Error::RefusedBecause(why)),
                reply => page(reply).ok_or(Error::UnexpectedAnswer)?,
            };
            let some = !rows.is_empty();
            all.extend(rows);
            if !(more && some) {
                return Ok(all);
            }
        }
    }
}
