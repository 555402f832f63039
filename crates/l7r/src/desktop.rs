//! The socket of a desktop, whose other end is not trusted.
//!
//! It carries bytes and nothing else: a descriptor that comes with them is discarded and ends the
//! connection.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::UnixStream,
};
use wire::{
    descriptor,
    discard::{discard, hang_up},
};

/// A desktop's socket.
#[derive(Debug)]
pub(crate) struct Desktop(UnixStream);

impl Desktop {
    /// The socket that a descriptor must be: a stream unix socket, else nothing.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Option<Self>> {
        let family = sockopt::socket_domain(descriptor.as_fd());
        let kind = sockopt::socket_type(descriptor.as_fd());
        if family != Ok(AddressFamily::UNIX) || kind != Ok(SocketType::STREAM) {
            discard(vec![descriptor]);
            return Ok(None);
        }
        // What is sent out of band would be dropped in passing, with the descriptors in it.
        sockopt::set_socket_oobinline(&descriptor, true)?;
        let stream = std::os::unix::net::UnixStream::from(descriptor);
        stream.set_nonblocking(true)?;
        Ok(Some(Self(UnixStream::from_std(stream)?)))
    }

    /// Whether there may be something to read.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        hang_up(&self.0);
    }
}

impl AsyncRead for Desktop {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &self.0;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let bytes = space.initialize_unfilled();
            let receive = || descriptor::receive_all(stream, bytes);
            match stream.try_io(Interest::READABLE, receive) {
                Ok((read, descriptors)) if descriptors.is_empty() => {
                    space.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Ok((_, descriptors)) => {
                    discard(descriptors);
                    let text = "the desktop sent more than bytes";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Desktop {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_stream_unix_socket_is_a_desktop() {
        let (stream, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Desktop::new(stream.into()).unwrap().is_some());
        let (datagram, _peer) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for other in [OwnedFd::from(datagram), tcp.into(), file.into()] {
            assert!(Desktop::new(other).unwrap().is_none());
        }
    }
}
