//! `qa` and the api together, over the real socket and a real database. The tests stand in for the
//! hosts: they write what a host would see.

#[cfg(test)]
mod definitions;
#[cfg(test)]
mod images;
#[cfg(test)]
mod installation;
#[cfg(test)]
mod power;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod settings;
