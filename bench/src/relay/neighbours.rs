//! The router's neighbours: an api and an hkd that say yes to everybody at once.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};
use wire::{
    attach::{FromHkd, FromRouter},
    broker::{Answer, Request},
    descriptor,
    frame::{Decoder, encode},
};

/// Listens where the router looks below its run folder; desktops are at these sockets, by their VM's
/// number.
pub(super) fn start(run: &Path, desktops: &[PathBuf]) -> Result<()> {
    let listen = |name: &str| {
        let path = run.join(name);
        let folder = path.parent().unwrap_or(run);
        fs::create_dir_all(folder)?;
        UnixListener::bind(&path)
    };
    let api = listen("api/internal.sock").context("cannot play the api")?;
    let hkd = listen("hkd/attach.sock").context("cannot play hkd")?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = api.accept().await {
            tokio::spawn(async move { drop(answer(Line::new(stream)).await) });
        }
    });
    let desktops = desktops.to_vec();
    tokio::spawn(async move {
        while let Ok((stream, _)) = hkd.accept().await {
            let desktops = desktops.clone();
            tokio::spawn(async move { drop(hand_over(Line::new(stream), &desktops).await) });
        }
    });
    Ok(())
}

async fn answer(mut line: Line) -> Result<()> {
    if let Request::Connect { vm, parameters, .. } = line.hear().await? {
        let name: String = (0..64).map(|_| char::from(b'a' + rand::random_range(0..26))).collect();
        line.say(&Answer::Attach { vm, run: 1, connection: name, parameters }).await?;
    }
    // Until the client leaves.
    while line.stream.read(&mut [0; 256]).await? > 0 {}
    Ok(())
}

async fn hand_over(mut line: Line, desktops: &[PathBuf]) -> Result<()> {
    let FromRouter::Attach { vm, .. } = line.hear().await? else { return Ok(()) };
    line.say(&FromHkd::Listening).await?;
    line.hear::<FromRouter>().await?;
    let number = usize::try_from(vm)? % desktops.len().max(1);
    let desktop = UnixStream::connect(desktops.get(number).context("there is a desktop")?).await?;
    Ok(descriptor::send(line.stream.as_fd(), &encode(&FromHkd::Opened), desktop.as_fd())?)
}

/// One conversation.
struct Line {
    stream: UnixStream,
    decoder: Decoder,
}

impl Line {
    fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default() }
    }

    async fn hear<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            let mut bytes = [0; 2048];
            let read = self.stream.read(&mut bytes).await?;
            anyhow::ensure!(read > 0, "the router hung up");
            self.decoder.push(bytes.get(..read).unwrap_or_default());
        }
    }

    async fn say<T: serde::Serialize>(&mut self, message: &T) -> Result<()> {
        Ok(self.stream.write_all(&encode(message)).await?)
    }
}
