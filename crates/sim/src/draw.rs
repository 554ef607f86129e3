//! A scenario from a seed. Most are small, so that ten thousand take a minute; what is rare in one
//! setting (a tiny window on a long path, a large frame through a slow one) comes up somewhere.

use crate::{
    app::{self, Calls, Scripts},
    link::{LinkSettings, Offload},
    scenario::{Connection, Ends, Scenario},
};
use narrows_stack::{
    Config, Instant, random::Random, request::SocketOption, tcp::congestion::Algorithm,
    time::Duration,
};

/// The scenario of `seed`.
pub fn scenario(seed: u64) -> Scenario {
    let mut draw = Draw(Random::new(u128::from(seed).to_be_bytes()));
    let hosts = if draw.one_in(20) { 3 } else { 2 };
    let trouble = draw.trouble();
    let mut scenario = Scenario::new("drawn", seed);
    scenario.start = Instant::from_millis(draw.below(100_000).into());
    scenario.hosts = (0..hosts).map(|_| (draw.config(), draw.link(trouble))).collect();
    // All devices on a link have one MTU, as they should.
    let mtu = draw.mtu();
    scenario.hosts.iter_mut().for_each(|(_, link)| link.mtu = mtu);
    scenario.hostile = if draw.one_in(4) { 100 + draw.below(2000) } else { 0 };
    let connections = if draw.one_in(10) { 2 + draw.below(30) } else { 1 + draw.below(3) };
    scenario.connections = (0..connections)
        .map(|_| draw.connection(hosts, 1 + connections / 3, &scenario.hosts))
        .collect();
    scenario
}

/// How bad the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    Some,
    Much,
}

struct Draw(Random);

impl Draw {
    fn below(&mut self, bound: u32) -> u32 {
        self.0.below(bound)
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    fn from<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u32) as usize]
    }

    /// Between `least` and `most`, each power of two being as likely as the next.
    fn scale(&mut self, least: u32, most: u32) -> u32 {
        let doublings = (most / least.max(1)).ilog2();
        let base = least << self.below(doublings + 1);
        base + self.below(base.min(most - base) + 1)
    }

    fn millis(&mut self, most: u32) -> Duration {
        Duration::from_micros(self.below(most * 1000 + 1).into())
    }

    fn trouble(&mut self) -> Trouble {
        self.from(&[Trouble::None, Trouble::Some, Trouble::Some, Trouble::Much])
    }

    fn mtu(&mut self) -> u16 {
        self.from(&[1500, 1500, 1500, 1400, 9000, 1280, 576, 600])
    }

    fn config(&mut self) -> Config {
        let mut config = Config::default();
        config.tcp.send_limit = self.scale(4 << 10, 1 << 20) as usize;
        config.tcp.receive_limit = self.scale(4 << 10, 1 << 20) as usize;
        config.tcp.no_delay = self.one_in(2);
        config.tcp.congestion = self.from(&Algorithm::ALL);
        if self.one_in(6) {
            config.tcp.max_pacing_rate = self.scale(20_000, 10_000_000).into();
        }
        config
    }

    fn link(&mut self, trouble: Trouble) -> LinkSettings {
        let delay = self.from(&[0, 1, 1, 5, 20, 100, 400]);
        let mut link = LinkSettings {
            offload: self.from(&[Offload::None, Offload::Cut, Offload::Whole]),
            delay: self.millis(delay),
            ..LinkSettings::default()
        };
        if self.one_in(3) {
            link.rate = Some(u64::from(self.scale(1_000_000, 1_000_000_000)));
            link.queue = self.scale(20_000, 1 << 20) as usize;
            // A device that cuts must take a whole frame at once.
            link.backpressure = self.one_in(2);
            if link.offload != Offload::None {
                link.queue = link.queue.max(200_000);
            }
        }
        let most = match trouble {
            Trouble::None => return link,
            Trouble::Some => 100,
            Trouble::Much => 1000,
        };
        let mut some = |of: u32| if self.one_in(2) { self.below(most / of + 1) } else { 0 };
        link.loss = some(1);
        link.duplicate = some(1);
        link.corrupt = some(2);
        link.reorder = some(1);
        link.reorder_by = self.millis(delay * 2 + 3);
        link.jitter = self.millis(delay / 2 + 1);
        link
    }

    fn connection(
        &mut self,
        hosts: u32,
        share: u32,
        settings: &[(Config, LinkSettings)],
    ) -> Connection {
        let client = self.below(hosts) as usize;
        let server = if self.one_in(20) {
            client
        } else {
            (client + 1 + self.below(hosts - 1) as usize) % hosts as usize
        };
        // Slow paths get less, so that a run doesn't take more steps.
        let most = if self.one_in(50) { 4 << 20 } else { 256 << 10 };
        let bytes = u64::from(self.scale(1, (most / share).max(2)));
        let other = u64::from(self.scale(1, (most / share).max(2)));
        let (scripts, ends) = self.scripts(bytes, other);
        let mut connection = Connection { client, server, ends, ..Connection::new(scripts) };
        connection.at = self.millis(2000);
        let least = bytes.max(other).div_ceil(2000) as u32;
        let call = |draw: &mut Self| draw.scale(least.max(1), (256 << 10).max(least)) as usize;
        connection.calls = Calls { send: call(self), receive: call(self) };
        if self.one_in(10) {
            let least = settings.iter().map(|(_, link)| link.mtu).min().unwrap_or(576) / 2;
            connection.options.push(SocketOption::MaxSegment(least));
        }
        if ends == Ends::Broken {
            // A reset that is lost leaves the other side waiting, unless it asks.
            connection.options.extend([
                SocketOption::KeepAlive(true),
                SocketOption::KeepAliveIdle(Duration::from_secs(10)),
                SocketOption::KeepAliveInterval(Duration::from_secs(2)),
            ]);
        }
        connection
    }

    fn scripts(&mut self, bytes: u64, other: u64) -> (Scripts, Ends) {
        let clean = match self.below(10) {
            0 | 1 => app::upload(bytes),
            2 => app::download(bytes),
            3 => app::echo(bytes),
            4 => app::exchange(bytes, other),
            5 => app::half_close(bytes, other),
            6 => {
                let count = 1 + self.below(20) as usize;
                let (bytes, other) = (bytes / count as u64 + 1, other / count as u64 + 1);
                app::requests(count, bytes, other)
            }
            7 => {
                let chunk = (bytes as usize / 20).max(1);
                let every = self.millis(400);
                app::slow_reader(bytes, chunk, every)
            }
            8 => return (app::abort_after(bytes), Ends::Broken),
            _ => return (app::abandon(bytes), Ends::Broken),
        };
        (clean, Ends::Clean)
    }
}
