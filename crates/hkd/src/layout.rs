//! Where things are: the folders of the storage, and the run directories.

use std::path::PathBuf;

use model::{DiId, VmId, di::Di, settings::BadSetting, settings::Settings};

/// The folders of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Storage paths must lie below this folder.
    pub allowed: PathBuf,
    /// Holds all others.
    pub root: PathBuf,
    /// Registered images.
    pub images: PathBuf,
    /// Unpacked images.
    pub basefs: PathBuf,
    /// What VMs write.
    pub overlayfs: PathBuf,
    /// Roots of running VMs.
    pub rootfs: PathBuf,
    /// Homes.
    pub homefs: PathBuf,
    /// Run directories, one for each VM that runs.
    pub vms: PathBuf,
    /// Sockets that hkd makes.
    pub sockets: PathBuf,
    /// What is kept of runs that ended by themselves.
    pub ended: PathBuf,
}

impl Layout {
    /// From the settings of this host.
    pub fn from_settings(settings: &Settings) -> Result<Self, BadSetting> {
        let path = |key: &str| settings.get(key).map(PathBuf::from);
        let run = path("path.run")?;
        Ok(Self {
            allowed: path("path.storage.allowed")?,
            root: path("path.storage.root")?,
            images: path("path.storage.images")?,
            basefs: path("path.storage.basefs")?,
            overlayfs: path("path.storage.overlayfs")?,
            rootfs: path("path.storage.rootfs")?,
            homefs: path("path.storage.homefs")?,
            vms: run.join("vms"),
            sockets: run.join("hkd"),
            ended: run.join("ended"),
        })
    }

    /// The folders of the storage that hkd makes and owns, `0700`.
    pub fn owned(&self) -> [&PathBuf; 3] {
        [&self.basefs, &self.overlayfs, &self.rootfs]
    }

    /// Every path of the storage, with the key it was set by.
    pub fn storage(&self) -> [(&'static str, &PathBuf); 6] {
        [
            ("path.storage.root", &self.root),
            ("path.storage.images", &self.images),
            ("path.storage.basefs", &self.basefs),
            ("path.storage.overlayfs", &self.overlayfs),
            ("path.storage.rootfs", &self.rootfs),
            ("path.storage.homefs", &self.homefs),
        ]
    }

    /// An image's file.
    pub fn image(&self, di: &Di) -> PathBuf {
        self.images.join(&di.path)
    }

    /// An image's base.
    pub fn base(&self, di: &Di) -> PathBuf {
        self.basefs.join(&di.path)
    }

    /// A base while it is being filled.
    pub fn partial_base(&self, di: &Di) -> PathBuf {
        self.basefs.join(format!("{}{PARTIAL}", di.path))
    }

    /// The lock on a base: held alone by who makes or deletes it, shared by who snapshots it.
    pub fn base_lock(&self, di: &Di) -> PathBuf {
        self.lock_of(&di.path)
    }

    /// What a VM writes over an image.
    pub fn overlay(&self, di: DiId, vm: VmId) -> PathBuf {
        self.overlayfs.join(overlay_name(di, vm))
    }

    /// Where a VM's root is mounted.
    pub fn mounted_root(&self, vm: VmId) -> PathBuf {
        self.rootfs.join(folder_name(vm))
    }

    /// The VM whose root is mounted in a folder of this name.
    pub fn vm_of_root(name: &str) -> Option<VmId> {
        let vm: VmId = name.strip_suffix("-fs")?.parse().ok()?;
        (name == folder_name(vm)).then_some(vm)
    }

    /// A base whose filling was begun, and its lock, from the name of a file beside the bases.
    pub fn half_filled(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        let base = name.strip_suffix(PARTIAL)?;
        Some((self.basefs.join(name), self.lock_of(base)))
    }

    fn lock_of(&self, base: &str) -> PathBuf {
        self.basefs.join(format!("lock.{base}"))
    }

    /// A VM's home.
    pub fn home(&self, vm: VmId) -> PathBuf {
        self.homefs.join(folder_name(vm))
    }

    /// What LXC said of a VM's last run that ended by itself.
    pub fn kept_log(&self, vm: VmId) -> PathBuf {
        self.ended.join(format!("{vm}.log"))
    }

    /// The file that says how many VMs the database had given an address when this host last looked.
    pub fn given(&self) -> PathBuf {
        self.basefs.join("given")
    }

    /// The file that says which installation the storage belongs to.
    pub fn owner(&self) -> PathBuf {
        self.basefs.join("installation")
    }
}

/// What a base is called, after its image, while it is being filled.
const PARTIAL: &str = ".partial";

/// A VM's folder among the homes, and among the roots.
pub fn folder_name(vm: VmId) -> String {
    format!("{vm}-fs")
}

fn overlay_name(di: DiId, vm: VmId) -> String {
    format!("{di}-{vm}-overlayfs")
}

/// The image and VM of an overlay's name.
pub fn overlay_of(name: &str) -> Option<(DiId, VmId)> {
    let (di, vm) = name.strip_suffix("-overlayfs")?.split_once('-')?;
    let (di, vm) = (di.parse().ok()?, vm.parse().ok()?);
    (overlay_name(di, vm) == name).then_some((di, vm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_names_its_image_and_vm() {
        assert_eq!(overlay_of("2-3-overlayfs"), Some((DiId(2), VmId(3))));
        for foreign in ["2-3", "02-3-overlayfs", "2-3-4-overlayfs", "-3-overlayfs", "lost+found"] {
            assert_eq!(overlay_of(foreign), None, "{foreign}");
        }
    }
}
