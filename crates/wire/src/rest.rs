//! Bodies of `/api/v1`.
//!
//! To be filled.
