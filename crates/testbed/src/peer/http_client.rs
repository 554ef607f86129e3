//! `http-client`: fetches one URL by HTTP/1.1 and throws the body away.

use super::{pattern::hexadecimal, report};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct Arguments {
    /// http://HOST[:PORT]/PATH
    url: String,
    /// Report the SHA-256 of the body
    #[arg(long)]
    sha256: bool,
    /// Print the number of bytes received so far, now and then, a line each
    #[arg(long)]
    progress: bool,
}

/// Bytes of one call.
const CHUNK: usize = 256 << 10;

/// The longest head of a reply that is read.
const MAX_HEAD: u64 = 16 << 10;

/// Between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

pub fn run(arguments: &Arguments) -> Result<()> {
    let (host, path) = split_url(&arguments.url)?;
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let started = Instant::now();
    let mut stream =
        TcpStream::connect(&with_port).with_context(|| format!("connecting to {with_port}"))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
    let mut reply = BufReader::new(stream);
    let length = read_head(&mut reply)?;

    let mut digest = arguments.sha256.then(Sha256::new);
    let mut told = started;
    let mut received = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        // What came with the head is in the reader still; the rest goes past its small buffer.
        let count = reply.read(&mut buffer).with_context(|| format!("after {received} bytes"))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        received += bytes.len() as u64;
        if let Some(digest) = &mut digest {
            digest.update(bytes);
        }
        if arguments.progress && told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            super::print_line(&received.to_string())?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    if let Some(length) = length {
        ensure!(received == length, "{received} bytes came, of {length}");
    }
    let sha256 = digest.map(hexadecimal);
    report::print(&report::Fetch { bytes: received, seconds, sha256 })
}

/// Host with port, and path.
fn split_url(url: &str) -> Result<(&str, &str)> {
    let rest = url.strip_prefix("http://").context("a URL begins with http://")?;
    let slash = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(slash);
    ensure!(!host.is_empty(), "{url} has no host");
    Ok((host, if path.is_empty() { "/" } else { path }))
}

/// Reads the head of a reply to its empty line; what it says of the body's length.
fn read_head(reply: &mut BufReader<TcpStream>) -> Result<Option<u64>> {
    let mut lines = reply.by_ref().take(MAX_HEAD).lines();
    let status = lines.next().transpose()?.context("the server closed without a reply")?;
    match status.split(' ').nth(1) {
        Some("200") => {}
        _ => bail!("the server said: {status}"),
    }
    let mut length = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return Ok(length);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse().context("content-length")?);
        }
    }
    bail!("the reply's head has no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let cases = [
            ("http://10.0.0.1/a/b", Some(("10.0.0.1", "/a/b"))),
            ("http://10.0.0.1:8080", Some(("10.0.0.1:8080", "/"))),
            ("http:///a", None),
            ("https://10.0.0.1/", None),
        ];
        for (url, expected) in cases {
            assert_eq!(split_url(url).ok(), expected, "{url}");
        }
    }
}
