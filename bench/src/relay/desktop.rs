//! Desktops that are nothing but a socket: they say everything back, or pour.

use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

/// What a client says first to have everything said back.
pub(super) const ECHO: &[u8; 8] = b"NXPROXY-";

/// What a client says first to be poured a MiB on for each of the MiB it names next, in four bytes.
pub(super) const POUR: &[u8; 8] = b"NXPOUR--";

/// One MiB.
pub(super) const MIB: usize = 1 << 20;

/// A desktop at a socket, for as long as this process lives.
pub(super) fn start(path: &Path) -> Result<()> {
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that left has heard enough.
            tokio::spawn(async move { drop(serve(stream).await) });
        }
    });
    Ok(())
}

async fn serve(mut stream: UnixStream) -> std::io::Result<()> {
    let mut first = [0; 8];
    stream.read_exact(&mut first).await?;
    if first == *POUR {
        let block = vec![0x5a; MIB];
        for _ in 0..stream.read_u32().await? {
            stream.write_all(&block).await?;
        }
        return stream.flush().await;
    }
    stream.write_all(&first).await?;
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await.map(drop)
}
