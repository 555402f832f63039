//! Why something is not as wanted: data, stored where it arises and put into words where it is read.

use std::collections::BTreeMap;

use crate::id::Timestamp;

/// A reason: a code, what it speaks of, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What kind of thing happened.
    pub code: Code,
    /// The names and numbers of this case, for the text: `path`, `limit`, `error`…
    pub args: BTreeMap<String, String>,
    /// When it was first so.
    pub since: Timestamp,
}

impl Reason {
    /// A reason without arguments.
    pub fn new(code: Code, since: Timestamp) -> Self {
        Self { code, args: BTreeMap::new(), since }
    }

    /// The same reason with one more argument.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.args.insert(name.to_owned(), value.to_string());
        self
    }

    /// The same reason of an end, with why what the run left cannot be cleared away; `None`: it can.
    #[must_use]
    pub fn with_left(mut self, why: Option<String>) -> Self {
        match why {
            Some(why) => self.args.insert(LEFT.to_owned(), why),
            None => self.args.remove(LEFT),
        };
        self
    }

    /// Why what a run left cannot be cleared away.
    pub fn left(&self) -> Option<&str> {
        self.args.get(LEFT).map(String::as_str)
    }

    /// What happened, in a sentence without its full stop.
    pub fn text(&self) -> String {
        let text = self.fill(self.code.words().1);
        match self.left() {
            Some(why) => format!("{text}; what it left cannot be cleared away: {why}"),
            None => text,
        }
    }

    /// What a person can do about it; empty when nothing needs doing.
    pub fn remedy(&self) -> String {
        self.fill(self.code.words().2)
    }

    fn fill(&self, template: &str) -> String {
        let mut text = template.to_owned();
        for (name, value) in &self.args {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }
}

/// The argument that says why what a run left cannot be cleared away.
const LEFT: &str = "left";

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $code:literal, $text:literal, $remedy:literal;)+) => {
        /// The kinds of reason. The code is stable: scripts may match it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// (code, sentence, remedy); `{name}` stands for an argument.
            fn words(self) -> (&'static str, &'static str, &'static str) {
                match self {
                    $(Self::$variant => ($code, $text, $remedy),)+
                }
            }
        }
    };
}

