//! The router as its neighbours see it: a real TLS client on one side, and an api and an hkd that
//! speak the real formats on the other.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails the test")]
#![expect(clippy::indexing_slicing, reason = "what fails here fails the test")]

#[path = "router/client.rs"]
mod client;
#[path = "router/connect.rs"]
mod connect;
#[path = "router/crowd.rs"]
mod crowd;
#[path = "router/family.rs"]
mod family;
#[path = "router/hostile.rs"]
mod hostile;
#[path = "router/relay.rs"]
mod relay;
#[path = "router/requests.rs"]
mod requests;
#[path = "router/stage.rs"]
mod stage;
#[path = "router/strangers.rs"]
mod strangers;
