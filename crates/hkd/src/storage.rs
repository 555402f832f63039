//! How the root of a VM is made from its image: drivers, over the door to the machine.
//!
//! A driver is a few operations. Everything else is shared by all of them.

pub mod btrfs;
pub mod homes;

use std::{fmt::Debug, path::PathBuf, time::Duration};

use model::{DiId, Run, VmId, di::Di};

use crate::{
    layout::Layout,
    linux::{self, Gauge},
    plan,
};

/// A way to make roots from images.
pub trait Driver: Debug + Send + Sync {
    /// Why it cannot work with these folders, if so.
    fn usable(&self, layout: &Layout) -> linux::Result<()>;
    /// The base of an image.
    fn base(&self, layout: &Layout, di: &Di) -> linux::Result<Option<plan::Base>>;
    /// Unpacks an image into its base, whose lock is held by what unpacks too. `progress` hears bytes
    /// read and all bytes. Returns how long was waited for the image's file.
    fn make_base(
        &self,
        layout: &Layout,
        di: &Di,
        lock: linux::Lock,
        progress: &mut dyn FnMut(u64, u64),
    ) -> linux::Result<Duration>;
    /// Deletes a base, and what was left of an attempt to make it.
    fn discard_base(&self, layout: &Layout, di: &Di) -> linux::Result<()>;
    /// A VM's overlay of an image.
    fn overlay(&self, layout: &Layout, di: DiId, vm: VmId) -> linux::Result<Option<plan::Overlay>>;
    /// Makes a VM's overlay for a run, or to outlive its runs.
    fn make_overlay(
        &self,
        layout: &Layout,
        di: &Di,
        vm: VmId,
        run: Option<Run>,
    ) -> linux::Result<()>;
    /// Deletes an overlay. The caller has made sure that nothing runs on it.
    fn discard_overlay(&self, layout: &Layout, di: DiId, vm: VmId) -> linux::Result<()>;
    /// Limits what a VM may write to its overlay, in bytes; zero for no limit.
    fn limit_overlay(&self, layout: &Layout, di: DiId, vm: VmId, bytes: u64) -> linux::Result<()>;
    /// Forgets the limits of overlays that are gone.
    fn forget_limits(&self, layout: &Layout) -> linux::Result<()>;
    /// Tells whether a VM has written to its overlay as much as it may.
    fn overlay_full(&self, layout: &Layout, di: DiId, vm: VmId) -> linux::Result<Gauge<bool>>;
    /// The folder that is mounted as the VM's root.
    fn tree(&self, layout: &Layout, di: DiId, vm: VmId) -> PathBuf;
}
