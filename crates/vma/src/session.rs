//! The user's session: `nxagent`, the desktop's programs, and what keeps them.
//!
//! ```text
//! hkd ── agent ── control socket ── supervisor ─┬─ nxagent ── unix socket ── (hkd, l7r, client)
//!        (root, comes and goes)     (the user)  └─ desktop ── its programs
//! ```
//!
//! The supervisor speaks [`wire::agent`] on its control socket; the agent passes questions and
//! answers through. Nothing outside the session's own folder is needed to find it again.

pub(crate) mod control;
pub(crate) mod cut;
pub(crate) mod desktop;
pub(crate) mod dialog;
pub(crate) mod door;
pub(crate) mod ending;
pub(crate) mod launch;
pub(crate) mod line;
pub(crate) mod machine;
pub(crate) mod nxagent;
pub(crate) mod options;
pub(crate) mod requirements;
pub(crate) mod supervisor;
pub(crate) mod wishes;
pub(crate) mod xauthority;

/// The X display of a session: no console of an image uses a number this high.
pub(crate) const DISPLAY: u16 = 100;

/// The control socket's name in the session's folder.
pub(crate) const CONTROL: &str = "control";
