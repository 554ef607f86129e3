//! `echo-server`: sends back what comes, until the end of it.

use anyhow::Result;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    // With many connections each has a buffer, so it is small.
    super::serve(arguments.listen, |stream| echo(stream, &mut vec![0; 16 << 10]))
}

fn echo(mut stream: TcpStream, buffer: &mut [u8]) -> Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let length = stream.read(buffer)?;
        match buffer.get(..length) {
            None | Some([]) => return Ok(()),
            Some(bytes) => stream.write_all(bytes)?,
        }
    }
}
