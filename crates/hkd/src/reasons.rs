//! From failures to reasons: what is stored for people to read.

use std::path::{Path, PathBuf};

use model::{Reason, Timestamp, osf::Osf, reason::Code, vm::Ended};
use store::Work;

use crate::{
    execute::StepError,
    layout::Layout,
    linux::{Error, lxc::End},
    node::Node,
    plan::Step,
    talk::TalkError,
};

/// A step in a word: what a VM is waiting for.
pub fn word(step: Step) -> &'static str {
    match step {
        Step::DiscardBase | Step::Unpack => "unpack",
        Step::Record
        | Step::DiscardOverlay
        | Step::DiscardOthers
        | Step::DiscardLasting
        | Step::Snapshot => "snapshot",
        Step::MountRoot | Step::MountHome | Step::AllowNetwork => "mount",
        Step::Start => "start",
        Step::Inject | Step::Prepare => "agent",
        Step::AskToStop | Step::Kill => "stop",
        Step::RemoveLink
        | Step::ForbidNetwork
        | Step::RemoveGroups
        | Step::UnmountHome
        | Step::UnmountRoot
        | Step::NoteEnd
        | Step::Forget => "clean-up",
    }
}

/// What a step does, for "… failed".
fn deed(step: Step) -> &'static str {
    match step {
        Step::DiscardBase => "deleting the old base",
        Step::Unpack => "unpacking the image",
        Step::Record => "recording the start",
        Step::DiscardOverlay | Step::DiscardOthers | Step::DiscardLasting => {
            "deleting the old overlay"
        }
        Step::Snapshot => "making the overlay",
        Step::MountRoot => "mounting the root",
        Step::MountHome => "mounting the home",
        Step::AllowNetwork | Step::ForbidNetwork => "setting the firewall",
        Step::Start => "starting the container",
        Step::Inject => "putting the agent into the VM",
        Step::Prepare => "preparing the VM for its user",
        Step::AskToStop | Step::Kill => "stopping the container",
        Step::RemoveLink => "removing the link",
        Step::RemoveGroups => "removing the control groups",
        Step::UnmountHome => "unmounting the home",
        Step::UnmountRoot => "unmounting the root",
        Step::NoteEnd => "writing down the end",
        Step::Forget => "removing the run directory",
    }
}

/// Why a step failed.
pub fn of_step(
    step: Step,
    error: &StepError,
    node: &Node,
    work: Option<&Work>,
    now: Timestamp,
) -> Reason {
    let host = &node.name;
    let di = work.and_then(|work| work.di.as_ref());
    let (StepError::Machine(machine), unpacking) = (error, step == Step::Unpack) else {
        let code = if matches!(error, StepError::NoSlot) { Code::NoSlot } else { Code::StepFailed };
        return Reason::new(code, now)
            .with("step", deed(step))
            .with("error", error)
            .with("host", host);
    };
    let storage = match machine {
        Error::Image { .. } => &node.layout.images,
        _ if step == Step::MountHome => &node.layout.homefs,
        _ => &node.layout.basefs,
    };
    let of = |code| Reason::new(code, now).with("step", deed(step)).with("host", host);
    match machine {
        full if full.is_full() => {
            of(Code::StorageFull).with("path", filled(step, full, &node.layout).display())
        }
        Error::NoImages { path } => of(Code::ImagesAway).with("path", path),
        Error::Unmappable { .. } if step == Step::MountHome => {
            of(Code::HomeUnmappable).with("error", machine)
        }
        Error::NotInstalled { program } => of(Code::ToolMissing).with("program", program),
        Error::InUse { what, why } => of(Code::NameInUse).with("what", what).with("error", why),
        Error::NotMounted { path, marker } => of(Code::StorageMissing)
            .with("path", path)
            .with("marker", marker)
            .with("installation", &node.installation),
        Error::Foreign { path, found } => of(Code::ForeignStorage)
            .with("path", path)
            .with("found", found)
            .with("wanted", &node.installation),
        broken if broken.is_storage() => {
            of(Code::StorageUnusable).with("path", storage.display()).with("error", broken)
        }
        Error::Digest { path, wanted, found } => Reason::new(Code::ImageChanged, now)
            .with("path", path)
            .with("wanted", wanted)
            .with("found", found),
        Error::Image { path, .. } if machine.is_missing() => {
            Reason::new(Code::ImageMissing, now).with("path", path)
        }
        other if unpacking => Reason::new(Code::UnpackFailed, now)
            .with("di", di.map_or_else(String::new, |di| di.path.clone()))
            .with("error", other)
            .with("path", node.layout.basefs.display()),
        other => Reason::new(Code::StepFailed, now)
            .with("step", deed(step))
            .with("error", other)
            .with("host", host),
    }
}

