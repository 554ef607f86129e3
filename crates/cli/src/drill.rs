//! `narrows drill`: runs scripts in packetdrill's language against the engine, in virtual time.

mod junit;
mod table;

use crate::arguments::Drill;
use anyhow::{Context, Result, bail};
use narrows_sim::packetdrill::{self, Kind, Options};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// What became of one script.
#[derive(Debug)]
struct Outcome {
    path: PathBuf,
    verdict: Verdict,
}

#[derive(Debug)]
enum Verdict {
    Passed,
    /// What went wrong, and what had happened so far, a line each.
    Failed {
        fault: String,
        exchange: Vec<String>,
    },
    /// It needs what the stack or the runner does not have.
    Skipped {
        reason: String,
    },
}

pub fn execute(words: &Drill, out: &mut dyn Write) -> Result<ExitCode> {
    let mut scripts = Vec::new();
    for path in &words.scripts {
        collect(path, &mut scripts)?;
    }
    if scripts.is_empty() {
        bail!("no script: the folders hold no file that ends in .pkt");
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut results = Vec::new();
    for path in scripts {
        let verdict = run(&path, words)?;
        let name = path.display();
        match &verdict {
            Verdict::Passed => {
                passed += 1;
                writeln!(out, "pass         {name}")?;
            }
            Verdict::Failed { fault, exchange } => {
                failed += 1;
                writeln!(out, "FAIL         {name}: {fault}")?;
                for line in exchange {
                    writeln!(out, "             | {line}")?;
                }
            }
            Verdict::Skipped { reason } => {
                skipped += 1;
                writeln!(out, "unsupported  {name}: {reason}")?;
            }
        }
        results.push(Outcome { path, verdict });
    }
    for (path, text) in [
        (&words.junit, junit::report(&results)),
        (&words.table, table::table(&results, &words.scripts)),
    ] {
        let Some(path) = path else { continue };
        fs::write(path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A script, or all in a folder and the folders in it, in order of their names.
fn collect(path: &Path, scripts: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        scripts.push(path.into());
        return Ok(());
    }
    let unreadable = || format!("can't read the folder {}", path.display());
    let entries = fs::read_dir(path).with_context(unreadable)?;
    let mut entries = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(unreadable)?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "pkt") {
            collect(&entry, scripts)?;
        }
    }
    Ok(())
}

fn run(path: &Path, words: &Drill) -> Result<Verdict> {
    let text =
        fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    let options = Options {
        tolerance: Duration::from_micros(words.tolerance_usecs),
        defined: words.define.clone(),
        capture: words.pcap.as_ref().map(|folder| folder.join(capture_name(path))),
    };
    Ok(match packetdrill::run(&text, &options) {
        Ok(()) => Verdict::Passed,
        Err(failure) => {
            let fault = failure.fault.to_string();
            match failure.fault.kind {
                Kind::Unsupported(_) => Verdict::Skipped { reason: fault },
                _ => Verdict::Failed { fault, exchange: failure.exchange },
            }
        }
    })
}

/// `a/b/c.pkt` becomes `a-b-c.pcap`, so that scripts of one name do not share a capture.
fn capture_name(path: &Path) -> String {
    let parts = path.with_extension("pcap");
    let parts = parts.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSES: &str = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 close(3) = 0\n";
    const FAILS: &str = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 listen(3, 1) = 7\n";
    const NOT_UNDERSTOOD: &str = "0 socket(\n";
    const IPV6: &str = "--ip_version=ipv6\n0 close(3) = 0\n";

    fn drill(folder: &Path, scripts: &[(&str, &str)]) -> (ExitCode, String, String) {
        for (name, text) in scripts {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let junit = folder.join("report.xml");
        let words = Drill {
            scripts: vec![folder.into()],
            tolerance_usecs: 4000,
            define: Vec::new(),
            junit: Some(junit.clone()),
            table: None,
            pcap: Some(folder.join("captures")),
        };
        let mut out = Vec::new();
        let code = execute(&words, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap(), fs::read_to_string(junit).unwrap())
    }

    #[test]
    fn each_script_has_its_line_and_all_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let scripts = [
            ("a/passes.pkt", PASSES),
            ("b/fails.pkt", FAILS),
            ("b/more/text.pkt", NOT_UNDERSTOOD),
            ("c.pkt", IPV6),
            ("d.txt", "not a script"),
        ];
        let (code, out, junit) = drill(folder.path(), &scripts);
        assert_eq!(code, ExitCode::FAILURE);
        let out = out.replace(&format!("{}/", folder.path().display()), "");
        assert_eq!(
            out,
            "pass         a/passes.pkt\n\
             FAIL         b/fails.pkt: line 2: expected listen() to return 7, but it returned 0\n             \
             |     0.000000 socket() = 3\n             |     0.000000 listen() = 0\n\
             FAIL         b/more/text.pkt: line 1: the end of the script where an argument is \
             expected\n\
             unsupported  c.pkt: line 1: IPv6 is not supported\n\
             1 passed, 2 failed, 1 skipped\n"
        );
        assert!(junit.contains("tests=\"4\" failures=\"2\" skipped=\"1\""), "{junit}");
        assert!(folder.path().join("captures").read_dir().unwrap().count() >= 2);
    }

    #[test]
    fn all_passing_is_success() {
        let folder = tempfile::tempdir().unwrap();
        let (code, out, _) = drill(folder.path(), &[("a.pkt", PASSES)]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(out.ends_with("1 passed, 0 failed, 0 skipped\n"), "{out}");
    }
}
