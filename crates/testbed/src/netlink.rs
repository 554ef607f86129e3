//! What the testbed asks of rtnetlink, in the calling thread's namespace.

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::{Handle, LinkUnspec, LinkVeth};
use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd},
};

pub struct Links {
    handle: Handle,
}

/// Runs `work` with a connection to the kernel's links.
pub fn run<T>(work: impl AsyncFnOnce(Links) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening rtnetlink")?;
        let connection = tokio::spawn(connection);
        let result = work(Links { handle }).await;
        connection.abort();
        result
    })
}

impl Links {
    pub async fn set_up(&self, name: &str) -> Result<()> {
        let message = LinkUnspec::new_with_name(name).up().build();
        Ok(self.handle.link().set(message).execute().await?)
    }

    /// A pair of Ethernet interfaces joined by a wire.
    pub async fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        Ok(self.handle.link().add(LinkVeth::new(name, peer).build()).execute().await?)
    }

    pub async fn move_to(&self, name: &str, namespace: BorrowedFd<'_>) -> Result<()> {
        let message = LinkUnspec::new_with_name(name).setns_by_fd(namespace.as_raw_fd()).build();
        Ok(self.handle.link().set(message).execute().await?)
    }

    pub async fn add_address(&self, name: &str, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let index = self.index(name).await?;
        Ok(self.handle.address().add(index, address.into(), prefix).execute().await?)
    }

    async fn index(&self, name: &str) -> Result<u32> {
        let link = self.handle.link().get().match_name(name).execute().try_next().await?;
        Ok(link.with_context(|| format!("no interface {name}"))?.header.index)
    }
}
