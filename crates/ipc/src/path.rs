//! Where the daemon's control socket is.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The variable that names the socket, for programs started by `narrows run` among others.
pub const SOCKET_VARIABLE: &str = "NARROWS_SOCKET";

/// The variable that names the zone that a program's sockets are in alone.
pub const ZONE_VARIABLE: &str = "NARROWS_ZONE";

/// The control socket's path: `explicit` (a `--socket` option), else `$NARROWS_SOCKET`, else
/// `$XDG_RUNTIME_DIR/narrows/narrows.sock`, else `/run/narrows/narrows.sock` for root and
/// `/tmp/narrows-UID/narrows.sock` for others.
pub fn socket_path(explicit: Option<&Path>) -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    choose(explicit, |name| std::env::var_os(name), uid)
}

fn choose(
    explicit: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    uid: u32,
) -> PathBuf {
    if let Some(path) = explicit {
        return path.to_owned();
    }
    if let Some(path) = variable(SOCKET_VARIABLE).filter(|value| !value.is_empty()) {
        return path.into();
    }
    // The XDG base directory specification: a relative path is to be ignored.
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = match runtime {
        Some(runtime) => runtime.join("narrows"),
        None if uid == 0 => PathBuf::from("/run/narrows"),
        None => PathBuf::from(format!("/tmp/narrows-{uid}")),
    };
    directory.join("narrows.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_set_wins() {
        let check = |explicit: Option<&str>, socket: Option<&str>, runtime: Option<&str>, uid| {
            let variable = |name: &str| match name {
                SOCKET_VARIABLE => socket.map(OsString::from),
                "XDG_RUNTIME_DIR" => runtime.map(OsString::from),
                _ => None,
            };
            choose(explicit.map(Path::new), variable, uid).into_os_string().into_string().unwrap()
        };
        let run = Some("/run/user/7");
        assert_eq!(check(Some("a.sock"), Some("/b"), run, 7), "a.sock");
        assert_eq!(check(None, Some("/b"), run, 7), "/b");
        assert_eq!(check(None, Some(""), run, 7), "/run/user/7/narrows/narrows.sock");
        assert_eq!(check(None, None, run, 0), "/run/user/7/narrows/narrows.sock");
        assert_eq!(check(None, None, Some("relative"), 7), "/tmp/narrows-7/narrows.sock");
        assert_eq!(check(None, None, None, 0), "/run/narrows/narrows.sock");
        assert_eq!(check(None, None, None, 1000), "/tmp/narrows-1000/narrows.sock");
    }
}
