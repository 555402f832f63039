//! Who are you: the one door through which every login goes.
//!
//! [`Login::check`] answers with the user or with [`Denied`]. Someone who does not know the password
//! learns nothing from it: an unknown login, a blocked user, a user without a password and a wrong
//! password get the same answer for the same work. Failures are counted for each account *from*
//! each address and for each address, so nobody can lock somebody else out from elsewhere; and who
//! was let in from an address not long ago does not suffer for those who share it. Used by the api
//! alone.

mod check;
mod familiar;
mod hash;
mod passwords;
mod remembered;
mod throttle;

pub use check::{Credentials, Denied, Login};
pub use hash::{HashError, hash};
