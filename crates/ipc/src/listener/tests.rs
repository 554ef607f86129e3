use super::*;
use std::os::unix::fs::PermissionsExt;

/// A directory of the test's own; it removes what is in it when it goes.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("narrows-ipc-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Scratch(directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn makes_its_directory_and_removes_its_file() {
    let scratch = Scratch::new("file");
    let path = scratch.0.join("sub/narrows.sock");
    let listener = Listener::bind(&path, 0o640).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(listener.accept().unwrap().is_none());
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_living_daemon_keeps_its_socket_and_a_dead_ones_is_replaced() {
    let scratch = Scratch::new("stale");
    let path = scratch.0.join("narrows.sock");
    let listener = Listener::bind(&path, 0o600).unwrap();
    assert_eq!(Listener::bind(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);

    // As after SIGKILL: the socket is closed, its file is still there.
    let aside = scratch.0.join("aside");
    std::fs::rename(&path, &aside).unwrap();
    drop(listener);
    std::fs::rename(&aside, &path).unwrap();
    let successor = Listener::bind(&path, 0o600).unwrap();
    assert!(path.exists());
    drop(successor);
    assert!(!path.exists());
}

#[test]
fn credentials_are_the_kernels_word() {
    let (a, _b) = Endpoint::pair().unwrap();
    let credentials = Credentials::of_peer(&a).unwrap();
    assert_eq!(credentials.pid, std::process::id());
    assert_eq!(credentials.uid, rustix::process::getuid().as_raw());
}
