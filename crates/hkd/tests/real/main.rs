//! The door on the real machine. As root: each test has mounts and a network of its own.

#[cfg(test)]
mod containers;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod monitors;
#[cfg(test)]
mod network;
#[cfg(test)]
mod place;