/// The folder that has no room: the one that the error names, or else where the step writes.
fn filled<'a>(step: Step, error: &Error, layout: &'a Layout) -> &'a Path {
    // What is unpacked fills where it is unpacked to, not where its archive is.
    if matches!(error, Error::Image { .. }) {
        return &layout.basefs;
    }
    let text = error.to_string();
    let last = |folder: &&PathBuf| text.rfind(&format!("{}/", folder.display()));
    let folders = [&layout.vms, &layout.homefs, &layout.overlayfs, &layout.rootfs, &layout.basefs];
    let named = folders.iter().filter_map(|folder| Some((last(folder)?, *folder)));
    match (named.max_by_key(|(at, _)| *at), step) {
        (Some((_, folder)), _) => folder,
        (None, Step::MountHome) => &layout.homefs,
        (None, Step::Unpack | Step::DiscardBase) => &layout.basefs,
        (
            None,
            Step::Snapshot | Step::DiscardOverlay | Step::DiscardOthers | Step::DiscardLasting,
        ) => &layout.overlayfs,
        (None, _) => &layout.vms,
    }
}

/// That a storage does not answer.
pub fn of_silence(path: &Path, now: Timestamp) -> Reason {
    Reason::new(Code::StorageSilent, now).with("path", path.display())
}

/// Why this host cannot tell what is there of a VM.
pub fn of_look(error: &Error, node: &Node, now: Timestamp) -> Reason {
    if error.is_storage() {
        return Reason::new(Code::StorageUnusable, now)
            .with("path", node.layout.overlayfs.display())
            .with("error", error)
            .with("host", &node.name);
    }
    Reason::new(Code::StepFailed, now)
        .with("step", "looking at what is there of the VM")
        .with("error", error)
        .with("host", &node.name)
}

/// Why an agent did not do as it was asked.
pub fn of_talk(error: &TalkError, host: &str, now: Timestamp) -> Reason {
    let code = match error {
        TalkError::Refused { code, .. } => Code::from_word(code).unwrap_or(Code::StepFailed),
        TalkError::Gone(_) | TalkError::Slow(_) | TalkError::Foreign(_) => Code::AgentSilent,
    };
    Reason::new(code, now).with("step", deed(Step::Prepare)).with("error", error).with("host", host)
}

/// That a VM's memory was used up, and processes of it were killed for it.
pub fn of_memory(killed: u64, osf: &Osf, now: Timestamp) -> Reason {
    Reason::new(Code::MemoryUsedUp, now)
        .with("times", killed)
        .with("limit", osf.memory)
        .with("more", osf.memory.saturating_mul(2))
        .with("osf", &osf.name)
}

/// That a VM has written as many bytes as it may.
pub fn of_disk(most: u64, now: Timestamp) -> Reason {
    let mib = most >> 20;
    Reason::new(Code::DiskUsedUp, now).with("limit", mib).with("more", mib.saturating_mul(2))
}

/// Why a run ended by itself.
pub fn of_end(end: &End, crashes: i64, log: &Path, host: &str, now: Timestamp) -> Reason {
    let (code, error) = match end {
        End::ShutDown => return Reason::new(Code::ShutDown, now),
        End::NeverStarted(error) => (Code::StartFailed, error.as_str()),
        End::NotBegun => (Code::StartFailed, "LXC was never called"),
        End::Died(error) if crashes > Ended::RETRIES_MAX => (Code::CrashedTooOften, error.as_str()),
        End::Died(error) => (Code::Crashed, error.as_str()),
    };
    Reason::new(code, now)
        .with("error", error)
        .with("times", crashes)
        .with("log", log.display())
        .with("host", host)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_folder_that_is_full_is_the_one_named() {
        let mut settings = model::settings::Settings::default();
        let paths = [("path.run", "/run/qvd"), ("path.storage.root", "/srv/qvd")];
        settings.layer(paths.map(|(key, path)| (key.to_owned(), path.to_owned())));
        let layout = Layout::from_settings(&settings).unwrap();
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let system = |doing: &str| Error::System { doing: doing.to_owned(), source: full() };
        let image = Error::Image { path: "/srv/qvd/images/1-a.tar".to_owned(), source: full() };
        for (step, error, folder) in [
            (Step::Unpack, image, "/srv/qvd/basefs"),
            (Step::Record, system("write /run/qvd/vms/7/record.new"), "/run/qvd/vms"),
            (Step::MountHome, system("make /run/qvd/vms/7/home"), "/run/qvd/vms"),
            (Step::MountHome, system("make /srv/qvd/homefs/7-fs"), "/srv/qvd/homefs"),
            (
                Step::Snapshot,
                system("snapshot /srv/qvd/basefs/a as /srv/qvd/overlayfs/b"),
                "/srv/qvd/overlayfs",
            ),
            (Step::Snapshot, system("mark it"), "/srv/qvd/overlayfs"),
            (Step::Start, system("start it"), "/run/qvd/vms"),
        ] {
            assert_eq!(filled(step, &error, &layout), Path::new(folder), "{step:?} {error}");
        }
    }
}