codes! {
    /// The image's file is not where it should be.
    ImageMissing, "image-missing", "the image file {path} is not there",
        "put the file back, or register the image again with `qa di add`";
    /// The image's file is not what was registered.
    ImageChanged, "image-changed", "the image file {path} is not the one that was registered (sha-256 {found}, not {wanted})",
        "put the right file back, or register this one as a new version with `qa di add`";
    /// The image could not be unpacked.
    UnpackFailed, "unpack-failed", "image {di} could not be unpacked: {error}",
        "check the archive and the free space of {path}";
    /// The image has nothing to start.
    NoInit, "no-init", "image {di} has no init at /sbin/init",
        "register an image that has an init system";
    /// A step on the machine failed.
    StepFailed, "step-failed", "{step} failed: {error}", "see the log of hkd on host {host}";
    /// A program that hkd needs is not installed.
    ToolMissing, "tool-missing", "{step} failed: `{program}` is not installed on host {host}",
        "install it there: `qvd doctor` on host {host} says how";
    /// A name on the machine is another's.
    NameInUse, "name-in-use", "{step} failed: {what} of host {host} is in use by others: {error}",
        "give ours another name with vm.network.bridge in /etc/qvd/node.conf of host {host}, or remove that of the others";
    /// The storage folder cannot be used.
    StorageUnusable, "storage-unusable", "the storage {path} cannot be used: {error}",
        "run `qvd doctor` on host {host}";
    /// The volume has no room left.
    StorageFull, "storage-full", "there is no space left at {path}",
        "delete what is not needed there, such as unused images, or make it larger";
    /// The storage does not answer.
    StorageSilent, "storage-silent", "the storage {path} does not answer",
        "it goes on by itself when {path} answers: look at its server and the way there";
    /// Nothing is mounted where the storage should be.
    StorageMissing, "storage-missing", "{path} is not the storage it was: its file {marker} is not there",
        "mount the storage on host {host}; if this is the storage, and meant to be empty: `echo {installation} >{path}/{marker}`";
    /// The storage belongs to another installation.
    ForeignStorage, "foreign-storage", "the storage {path} belongs to another installation ({found}, not {wanted})",
        "connect this host to its own database, or give it storage of its own";
    /// The images' storage is not mounted.
    ImagesAway, "images-away", "{path} holds none of the registered images: it is not mounted",
        "mount the storage of the images on host {host}; it goes on by itself then";
    /// The homes' file system cannot be shown to a container.
    HomeUnmappable, "home-unmappable", "{step} failed: {error}",
        "put path.storage.homefs of host {host} on btrfs, ext4 or XFS";
    /// The container ended by itself before it was ready.
    StartFailed, "start-failed", "the container did not start: {error}", "see {log} on host {host}";
    /// Shut down from inside.
    ShutDown, "shut-down", "it was shut down from inside", "";
    /// Died by itself.
    Crashed, "crashed", "its init died: {error}", "see {log} on host {host}";
    /// Died too often.
    CrashedTooOften, "crashed-too-often", "its init died {times} times within ten minutes: {error}",
        "see {log} on host {host}, then `qa vm start`";
    /// The agent does not answer.
    AgentSilent, "agent-silent", "the agent in the VM does not answer: {error}", "`qa vm stop` and start it again";
    /// The user's name or number is taken in the image.
    UserClash, "user-clash", "the image has a user of its own in the way: {error}",
        "remove that user from the image, or give the person another name or number";
    /// The image lacks what a session needs.
    SessionImpossible, "session-impossible", "the image cannot open a desktop: {error}",
        "install the missing package in the image and register it again";
    /// The session did not start.
    SessionFailed, "session-failed", "the desktop session ended: {error}", "connect again";
    /// No image has the tag.
    NoImage, "no-image", "no image of OSF {osf} has the tag {tag}", "tag one with `qa di tag`";
    /// The VM is blocked.
    Blocked, "blocked", "the virtual machine is offline for maintenance", "ask your administrator";
    /// No host can run it.
    NoHost, "no-host", "no host can run it: each one is silent or blocked",
        "see `qa host list`: start qvd on one, or open one with `qa host unblock`";
    /// The host has gone silent.
    HostLost, "host-lost", "host {host} has been silent since {since}", "repair the host and start qvd there";
    /// Its time is up.
    Expired, "expired", "its image expired", "connect again for the new image";
    /// The kernel killed programs in it for want of memory.
    MemoryUsedUp, "memory-used-up", "its memory of {limit} MiB was used up: the kernel ended programs in it ({times} so far)",
        "give it more from its next start on: `qa osf edit -f name={osf} memory={more}`";
    /// It has written as much as it may.
    DiskUsedUp, "disk-used-up", "it has written as much as it may: {limit} MiB beside its home",
        "delete what is not needed in it, or give it more from its next start on: `qa config set vm.overlay.size.max={more}`";
    /// Another host writes its home.
    HomeBusy, "home-busy", "the home {home} is in use on another host",
        "stop the virtual machine there; see `qa host list`";
    /// All container ids of the host are used.
    NoSlot, "no-slot", "host {host} runs as many VMs as it has id ranges for", "stop some VMs";
}

impl Code {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        self.words().0
    }

    /// The code with this word, if there is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_found_again() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::from_word(code.as_str()), Some(*code));
            assert!(!Code::ALL[..at].iter().any(|other| other.as_str() == code.as_str()));
        }
    }

    #[test]
    fn arguments_fill_the_sentence_and_the_remedy() {
        let reason = Reason::new(Code::UnpackFailed, Timestamp(0))
            .with("di", 7)
            .with("error", "unexpected end of file")
            .with("path", "/srv/basefs");
        assert_eq!(reason.text(), "image 7 could not be unpacked: unexpected end of file");
        assert_eq!(reason.remedy(), "check the archive and the free space of /srv/basefs");
        let left = reason.clone().with_left(Some("it is busy".to_owned()));
        let said = format!("{}; what it left cannot be cleared away: it is busy", reason.text());
        assert_eq!((left.text(), left.with_left(None)), (said, reason));
    }
}
