//! End to end: real btrfs, real LXC, real `nxagent`, a real client, as root.
//!
//! A [`World`] is a whole installation on a machine of its own, as far as namespaces go: its own
//! network, mounts, X displays and names. The test enters it, and what it starts is inside. When it
//! is dropped it checks that nothing is left, and removes itself; what a killed run leaves is removed
//! by `cargo xtask sweep`, by the files `owner` and `prefix` of its folder.

pub mod attempt;
pub mod display;
pub mod fuse;
pub mod machine;
pub mod painting;
pub mod pixel;
pub mod postgres;
pub mod program;
pub mod quick;
pub mod soak;
pub mod tree;
pub mod wait;
pub mod wire_client;
pub mod world;

pub use display::Display;
pub use wait::until;
pub use world::{Database, World};
