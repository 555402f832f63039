//! The QVD protocol's heads.
//!
//! To be filled: tolerant request heads, exact response heads, and the client's half.
