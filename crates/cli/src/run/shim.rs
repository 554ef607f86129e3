//! Where the shim is.

use std::{
    io,
    path::{Path, PathBuf},
};

const FILE: &str = "libnarrows_preload.so";

/// Relative to where `narrows` is: cargo's place, an unpacked archive, an installation.
const PLACES: [&str; 3] = ["deps", ".", "../lib/narrows"];

#[derive(Debug, thiserror::Error)]
pub enum Missing {
    #[error(
        "the shim {FILE} is missing: looked in {}; build it with `cargo build --release`",
        .0.display()
    )]
    File(PathBuf),
    #[error(
        "the shim's path {} has a space or a colon in it, which the dynamic loader takes for the \
         end of a name; move narrows to another directory",
        .0.display()
    )]
    Separator(PathBuf),
    #[error("can't read {}: {}", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
}

/// `executable` is the path of `narrows` itself.
pub fn find(executable: &Path) -> Result<PathBuf, Missing> {
    let directory = executable.parent().unwrap_or(Path::new("/"));
    let shim = PLACES
        .iter()
        .map(|place| directory.join(place).join(FILE))
        .find(|path| path.is_file())
        .ok_or_else(|| Missing::File(directory.to_owned()))?;
    let shim = shim.canonicalize().map_err(|error| Missing::Unreadable(shim, error))?;
    let splits = |byte: &u8| *byte == b':' || byte.is_ascii_whitespace();
    if shim.as_os_str().as_encoded_bytes().iter().any(splits) {
        return Err(Missing::Separator(shim));
    }
    Ok(shim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn looks_in_every_place() {
        for place in PLACES {
            let root = tempfile::tempdir().unwrap();
            let bin = root.path().join("bin");
            fs::create_dir(&bin).unwrap();
            fs::create_dir_all(bin.join(place)).unwrap();
            assert!(matches!(find(&bin.join("narrows")), Err(Missing::File(_))));
            fs::write(bin.join(place).join(FILE), "").unwrap();
            let found = find(&bin.join("narrows")).unwrap();
            assert_eq!(found, bin.join(place).join(FILE).canonicalize().unwrap());
        }
    }

    #[test]
    fn a_path_the_loader_would_split_is_refused() {
        let root = tempfile::Builder::new().prefix("a b").tempdir().unwrap();
        fs::write(root.path().join(FILE), "").unwrap();
        assert!(matches!(find(&root.path().join("narrows")), Err(Missing::Separator(_))));
    }
}
