//! Sends and receives a message with one descriptor over a unix stream socket.
//!
//! A peer that is not trusted may send descriptors that nobody asked for, and closing one may take as
//! long as the peer likes. So all that come are received, and those of no use go to [`crate::discard`].

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::discard::discard;

/// Sends `bytes` with `descriptor` attached to the first of them. Short lines only: the kernel takes
/// them whole.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent < bytes.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "the socket took part of a message"));
    }
    Ok(())
}

/// The most descriptors the kernel carries with one message. With room for all of them it closes none
/// in our place.
const MOST: usize = 253;

/// Receives some bytes and, if one came with them, a descriptor (close-on-exec). Further descriptors
/// of a peer that sends more are discarded. Zero bytes: the peer closed.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let (read, descriptors) = receive_all(socket, buffer)?;
    let mut descriptors = descriptors.into_iter();
    let first = descriptors.next();
    discard(descriptors.collect());
    Ok((read, first))
}

/// Receives some bytes and all the descriptors that came with them (close-on-exec). Zero bytes: the
/// peer closed.
pub fn receive_all(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    receive_with(socket, buffer, RecvFlags::empty())
}

/// The same with flags.
pub(crate) fn receive_with(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut came = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            came.extend(descriptors);
        }
    }
    Ok((received.bytes, came))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    #[test]
    fn a_descriptor_arrives_with_its_message() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut kept, given) = UnixStream::pair().unwrap();
        send(&left, b"here\n", given.as_fd()).unwrap();
        let mut buffer = [0; 64];
        let (read, descriptor) = receive(&right, &mut buffer).unwrap();
        assert_eq!(&buffer[..read], b"here\n");
        let mut received = UnixStream::from(descriptor.unwrap());
        received.write_all(b"x").unwrap();
        let mut byte = [0];
        kept.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
}
