//! REST over the administrator's socket, and what the router asks.

mod image;
