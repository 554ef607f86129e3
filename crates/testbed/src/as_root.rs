//! Tests that make networks, run by anybody.

use crate::{Process, namespace::NO_USER_NAMESPACE};
use anyhow::{Context, Result, bail};
use std::{env, process::Command, time::Duration};

/// How long a test may take in a process of its own.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs `test`, a closure written in a `#[test]` function: at once if the process is root, else by
/// running that one test again in a process that is root of a user namespace. (A process with threads,
/// which a test always is, can't enter one itself.)
pub fn as_root<T: FnOnce() -> Result<()>>(test: T) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return test();
    }
    let name = test_name(std::any::type_name::<T>());
    let mut command = Command::new(env::current_exe().context("this program's path")?);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    narrows_sys::command::in_new_user_namespace(&mut command);
    narrows_sys::command::die_with_parent(&mut command);
    let output = Process::output(&mut command, LIMIT).context(NO_USER_NAMESPACE)?;
    if !output.status.success() || !output.stdout.contains("1 passed") {
        bail!("in a user namespace: {}{}", output.stdout, output.stderr);
    }
    Ok(())
}

/// `network::module::test::{{closure}}` is a closure in the test `module::test` of the crate `network`.
fn test_name(closure: &str) -> &str {
    let path = closure.split_once("::").map_or(closure, |(_, path)| path);
    path.split("::{{closure}}").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_name_of_the_test() {
        fn name_of<T>(_: T) -> &'static str {
            test_name(std::any::type_name::<T>())
        }
        assert_eq!(name_of(|| ()), "as_root::tests::finds_the_name_of_the_test");
    }
}
