//! The image of the tests, built or from the cache.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::program;

/// An image's file.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

/// The small image.
pub(crate) fn small() -> Result<Image> {
    let path = PathBuf::from(program::run("images/build", &["test"])?);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Image { sha256: hex::encode(Sha256::digest(bytes)), path })
}
