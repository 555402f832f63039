//! Every name on the machine, made in one place from settings, so that two installations on one
//! kernel never meet.

use model::{VmId, settings::Settings};

use super::error::{Error, Result};

/// The names of one installation on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
    /// The node's own bridge.
    pub bridge: String,
}

impl Names {
    /// From `internal.names.prefix` and `vm.network.bridge`.
    pub fn new(prefix: &str, bridge: &str) -> Result<Self> {
        let word = |text: &str, longest: usize| {
            (1..=longest).contains(&text.len())
                && text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let bad = |what: &str, text: &str, longest: usize| Error::Unexpected {
            what: format!("`{text}`, the value of {what}"),
            why: format!("it takes 1 to {longest} lower-case letters and digits, a letter first"),
        };
        if !word(prefix, 6) {
            return Err(bad("internal.names.prefix", prefix, 6));
        }
        if !word(bridge, 15) {
            return Err(bad("vm.network.bridge", bridge, 15));
        }
        Ok(Self { prefix: prefix.to_owned(), bridge: bridge.to_owned() })
    }

    /// From the settings of this host.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let get = |key: &str| {
            settings.get(key).map_err(|bad| Error::Unexpected {
                what: format!("the setting {key}"),
                why: bad.to_string(),
            })
        };
        Self::new(&get("internal.names.prefix")?, &get("vm.network.bridge")?)
    }

    /// The container of a VM: `qvd-7`. Also the name of its run directory.
    pub fn container(&self, vm: VmId) -> String {
        format!("{}-{vm}", self.prefix)
    }

    /// The VM whose container has this name.
    pub fn vm_of_container(&self, container: &str) -> Option<VmId> {
        self.vm_of(container)
    }

    /// The host's end of a VM's link: `qvd-7`. The dash keeps VM 12 of `qvd` from VM 2 of `qvd1`, and
    /// any VM's link from a bridge.
    pub fn link(&self, vm: VmId) -> String {
        format!("{}-{vm}", self.prefix)
    }

    /// The VM whose link has this name.
    pub fn vm_of_link(&self, link: &str) -> Option<VmId> {
        self.vm_of(link)
    }

    /// The pattern of the names of all VMs' links, for nftables.
    pub fn links(&self) -> String {
        format!("{}-*", self.prefix)
    }

    fn vm_of(&self, name: &str) -> Option<VmId> {
        let id = name.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        id.parse().ok().filter(|vm: &VmId| vm.0 > 0 && vm.to_string() == id)
    }

    /// The firewall's tables.
    pub fn table(&self) -> &str {
        &self.prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_names_its_vm_and_no_other_installations() {
        let names = Names::new("qvd", "qvdnet").unwrap();
        assert_eq!(names.vm_of_container(&names.container(VmId(7))), Some(VmId(7)));
        for foreign in ["qvd-", "qvd-x", "qvd-07", "qvdt-7", "qvd-7-8", "qvd--7", "other-7"] {
            assert_eq!(names.vm_of_container(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn installations_whose_prefixes_end_in_digits_do_not_meet() {
        let (qvd, qvd1) = (Names::new("qvd", "qvdnet"), Names::new("qvd1", "qvd1net"));
        let (qvd, qvd1) = (qvd.unwrap(), qvd1.unwrap());
        assert_ne!(qvd.link(VmId(12)), qvd1.link(VmId(2)));
        assert_eq!(qvd.vm_of_link(&qvd.link(VmId(12))), Some(VmId(12)));
        assert_eq!(qvd.vm_of_link(&qvd1.link(VmId(2))), None);
        assert_eq!(qvd.vm_of_link("qvdnet"), None);
        let longest = Names::new("qvdqvd", "qvdnet").unwrap().link(VmId(99_999_999));
        assert!(longest.len() <= 15, "{longest} does not fit the kernel");
    }

    #[test]
    fn names_that_do_not_fit_the_kernel_are_refused() {
        assert!(Names::new("toolong", "qvdnet").is_err());
        assert!(Names::new("qvd", "a bridge").is_err());
        assert!(Names::new("", "qvdnet").is_err());
    }
}
