//! What runs in a container of the machine for tests: an agent that answers as agreed.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use wire::{
    agent::{Ask, Guest, Session, Tell, VERSION},
    descriptor,
    frame::{self, Decoder},
};

/// An agent. It ends, with its connections, when this is dropped.
#[derive(Debug)]
pub(super) struct Agent {
    listener: UnixListener,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ended: AtomicBool,
    streams: Mutex<Vec<UnixStream>>,
    /// How the guest was last made ready.
    guest: Mutex<Option<Guest>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    /// Begins to answer on a listening socket.
    pub(super) fn new(listener: &UnixListener) -> io::Result<Self> {
        let inner = Arc::<Inner>::default();
        let (accepts, answers) = (listener.try_clone()?, Arc::clone(&inner));
        thread::Builder::new().name("fake agent".to_owned()).spawn(move || {
            // The end of the agent shuts the socket down, which ends the waiting.
            while let Ok((stream, _)) = accepts.accept() {
                let Ok(kept) = stream.try_clone() else { return };
                held(&answers.streams).push(kept);
                if answers.ended.load(Ordering::SeqCst) {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
                let inner = Arc::clone(&answers);
                thread::spawn(move || {
                    // A caller that hangs up has heard enough.
                    let _ = inner.answer(&stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        })?;
        Ok(Self { listener: listener.try_clone()?, inner })
    }

    /// How the guest was made ready, if it was.
    pub(super) fn guest(&self) -> Option<Guest> {
        held(&self.inner.guest).clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::SeqCst);
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        for stream in held(&self.inner.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Inner {
    fn answer(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut decoder = Decoder::default();
        let mut buffer = [0; 4096];
        loop {
            while let Some(ask) = decoder.next_message::<Ask>().map_err(io::Error::other)? {
                self.reply(stream, ask)?;
            }
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            decoder.push(buffer.get(..read).unwrap_or_default());
        }
    }

    fn reply(&self, mut stream: &UnixStream, ask: Ask) -> io::Result<()> {
        let mut say = |tell: &Tell| stream.write_all(&frame::encode(tell));
        match ask {
            Ask::Hello => {
                let prepared = held(&self.guest).is_some();
                say(&Tell::Hello { version: VERSION, prepared })
            }
            Ask::Prepare(guest) => {
                *held(&self.guest) = Some(guest);
                say(&Tell::Done)
            }
            Ask::Start { .. } => {
                say(&Tell::Progress { text: "starting".to_owned() })?;
                say(&Tell::Listening)
            }
            Ask::Open => {
                let (given, kept) = UnixStream::pair()?;
                descriptor::send(stream, &frame::encode(&Tell::Opened), given.as_fd())?;
                held(&self.streams).push(kept);
                Ok(())
            }
            Ask::Follow => say(&Tell::State { session: Session::None }),
            Ask::Suspend | Ask::End | Ask::PowerOff => say(&Tell::Done),
        }
    }
}
