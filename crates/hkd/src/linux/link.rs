//! The node's bridge and the host's ends of the VMs' links, by rtnetlink.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use futures::TryStreamExt;
use rtnetlink::{
    Handle, LinkBridge, LinkUnspec, new_connection, packet_route::address::AddressAttribute,
};

use super::{
    error::{Doing, Error, Result},
    file::names,
};

/// The names of all links.
pub fn all() -> Result<Vec<String>> {
    names(Path::new("/sys/class/net"))
}

/// Whether a link is there.
pub fn exists(name: &str) -> Result<bool> {
    let link = Path::new("/sys/class/net").join(name);
    link.try_exists().doing(|| format!("look for the link {name}"))
}

/// Makes the bridge with its address, if it is not there, and lets the kernel forward. What has the
/// name and is another's is left alone: `ours` tells which links may hang on the bridge.
pub fn ensure_bridge(
    name: &str,
    address: Ipv4Addr,
    prefix: u8,
    ours: impl Fn(&str) -> bool,
) -> Result<()> {
    let in_use = |why| Error::InUse { what: format!("the link {name}"), why };
    if exists(name)?
        && let Some(why) = stranger(name, address, ours)?
    {
        return Err(in_use(why));
    }
    with_netlink(&format!("make the bridge {name}"), async |handle| {
        let index = if let Some(index) = index(&handle, name).await? {
            index
        } else {
            handle.link().add(LinkBridge::new(name).build()).execute().await?;
            index(&handle, name).await?.ok_or(rtnetlink::Error::RequestFailed)?
        };
        handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
        match handle.address().add(index, IpAddr::V4(address), prefix).execute().await {
            // It has the address.
            Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::EEXIST => {
                Ok(())
            }
            other => other,
        }
    })?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").doing(|| "switch IPv4 forwarding on".to_owned())
}

/// What tells that a link is none of our bridges, if anything does.
fn stranger(name: &str, address: Ipv4Addr, ours: impl Fn(&str) -> bool) -> Result<Option<String>> {
    let ports = Path::new("/sys/class/net").join(name).join("brif");
    if !ports.exists() {
        return Ok(Some("it is no bridge".to_owned()));
    }
    if let Some(port) = names(&ports)?.iter().find(|port| !ours(port)) {
        return Ok(Some(format!("{port} hangs on it")));
    }
    let found = with_netlink(&format!("look at the addresses of {name}"), async |handle| {
        let Some(index) = index(&handle, name).await? else { return Ok(Vec::new()) };
        let addresses = handle.address().get().set_link_index_filter(index).execute();
        addresses.try_collect::<Vec<_>>().await
    })?;
    let mut found = found.iter().flat_map(|message| &message.attributes);
    Ok(found.find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(other)) if *other != address => {
            Some(format!("it has the address {other}"))
        }
        _ => None,
    }))
}

/// Takes a link away; not there is fine.
pub fn remove(name: &str) -> Result<()> {
    with_netlink(&format!("remove the link {name}"), async |handle| {
        match index(&handle, name).await? {
            Some(index) => handle.link().del(index).execute().await,
            None => Ok(()),
        }
    })
}

async fn index(handle: &Handle, name: &str) -> Result<Option<u32>, rtnetlink::Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::ENODEV => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A conversation with the kernel, from a thread that may block.
fn with_netlink<T>(
    doing: &str,
    talk: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>,
) -> Result<T> {
    let failed = |source: std::io::Error| Error::System { doing: doing.to_owned(), source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection().map_err(failed)?;
        let pump = tokio::spawn(connection);
        let result = talk(handle).await;
        pump.abort();
        result.map_err(|error| failed(std::io::Error::other(error)))
    })
}
