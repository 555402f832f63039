//! Where results and documents are.

use std::path::{Path, PathBuf};

/// The root of the source tree.
pub(crate) fn root() -> &'static Path {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().expect("bench is a folder of the source tree")
}

/// Raw samples.
pub(crate) fn results() -> PathBuf {
    root().join("bench/results")
}

/// What is made from them.
pub(crate) fn docs() -> PathBuf {
    root().join("docs")
}
