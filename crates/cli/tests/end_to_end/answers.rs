//! What two hosts answer to the same frames, fragments among them: Narrows, and the kernel.

use crate::stage::{Stage, succeed};
use anyhow::{Context, Result};
use narrows_testbed::{Namespace, as_root, join};
use serde_json::Value;
use std::process::Command;

fn mac(links: &str, name: &str) -> Result<String> {
    let links: Value = serde_json::from_str(links)?;
    let mut links = links.as_array().context("no list")?.iter();
    let link = links.find(|link| link["ifname"] == name).context("no such interface")?;
    Ok(link["address"].as_str().context("no address")?.to_owned())
}

fn ip(namespace: &Namespace, words: &str) -> Result<String> {
    let mut command: Command = namespace.command("ip");
    command.args(words.split_whitespace());
    succeed(command)
}

#[test]
fn generated_frames_are_answered_as_the_kernel_does() -> Result<()> {
    as_root(|| {
        let (stage, twin) = (Stage::new()?, Namespace::new()?);
        let asker = &stage.network.kernel;
        join((asker, "peer1"), (&twin, "t0"))?;
        ip(&twin, "addr add 10.77.0.2/24 brd + dev t0")?;
        let ours = mac(&stage.ask(&["-j", "link"])?.stdout, "wire")?;
        let kernels = mac(&ip(&twin, "-j link show dev t0")?, "t0")?;
        for seed in ["1", "2", "3"] {
            let mut python = asker.command("python3");
            python.args(["-c", include_str!("scripts/answers.py"), seed, "240"]);
            succeed({
                python.args(["peer0", &ours, "peer1", &kernels]);
                python
            })?;
        }
        Ok(())
    })
}
