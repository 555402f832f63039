//! The loops of a host, with a real database, on a machine that is only imitated.

#[cfg(test)]
mod boundaries;
#[cfg(test)]
mod courses;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod safety;
#[cfg(test)]
mod scarce;
#[cfg(test)]
mod twice;
#[cfg(test)]
mod world;
