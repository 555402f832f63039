//! The btrfs driver: a base is a read-only subvolume, an overlay is a snapshot of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use model::{DiId, Run, VmId, di::Di};
use sha2::{Digest, Sha256};

use super::Driver;
use crate::{
    layout::Layout,
    linux::{self, Error, Gauge, Linux, Lock, unpack::Archive},
    plan,
};

/// How an overlay is marked that outlives its runs: no run has this number.
const LASTING: i64 = Run::NONE.0;

/// The driver.
#[derive(Debug)]
pub struct Btrfs {
    linux: Arc<dyn Linux>,
}

impl Btrfs {
    /// On a machine.
    pub fn new(linux: Arc<dyn Linux>) -> Self {
        Self { linux }
    }
}

/// What a base is marked with, from the image's digest: the same on every host, so that incremental
/// streams made on one fit on another.
pub fn stands_for(sha256: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"qvd base ");
    hash.update(sha256);
    let mut id = [0; 16];
    id.iter_mut().zip(hash.finalize()).for_each(|(byte, hashed)| *byte = hashed);
    id
}

impl Driver for Btrfs {
    fn usable(&self, layout: &Layout) -> linux::Result<()> {
        for path in [&layout.basefs, &layout.overlayfs] {
            if !self.linux.is_btrfs(path)? {
                return Err(Error::Unexpected {
                    what: path.display().to_string(),
                    why: "it is not on btrfs: mount a btrfs volume there, or point \
                          path.storage.btrfs.root at one"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    fn base(&self, layout: &Layout, di: &Di) -> linux::Result<Option<plan::Base>> {
        let Some(found) = self.linux.subvolume(&layout.base(di))? else {
            let partial = self.linux.subvolume(&layout.partial_base(di))?;
            return Ok(partial.map(|_| plan::Base::Partial));
        };
        let whole = found.read_only && found.received == stands_for(&di.sha256);
        Ok(Some(if whole { plan::Base::Whole } else { plan::Base::Stale }))
    }

    fn make_base(
        &self,
        layout: &Layout,
        di: &Di,
        lock: Lock,
        progress: &mut dyn FnMut(u64, u64),
    ) -> linux::Result<Duration> {
        let partial = layout.partial_base(di);
        self.linux.delete_subvolume(&partial)?;
        self.linux.create_subvolume(&partial)?;
        let archive = Archive { file: layout.image(di), sha256: di.sha256.clone(), lock };
        match self.linux.unpack(&archive, &partial, progress) {
            Ok(waited) => {
                self.linux.seal(&partial, stands_for(&di.sha256), &layout.base(di))?;
                Ok(waited)
            }
            Err(error) => {
                // Its room is better used by what works; the reason is the unpacking's.
                let _ = self.linux.delete_subvolume(&partial);
                Err(error)
            }
        }
    }

    fn discard_base(&self, layout: &Layout, di: &Di) -> linux::Result<()> {
        self.linux.delete_subvolume(&layout.partial_base(di))?;
        self.linux.delete_subvolume(&layout.base(di))
    }

    fn overlay(&self, layout: &Layout, di: DiId, vm: VmId) -> linux::Result<Option<plan::Overlay>> {
        let path = layout.overlay(di, vm);
        if self.linux.subvolume(&path)?.is_none() {
            return Ok(None);
        }
        Ok(Some(match self.linux.tag(&path)? {
            None => plan::Overlay::Partial,
            Some(LASTING) => plan::Overlay::Lasting,
            Some(run) => plan::Overlay::Of(Run(run)),
        }))
    }

    fn make_overlay(
        &self,
        layout: &Layout,
        di: &Di,
        vm: VmId,
        run: Option<Run>,
    ) -> linux::Result<()> {
        let path = layout.overlay(di.id, vm);
        self.linux.snapshot(&layout.base(di), &path)?;
        self.linux.set_tag(&path, run.map_or(LASTING, |run| run.0))
    }

    fn discard_overlay(&self, layout: &Layout, di: DiId, vm: VmId) -> linux::Result<()> {
        self.linux.delete_subvolume(&layout.overlay(di, vm))
    }

    fn limit_overlay(&self, layout: &Layout, di: DiId, vm: VmId, bytes: u64) -> linux::Result<()> {
        self.linux.limit_subvolume(&layout.overlay(di, vm), bytes)
    }

    fn forget_limits(&self, layout: &Layout) -> linux::Result<()> {
        self.linux.forget_limits(&layout.overlayfs)
    }

    fn overlay_full(&self, layout: &Layout, di: DiId, vm: VmId) -> linux::Result<Gauge<bool>> {
        self.linux.limit_reached(&layout.overlay(di, vm))
    }

    fn tree(&self, layout: &Layout, di: DiId, vm: VmId) -> PathBuf {
        layout.overlay(di, vm)
    }
}
