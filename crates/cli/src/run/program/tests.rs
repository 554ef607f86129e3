use super::*;
use std::{fs, os::unix::fs::PermissionsExt};

/// A directory with one file in it.
fn place(name: &str, content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

/// A 64-bit ELF file with one program header, and the path of a loader after it if given.
fn elf(machine: u16, loader: Option<&str>) -> Vec<u8> {
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    let interpreter = loader.map(|loader| format!("{loader}\0")).unwrap_or_default();
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend(2u16.to_le_bytes()); // ET_EXEC
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes()); // entry
    bytes.extend(HEADER.to_le_bytes()); // program headers
    bytes.extend(0u64.to_le_bytes()); // section headers
    bytes.extend(0u32.to_le_bytes()); // flags
    for half in [HEADER as u16, SEGMENT as u16, 1, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    let kind: u32 = if loader.is_some() { 3 } else { 1 }; // PT_INTERP, PT_LOAD
    bytes.extend(kind.to_le_bytes());
    bytes.extend(4u32.to_le_bytes()); // PF_R
    for word in [HEADER + SEGMENT, 0, 0, interpreter.len() as u64, interpreter.len() as u64, 1] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(interpreter.as_bytes());
    bytes
}

fn own() -> Image {
    Image::read(File::open(env::current_exe().unwrap()).unwrap()).unwrap()
}

#[test]
fn a_name_is_looked_for_in_path() {
    let (directory, path) = place("tool", b"", 0o755);
    let (other, not_executable) = place("tool", b"", 0o644);
    let search = |directories: &[&Path]| env::join_paths(directories).unwrap();
    let find = |name: &str, search: &OsStr| find(OsStr::new(name), Some(search));

    let both = search(&[other.path(), directory.path()]);
    assert_eq!(find("tool", &both).unwrap(), path);
    assert!(matches!(find("no-tool", &both), Err(Refusal::NotInPath(_))));
    let wrong = search(&[other.path()]);
    assert!(matches!(find("tool", &wrong), Err(Refusal::NotExecutable(p)) if p == not_executable));
}

#[test]
fn a_path_is_taken_as_it_is() {
    let (directory, path) = place("tool", b"", 0o755);
    assert_eq!(find(path.as_os_str(), None).unwrap(), path);
    assert!(matches!(find(directory.path().as_os_str(), None), Err(Refusal::NotExecutable(_))));
    let missing = directory.path().join("missing");
    assert!(matches!(find(missing.as_os_str(), None), Err(Refusal::NoSuchFile(_))));
}

#[test]
fn dynamic_programs_pass() {
    check(&env::current_exe().unwrap()).unwrap();
    check(Path::new("/bin/sh")).unwrap();
}

#[test]
fn scripts_are_judged_by_their_interpreter() {
    let (_kept, good) = place("good", b"#! /bin/sh -e\nexit\n", 0o755);
    check(&good).unwrap();

    let (_kept, binary) = place("static", &elf(own().machine.2.0, None), 0o755);
    let line = format!("#!{}\n", binary.display());
    let (_kept, bad) = place("bad", line.as_bytes(), 0o755);
    assert!(matches!(check(&bad), Err(Refusal::Static(path)) if path == binary));

    let (directory, path) = place("loop", b"", 0o755);
    fs::write(&path, format!("#!{}\n", path.display())).unwrap();
    assert!(matches!(check(&path), Err(Refusal::ScriptsWithoutEnd(_))));
    drop(directory);
}

#[test]
fn what_the_shim_cannot_reach_is_refused() {
    let machine = own().machine.2.0;
    let loader = own().loader.unwrap().into_string().unwrap();
    let judge = |bytes: &[u8]| {
        let (_kept, path) = place("program", bytes, 0o755);
        check(&path)
    };
    assert!(judge(&elf(machine, Some(&loader))).is_ok());
    assert!(judge(&elf(machine, Some(&format!("/elsewhere{loader}")))).is_ok());
    assert!(matches!(judge(&elf(machine, None)), Err(Refusal::Static(_))));
    assert!(matches!(
        judge(&elf(machine, Some("/lib/ld-musl-any.so.1"))),
        Err(Refusal::OtherLoader(..))
    ));
    assert!(matches!(judge(&elf(machine ^ 1, Some(&loader))), Err(Refusal::OtherMachine(_))));
    for not_a_program in [&b""[..], b"hello", b"\x7fELF", &elf(machine, None)[..40]] {
        assert!(matches!(judge(not_a_program), Err(Refusal::NotAProgram(_))), "{not_a_program:?}");
    }
}

#[test]
fn first_line_of_scripts() {
    for (head, interpreter) in [
        (&b"#!/bin/sh\n"[..], Some("/bin/sh")),
        (b"#! /usr/bin/env python3\n", Some("/usr/bin/env")),
        (b"#!\t/bin/sh\r\n", Some("/bin/sh")),
        (b"#!/bin/sh", Some("/bin/sh")),
        (b"#!\n/bin/sh", None),
        (b"#", None),
        (b"\x7fELF", None),
    ] {
        assert_eq!(interpreter_of_script(head).as_deref(), interpreter.map(Path::new));
    }
}
