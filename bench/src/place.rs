//! Where results and documents are.

use std::path::PathBuf;

use xtask::place::root;

/// Raw samples.
pub(crate) fn results() -> PathBuf {
    root().join("bench/results")
}

/// What is made from them.
pub(crate) fn docs() -> PathBuf {
    root().join("docs")
}
