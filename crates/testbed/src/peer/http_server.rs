//! `http-server`: files, or bytes of the pattern, by HTTP/1.1 without keep-alive (RFC 9110, 9112).

use super::Pattern;
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Component, Path, PathBuf},
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Serve the files under this folder
    directory: Option<PathBuf>,
    /// Serve that many bytes at every path but /N, which is N bytes
    #[arg(long, conflicts_with = "directory", default_value_t = 0)]
    size: u64,
    #[arg(long)]
    listen: SocketAddr,
}

/// What is served.
enum Content {
    Files(PathBuf),
    Pattern { default_size: u64 },
}

/// The longest request that is read, lines and fields together.
const MAX_REQUEST: u64 = 16 << 10;

/// The most bytes written by one call.
const CHUNK: usize = 256 << 10;

pub fn run(arguments: Arguments) -> Result<()> {
    let content = match arguments.directory {
        Some(directory) => Content::Files(directory),
        None => Content::Pattern { default_size: arguments.size },
    };
    super::serve(arguments.listen, |stream| answer(stream, &content))
}

fn answer(mut stream: TcpStream, content: &Content) -> Result<()> {
    let Some(path) = read_request(&stream)? else {
        write!(stream, "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")?;
        return Ok(());
    };
    let path = path.trim_start_matches('/');
    match content {
        Content::Pattern { default_size } => {
            let size = path.parse().unwrap_or(*default_size);
            write_head(&mut stream, size)?;
            write_pattern(&mut stream, size)
        }
        Content::Files(directory) => match open_below(directory, Path::new(path)) {
            Ok(mut file) => {
                write_head(&mut stream, file.metadata()?.len())?;
                io::copy(&mut file, &mut stream)?;
                Ok(())
            }
            Err(error) => {
                write!(stream, "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n")?;
                Err(error)
            }
        },
    }
}

/// Reads a request to its empty line; the path of a GET, `None` for anything else.
fn read_request(stream: &TcpStream) -> Result<Option<String>> {
    let mut lines = BufReader::new(stream.take(MAX_REQUEST)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in &mut lines {
        if line?.is_empty() {
            let mut words = request.split(' ');
            return Ok(match (words.next(), words.next(), words.next()) {
                (Some("GET"), Some(path), Some("HTTP/1.1" | "HTTP/1.0")) => Some(path.into()),
                _ => None,
            });
        }
    }
    if request.is_empty() { bail!("no request") } else { Ok(None) }
}

fn write_head(stream: &mut TcpStream, size: u64) -> Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
         content-length: {size}\r\nconnection: close\r\n\r\n"
    )?;
    Ok(())
}

fn write_pattern(stream: &mut TcpStream, size: u64) -> Result<()> {
    let pattern = Pattern::shared();
    let mut written = 0;
    while written < size {
        let part = pattern.at(written);
        let length = (size - written).min(CHUNK.min(part.len()) as u64);
        let part = part.get(..length as usize).unwrap_or(part);
        stream.write_all(part).with_context(|| format!("after {written} of {size} bytes"))?;
        written += part.len() as u64;
    }
    Ok(())
}

/// Opens a regular file, by a path that can't lead out of the folder but by its own links.
fn open_below(directory: &Path, path: &Path) -> Result<File> {
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        bail!("{} leads out of the folder", path.display());
    }
    let path = directory.join(path);
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    if !file.metadata()?.is_file() {
        bail!("{} is not a file", path.display());
    }
    Ok(file)
}
