//! Rules about what may pass.

use crate::{error::Error, stack::Stack};
use narrows_ipc::{Reply, Request, message::NftOptions};
use rustix::fs::MemfdFlags;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::AsFd,
};

impl Stack {
    /// Has the daemon do commands in nft(8)'s language, all or none of them; returns what they list.
    /// For root and the daemon's own user.
    pub fn nft(&self, commands: &str, options: NftOptions) -> Result<String, Error> {
        let mut file =
            memory(commands).map_err(|error| Error::RefusedBecause(error.to_string()))?;
        let request = Request::Nft(options);
        match self.with(|session| session.ask(&request, Some(file.as_fd())))? {
            Reply::Done => contents(&mut file).map_err(|_| Error::UnexpectedAnswer),
            Reply::Refused(why) => Err(Error::RefusedBecause(why)),
            _ => Err(Error::UnexpectedAnswer),
        }
    }
}

/// A text may be longer than a message.
fn memory(text: &str) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("narrows-nft", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn contents(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    Ok(text)
}
