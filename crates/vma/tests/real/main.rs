//! The session and the agent for real: `nxagent`, `nxproxy`, X servers, namespaces. As root.

mod agent;
mod client;
mod guest;
mod screen;
mod session;
mod stage;
