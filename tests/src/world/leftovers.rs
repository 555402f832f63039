//! What VMs have on the machine, found without asking the daemons.

use super::World;
use crate::program::found;

impl World {
    /// Each kind of thing that a running VM has on the machine, and those that are there.
    pub fn things(&self) -> Vec<(&'static str, String)> {
        let (at, prefix) = (self.folder.display(), &self.prefix);
        [
            ("run directories", format!("ls {at}/run/vms")),
            (
                "roots and overlays",
                format!("find {at}/storage/rootfs {at}/storage/overlayfs -mindepth 1 -maxdepth 1"),
            ),
            (
                "control groups",
                // Other groups may vanish under the search.
                format!("find /sys/fs/cgroup -type d -name 'lxc.*.{prefix}-*' 2>/dev/null"),
            ),
            ("links", format!("ls /sys/class/net | grep -E '^{prefix}-[0-9]'")),
            ("mounts", format!("grep -E ' {at}/(run|storage/rootfs)' /proc/self/mountinfo")),
            ("slots", format!("grep -ls ^{at}/run/vms /run/qvd-slots/[0-9]*")),
            ("monitors", format!("pgrep -f '[l]xc-start -F -n {prefix}-'")),
            ("addresses let through", "nft list ruleset | grep 'elements ='".to_owned()),
        ]
        .map(|(kind, look)| (kind, found(&look)))
        .to_vec()
    }

    /// The processes that watch over containers.
    pub fn monitors(&self) -> Vec<i32> {
        let said = found(&format!("pgrep -f '[l]xc-start -F -n {}-'", self.prefix));
        said.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// What is there of VMs.
    pub fn leftovers(&self) -> Vec<(&'static str, String)> {
        self.things().into_iter().filter(|(_, found)| !found.is_empty()).collect()
    }
}
