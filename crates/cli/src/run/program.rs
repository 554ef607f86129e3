//! Which file a name means, and whether the shim would reach it.
//!
//! The shim comes into a program by way of the dynamic loader (ld.so(8)). It does not where
//! there is no loader (static programs), where it is another one (another machine, another C
//! library), and where the loader ignores LD_PRELOAD: in programs that gain privileges.

use object::{
    elf::{self, FileHeader32, FileHeader64},
    endian::Endianness,
    read::{
        FileKind, ReadCache, ReadRef,
        elf::{FileHeader, ProgramHeader},
    },
};
use rustix::{fs::Access, io::Errno};
use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{}: program not found in PATH", .0.display())]
    NotInPath(OsString),
    #[error("{}: no such file", .0.display())]
    NoSuchFile(PathBuf),
    #[error("{}: is not an executable file", .0.display())]
    NotExecutable(PathBuf),
    #[error(
        "{}: is statically linked; the shim can't reach it, so it would run on the kernel's \
         network instead of Narrows'",
        .0.display()
    )]
    Static(PathBuf),
    #[error(
        "{}: is started by {}, but the shim is made for {}; it can't reach it",
        .0.display(), .1.display(), .2.display()
    )]
    OtherLoader(PathBuf, OsString, OsString),
    #[error("{}: is made for another kind of machine than the shim", .0.display())]
    OtherMachine(PathBuf),
    #[error(
        "{}: runs with more rights than its caller (set-user-ID, set-group-ID or file \
         capabilities), so the loader leaves the shim out; run it as its owner, or a copy of it \
         without that mark",
        .0.display()
    )]
    GainsRights(PathBuf),
    #[error("{}: is neither an ELF program nor a script that begins with #!", .0.display())]
    NotAProgram(PathBuf),
    #[error("{}: too many scripts that are interpreted by scripts", .0.display())]
    ScriptsWithoutEnd(PathBuf),
    #[error("{}: {}", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
}

/// As execvp(3) searches. Written out here because a name that was found but can't be executed
/// is another error than one that was not found.
pub fn find(name: &OsStr, search: Option<&OsStr>) -> Result<PathBuf, Refusal> {
    let direct = Path::new(name);
    if name.as_bytes().contains(&b'/') {
        return match is_executable(direct) {
            Ok(true) => Ok(direct.to_owned()),
            Ok(false) => Err(Refusal::NotExecutable(direct.to_owned())),
            Err(_) => Err(Refusal::NoSuchFile(direct.to_owned())),
        };
    }
    let mut not_executable = None;
    for directory in search.iter().flat_map(env::split_paths) {
        let path = directory.join(direct);
        match is_executable(&path) {
            Ok(true) => return Ok(path),
            Ok(false) => not_executable = not_executable.or(Some(path)),
            Err(_) => {}
        }
    }
    Err(match not_executable {
        Some(path) => Refusal::NotExecutable(path),
        None => Refusal::NotInPath(name.to_owned()),
    })
}

/// An error where there is no such file.
fn is_executable(path: &Path) -> io::Result<bool> {
    let metadata = path.metadata()?;
    Ok(metadata.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok())
}

/// Linux follows that many `#!` lines (`exec_binprm` in fs/exec.c).
const MAX_INTERPRETERS: usize = 5;

/// Bytes of a `#!` line that Linux reads (BINPRM_BUF_SIZE).
const SCRIPT_HEAD: usize = 256;

/// Whether the shim would be in the program that this file starts.
pub fn check(path: &Path) -> Result<(), Refusal> {
    let mut path = path.to_owned();
    for _ in 0..=MAX_INTERPRETERS {
        let unreadable = |error| Refusal::Unreadable(path.clone(), error);
        let mut head = Vec::with_capacity(SCRIPT_HEAD);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            // Executable but not readable: nothing can be said about it before it runs.
            Err(error) => return Err(unreadable(error)),
        };
        Read::by_ref(&mut file)
            .take(SCRIPT_HEAD as u64)
            .read_to_end(&mut head)
            .map_err(unreadable)?;
        match interpreter_of_script(&head) {
            Some(interpreter) => path = interpreter,
            None => return check_binary(&path, file),
        }
    }
    Err(Refusal::ScriptsWithoutEnd(path))
}

/// The interpreter a `#!` line names.
fn interpreter_of_script(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t' || *byte == b'\r';
    let word = line.split(blank).find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(word)))
}

fn check_binary(path: &Path, file: File) -> Result<(), Refusal> {
    let unreadable = |error| Refusal::Unreadable(path.to_owned(), error);
    if gains_rights(path, &file.metadata().map_err(unreadable)?) {
        return Err(Refusal::GainsRights(path.to_owned()));
    }
    let program = Image::read(file).ok_or_else(|| Refusal::NotAProgram(path.to_owned()))?;
    let own = env::current_exe().and_then(File::open).map_err(unreadable)?;
    // The shim is built together with this very program.
    let own = Image::read(own).ok_or_else(|| Refusal::NotAProgram(path.to_owned()))?;
    program.fits(&own, path)
}

/// Whether the kernel starts it in "secure execution" (ld.so(8)) when this process asks.
fn gains_rights(path: &Path, metadata: &Metadata) -> bool {
    const SET_USER_ID: u32 = 0o4000;
    const SET_GROUP_ID: u32 = 0o2010;
    let user = rustix::process::geteuid();
    let group = rustix::process::getegid();
    let mode = metadata.mode();
    let other_user = mode & SET_USER_ID != 0 && metadata.uid() != user.as_raw();
    let other_group = mode & SET_GROUP_ID == SET_GROUP_ID && metadata.gid() != group.as_raw();
    let capabilities = !user.is_root()
        && !matches!(
            rustix::fs::getxattr(path, c"security.capability", &mut [0u8; 64][..]),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOENT)
        );
    other_user || other_group || capabilities
}

/// What of an ELF file decides who loads it.
#[derive(Debug, PartialEq, Eq)]
struct Image {
    /// Class, byte order and machine.
    machine: (elf::FileClass, bool, elf::Machine),
    /// PT_INTERP: the dynamic loader; `None` in static programs.
    loader: Option<OsString>,
}

impl Image {
    fn read(file: File) -> Option<Self> {
        let data = &ReadCache::new(file);
        match FileKind::parse(data).ok()? {
            FileKind::Elf32 => Self::from_header::<FileHeader32<Endianness>, _>(data),
            FileKind::Elf64 => Self::from_header::<FileHeader64<Endianness>, _>(data),
            _ => None,
        }
    }

    fn from_header<'data, H, R>(data: R) -> Option<Self>
    where
        H: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let header = H::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let machine = (header.e_ident().class, header.is_big_endian(), header.e_machine(endian));
        let loader = header
            .program_headers(endian, data)
            .ok()?
            .iter()
            .find_map(|segment| segment.interpreter(endian, data).transpose());
        let loader = match loader {
            Some(path) => Some(OsStr::from_bytes(path.ok()?).to_owned()),
            None => None,
        };
        Some(Self { machine, loader })
    }

    fn fits(self, shim: &Self, path: &Path) -> Result<(), Refusal> {
        let Some(loader) = self.loader else { return Err(Refusal::Static(path.to_owned())) };
        if self.machine != shim.machine {
            return Err(Refusal::OtherMachine(path.to_owned()));
        }
        // The same C library may be installed anywhere; another one has another loader's name.
        let name = |loader: &OsString| Path::new(loader).file_name().map(OsStr::to_owned);
        match &shim.loader {
            Some(own) if name(own) != name(&loader) => {
                Err(Refusal::OtherLoader(path.to_owned(), loader, own.clone()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
