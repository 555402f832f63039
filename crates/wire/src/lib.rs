//! Every byte format that crosses a process boundary, without the I/O.
//!
//! | module | between | form |
//! |---|---|---|
//! | [`head`] | clients and l7r | the QVD protocol: heads of HTTP/1.1, tolerant of what real clients send |
//! | [`session`] | the same, in the target of a request | what a client asks of a desktop |
//! | [`broker`] | l7r and api | [`frame`]s over a unix socket |
//! | [`attach`] | l7r and hkd | [`frame`]s over a unix socket, with a descriptor |
//! | [`agent`] | hkd and vma | [`frame`]s over a unix socket, with a descriptor |
//! | [`rest`] | qa and api | JSON bodies |
//!
//! The only system calls here are in [`descriptor`] and [`discard`]: a descriptor is part of a
//! message's bytes, three programs send or receive them, and all must get rid of those nobody wanted.

pub mod agent;
pub mod attach;
pub mod broker;
pub mod descriptor;
pub mod discard;
pub mod frame;
pub mod head;
pub mod rest;
pub mod session;
