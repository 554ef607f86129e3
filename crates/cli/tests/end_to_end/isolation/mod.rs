//! Two programs of distinct users talk; somebody else tries to get between them. The same attacks on the
//! kernel's loopback, with default settings, and on a private zone of Narrows.
//!
//! What succeeded where is `docs/isolation.md`, which this test makes: with
//! `NARROWS_WRITE_ISOLATION=FILE` it writes the file, else it compares.

mod attacks;
mod scene;

use crate::stage::installed;
use anyhow::{Context, Result, ensure};
use attacks::{ATTACKS, Attack, Judge};
use narrows_testbed::as_root;
pub use scene::has_users;
use scene::{Attacker, Outcome, Scene};
use std::{env, fmt::Write, fs, path::Path};

const HEAD: &str = "\
# What another program can do to two that talk

Made by the test `isolation` of `crates/cli/tests/end_to_end`: two victims, a server and its client, each a
user of its own, and an attacker, tried on both sides in turn.

- On the kernel: the victims' addresses are on the loopback interface, and all settings are the defaults.
- On Narrows: the victims are the two members of a private zone.

*Another user* has no privileges, nor has *a member of another zone*. *Root* is root in the namespace where the daemon runs, which is also what
a program with `CAP_NET_RAW` and `CAP_NET_ADMIN` is. *The wire* is root on the host at the other end. What
only takes memory or ports is judged by the victims: while it is held, they and another client of theirs
have to go on as before.

| attack | by | on the kernel | on Narrows | because |
|---|---|---|---|---|
";

const TAIL: &str = "
What root can do to a process (debug it, replace its files, end the daemon) is the kernel's to stop, not a
network's: where both columns name the kernel's own rules, Narrows adds nothing to them.
";

/// One side: its scene is kept from attack to attack, as long as nothing in it is broken.
struct Side<'a> {
    python: &'a Path,
    make: fn(&Path) -> Result<Scene>,
    scene: Option<Scene>,
}

impl Side<'_> {
    fn tries(&mut self, attack: &Attack) -> Result<Outcome> {
        let talk = matches!(attack.judge, Judge::Attacker | Judge::Held);
        let kept = self.scene.take().filter(|_| talk);
        let mut scene = kept.map_or_else(|| (self.make)(self.python), Ok)?;
        let outcome = attack_on(&mut scene, attack)?;
        if scene.is_whole()? {
            self.scene = Some(scene);
        }
        Ok(outcome)
    }
}

fn attack_on(scene: &mut Scene, attack: &Attack) -> Result<Outcome> {
    let place = scene.place();
    let result = match attack.judge {
        Judge::BeforeTheServer => scene.before_the_server(attack),
        Judge::ServerMustStart => scene.server_must_start(attack),
        Judge::Attacker | Judge::Held => scene.while_they_talk(attack),
    };
    result.with_context(|| format!("{} on {place}:\n{}", attack.script, scene.log()))
}

fn by(attacker: Attacker) -> &'static str {
    match attacker {
        Attacker::User => "another user",
        Attacker::Member => "a member of another zone",
        Attacker::Root | Attacker::RootBeneath => "root",
        Attacker::Wire => "the wire",
    }
}

#[test]
fn nobody_gets_between_the_members_of_a_private_zone() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        if !has_users() {
            eprintln!("there is only one user in this namespace: left out");
            return Ok(());
        }
        let mut table = HEAD.to_owned();
        let mut broken = Vec::new();
        let mut kernel = Side { python: &python, make: Scene::on_kernel, scene: None };
        let mut narrows = Side { python: &python, make: Scene::on_narrows, scene: None };
        for attack in ATTACKS {
            let kernel = match attack.only_narrows {
                true => Outcome::NotTried,
                false => kernel.tries(attack)?,
            };
            let narrows = narrows.tries(attack)?;
            let Attack { tries, because, .. } = attack;
            writeln!(table, "| {tries} | {} | {kernel} | {narrows} | {because} |", by(attack.by))?;
            if narrows == Outcome::Succeeded {
                broken.push(*tries);
            }
        }
        table.push_str(TAIL);
        if let Some(file) = env::var_os("NARROWS_WRITE_ISOLATION") {
            fs::write(file, &table)?;
        }
        ensure!(broken.is_empty(), "these attacks succeeded: {broken:?}");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/isolation.md");
        let committed = fs::read_to_string(&file).context("docs/isolation.md")?;
        ensure!(
            committed == table,
            "docs/isolation.md is out of date: write it with NARROWS_WRITE_ISOLATION\n{table}"
        );
        Ok(())
    })
}
