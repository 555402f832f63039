//! `qvd-client` as a person uses it: the real program, a real nxproxy and a real nxagent, on an X
//! server of the test's own, against a small server that speaks the protocol.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]
#![expect(clippy::indexing_slicing, reason = "what fails here fails the test")]

#[path = "client/agent.rs"]
mod agent;
#[path = "client/desktop.rs"]
mod desktop;
#[path = "client/display.rs"]
mod display;
#[path = "client/program.rs"]
mod program;
#[path = "client/requests.rs"]
mod requests;
#[path = "client/server.rs"]
mod server;
