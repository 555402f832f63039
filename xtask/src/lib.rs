//! What the tasks and the measurements share: how programs are started, where files are, what machine this is.

pub mod command;
pub mod machine;
pub mod place;
