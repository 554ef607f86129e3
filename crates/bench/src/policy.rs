//! How long it takes to decide whether somebody may do something, among ten rules, a thousand and ten
//! thousand.
//!
//! Three kinds of rule sets: a rule for each user; one user with a rule for each port; one user with a
//! rule for each address. Half of the questions are about what a rule grants, half about what none does.

use anyhow::{Result, ensure};
use narrows_policy::{Act, ActKind, Effect, Origin, Permit, Policy, Protocol, Rule, Subject, Who};
use std::{hint::black_box, net::SocketAddr, time::Instant};

const SIZES: [u32; 3] = [10, 1_000, 10_000];
/// Checks between two looks at the clock: each rule is asked about, and nothing else runs meanwhile.
const CHECKS: u32 = 1 << 14;
/// The fastest counts: what is slower was disturbed.
const ROUNDS: usize = 100;
/// The first user with rules, and the only one where there is one.
const USER: u32 = 1000;

/// What the rules of a set differ by.
#[derive(Clone, Copy)]
enum By {
    User,
    Port,
    Address,
}

/// Prints a line for each size, ns a check.
pub fn run() -> Result<()> {
    println!("{:>8} {:>10} {:>10} {:>12}", "rules", "by user", "by port", "by address");
    for size in SIZES {
        let user = measure(By::User, size)?;
        let port = measure(By::Port, size)?;
        let address = measure(By::Address, size)?;
        println!("{size:>8} {user:>10.0} {port:>10.0} {address:>12.0}");
    }
    Ok(())
}

fn measure(by: By, size: u32) -> Result<f64> {
    let mut policy = Policy::new(0);
    let rules = (0..size).map(|number| rule(by, number)).collect::<Result<Vec<_>>>()?;
    ensure!(policy.add(rules).len() == size as usize, "rules that say the same");
    // Neighbors in the table are not asked for one after the other.
    let questions: Vec<_> =
        (0..CHECKS).map(|n| question(by, n.wrapping_mul(7919) % size, n % 2 == 0)).collect();
    let granted = questions.iter().filter(|(user, local)| decide(&policy, *user, *local)).count();
    ensure!(granted == questions.len() / 2, "{granted} of {} are granted", questions.len());
    let round = |_| {
        let start = Instant::now();
        for (user, local) in &questions {
            black_box(decide(&policy, *user, *local));
        }
        start.elapsed().as_nanos() as f64 / questions.len() as f64
    };
    Ok((0..ROUNDS).map(round).fold(f64::MAX, f64::min))
}

fn decide(policy: &Policy, user: u32, local: SocketAddr) -> bool {
    let groups = &[4, 24, 27];
    let subject =
        Subject { user, group: user, groups, executable: Some("/usr/bin/x"), cgroup: Some("/a/b") };
    policy.decide(&subject, "public", &Act::Bind { protocol: Protocol::Tcp, local }).allowed
}

/// Ports below 1024 are nobody's without a rule.
fn rule(by: By, number: u32) -> Result<Rule> {
    let (user, local) = question(by, number, true);
    let permit = Permit::parse(ActKind::Bind, &local.to_string())?;
    let who = Who { user: Some(user), ..Who::default() };
    Ok(Rule { effect: Effect::Grant, who, permit, origin: Origin::Added })
}

/// What the rule of that number is about, or nearly so.
fn question(by: By, number: u32, granted: bool) -> (u32, SocketAddr) {
    let off = u8::from(!granted);
    let [_, high, middle, low] = number.to_be_bytes();
    match by {
        By::User => (USER + number, SocketAddr::from(([10, 0, off, 1], 80))),
        // Ten thousand rules on a thousand ports, so on ten addresses.
        By::Port => {
            let port = u16::try_from(number % 1000).unwrap_or(0) + 1;
            let [.., address] = (number / 1000).to_be_bytes();
            (USER, SocketAddr::from(([10, 0, off, address], port)))
        }
        By::Address => (USER, SocketAddr::from(([10 + off, high, middle, low], 80))),
    }
}
