//! Who listens where a container's monitor would.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    thread,
    time::{Duration, Instant},
};

use hkd::linux::{Linux as _, lxc::Monitor};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

use crate::place::Place;

fn socket_of(place: &Place) -> String {
    format!("{}/{}/command", place.vms().display(), place.container())
}

fn listener(name: &str) -> UnixListener {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

/// Only root can be a monitor: another user who takes its place is not seen, and nothing is done to
/// the process that user names. This test would not outlive it.
#[test]
fn a_stranger_is_no_monitor() {
    let place = Place::enter();
    let (vms, name) = (place.vms(), place.container());
    let monitor = || place.real.monitor(&vms, &name).unwrap();
    assert_eq!(monitor(), None);
    let own = listener(&socket_of(&place));
    let pid = std::process::id().cast_signed();
    assert_eq!(monitor(), Some(Monitor { pid }));
    drop(own);
    let socket = socket_of(&place);
    let stranger = thread::spawn(move || {
        rustix_set_user(65_534);
        listener(&socket)
    });
    let stranger = stranger.join().unwrap();
    assert_eq!(monitor(), None);
    place.real.kill(&vms, &name).unwrap();
    place.real.ask_to_stop(&vms, &name).unwrap();
    assert!(stranger.take_error().unwrap().is_none());
}

#[expect(unsafe_code, reason = "the user of this thread alone")]
fn rustix_set_user(uid: u32) {
    // SAFETY: the thread does nothing but bind a socket afterwards.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    assert_eq!(result, 0);
}

/// One that does not answer is an error in time, and holds nobody up.
#[test]
fn a_monitor_that_does_not_answer_is_not_waited_for() {
    let place = Place::enter();
    let name = socket_of(&place);
    let deaf = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&deaf, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
    listen(&deaf, 0).unwrap();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _first = UnixStream::connect_addr(&address).unwrap();
    let begun = Instant::now();
    assert!(place.real.monitor(&place.vms(), &place.container()).is_err());
    assert!(begun.elapsed() < Duration::from_secs(10));
}
