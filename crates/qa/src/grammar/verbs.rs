//! Every verb, declared once: parsing, checks and help come from [`ALL`].

/// What may follow a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// `key=value` of the keys declared, nothing else.
    Params(&'static [Param]),
    /// `key=value` with any keys.
    Pairs,
    /// Bare keys.
    Keys,
    /// Nothing.
    None,
}

/// A `key=value` that a verb takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    pub(crate) key: &'static str,
    pub(crate) need: Need,
    pub(crate) about: &'static str,
}

/// Whether a `key=value` must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Yes.
    Must,
    /// No.
    May,
    /// Either this one or another of this key.
    Either(&'static str),
}

const fn must(key: &'static str, about: &'static str) -> Param {
    Param { key, need: Need::Must, about }
}

const fn may(key: &'static str, about: &'static str) -> Param {
    Param { key, need: Need::May, about }
}

const fn either(key: &'static str, other: &'static str, about: &'static str) -> Param {
    Param { key, need: Need::Either(other), about }
}

/// An option that only some verbs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    /// `-f`: which ones.
    Filter(&'static [&'static str]),
    /// `--force`: without asking.
    Force,
    /// `--wait`: until it is so.
    Wait,
    /// Where a password comes from.
    Password,
}

/// A verb of an object.
#[derive(Debug)]
pub(crate) struct Verb {
    pub(crate) object: &'static str,
    pub(crate) name: &'static str,
    /// One line.
    pub(crate) about: &'static str,
    pub(crate) words: Words,
    pub(crate) extras: &'static [Extra],
    /// What else there is to know, with an example.
    pub(crate) more: &'static str,
}

/// The objects, and what they are.
pub(crate) const OBJECTS: &[(&str, &str)] = &[
    ("config", "Settings of the installation, and the router's certificate"),
    ("host", "Nodes that run virtual machines"),
    ("user", "People who have desktops"),
    ("osf", "Operating system flavours: lines of disk images"),
    ("di", "Disk images: the versions of an OSF, and their tags"),
    ("vm", "Virtual machines: a user's desktop of an OSF"),
];

const HOSTS: Extra = Extra::Filter(&["id", "name", "address", "state", "blocked"]);
const USERS: Extra = Extra::Filter(&["id", "login", "uid", "blocked"]);
const OSFS: Extra =
    Extra::Filter(&["id", "name", "memory", "user_storage_size", "nesting", "init"]);
const DIS: Extra = Extra::Filter(&["id", "osf", "osf_id", "version", "path", "tag"]);
const VMS: Extra = Extra::Filter(&[
    "id",
    "name",
    "user",
    "user_id",
    "osf",
    "osf_id",
    "memory",
    "use_overlay",
    "user_storage_size",
    "ip",
    "di_tag",
    "di",
    "host",
    "host_id",
    "state",
    "user_state",
    "blocked",
]);

/// Every verb, sorted by object as in [`OBJECTS`].
pub(crate) const ALL: &[Verb] = &[
    Verb {
        object: "config",
        name: "get",
        about: "Shows settings",
        words: Words::Keys,
        extras: &[],
        more: "Prints key=value, sorted by key, with every ${key} replaced. Without keys: all there are. \
               With -o json also where each value comes from and what it does.\n\n\
               Example: qa config get vm.overlay.persistent",
    },
    Verb {
        object: "config",
        name: "set",
        about: "Sets settings for the whole installation",
        words: Words::Pairs,
        extras: &[],
        more: "Either all of them are set or none. A wrong key or value is refused; what only the file \
               node.conf may set is refused too. Certificates are given with `qa config ssl`.\n\n\
               Example: qa config set vm.overlay.persistent=1 vm.start.timeout = 120",
    },
    Verb {
        object: "config",
        name: "del",
        about: "Takes settings back to the file's value or the default",
        words: Words::Keys,
        extras: &[Extra::Force],
        more: "Without keys: all that were set, after asking.\n\n\
               Example: qa config del vm.start.timeout",
    },
    Verb {
        object: "config",
        name: "ssl",
        about: "Gives the router its certificate",
        words: Words::Params(&[
            must("key", "file with the private key, in PEM"),
            must("cert", "file with the certificate and those above it, in PEM"),
        ]),
        extras: &[],
        more: "Key and certificate must belong together. The router takes them within seconds; open \
               connections go on with the old ones.\n\n\
               Example: qa config ssl key=server.key cert=server.pem",
    },
    Verb {
        object: "host",
        name: "add",
        about: "Registers a host",
        words: Words::Params(&[
            must("name", "the node's name: its setting nodename, or what `uname -n` says"),
            must("address", "the address others reach it at"),
        ]),
        extras: &[],
        more: "A host that runs `qvd` on the installation's database adds itself.\n\n\
               Example: qa host add name=node2 address=192.0.2.12",
    },
    Verb {
        object: "host",
        name: "list",
        about: "Lists hosts, and what is wrong with them",
        words: Words::None,
        extras: &[HOSTS],
        more: "HKD is the time since the host was last heard of; RAM is in MiB.\n\n\
               Example: qa host list -f state=running",
    },
    Verb {
        object: "host",
        name: "block",
        about: "Keeps users and new virtual machines away from hosts",
        words: Words::None,
        extras: &[HOSTS, Extra::Force],
        more: "The router of a blocked host sends users away, and no virtual machine is started there. \
               What runs there goes on, and so do open connections.\n\n\
               Example: qa host block -f name=node2",
    },
    Verb {
        object: "host",
        name: "unblock",
        about: "Opens blocked hosts again",
        words: Words::None,
        extras: &[HOSTS, Extra::Force],
        more: "Example: qa host unblock -f name=node2",
    },
    Verb {
        object: "user",
        name: "add",
        about: "Adds a user",
        words: Words::Params(&[
            must(
                "login",
                "lower-case letters, digits, `.`, `_` and `-`: also the user's name in the desktop",
            ),
            may("password", "refused: see below"),
        ]),
        extras: &[Extra::Password],
        more: "Asks for the password twice, unless an option says where it comes from. It is never taken \
               from the command line, which every user of this machine can read.\n\n\
               Example: qa user add login=ada --random-password",
    },
    Verb {
        object: "user",
        name: "list",
        about: "Lists users",
        words: Words::None,
        extras: &[USERS],
        more: "Example: qa user list -f 'login=a*'",
    },
    Verb {
        object: "user",
        name: "passwd",
        about: "Sets a user's password",
        words: Words::Params(&[
            must("user", "the user's login"),
            may("password", "refused: see `qa user add --help`"),
        ]),
        extras: &[Extra::Password],
        more: "Open sessions go on.\n\nExample: qa user passwd user=ada",
    },
    Verb {
        object: "user",
        name: "block",
        about: "Keeps users from logging in",
        words: Words::None,
        extras: &[USERS, Extra::Force],
        more: "Their virtual machines run on, and so do open connections: end them with `qa vm stop -f \
               user=ada`.\n\nExample: qa user block -f login=ada",
    },
    Verb {
        object: "user",
        name: "unblock",
        about: "Lets blocked users log in again",
        words: Words::None,
        extras: &[USERS, Extra::Force],
        more: "Example: qa user unblock -f login=ada",
    },
    Verb {
        object: "user",
        name: "del",
        about: "Deletes users that have no virtual machines",
        words: Words::None,
        extras: &[USERS, Extra::Force],
        more: "Their homes stay on disk.\n\nExample: qa user del -f login=ada",
    },
    Verb {
        object: "osf",
        name: "add",
        about: "Adds an operating system flavour",
        words: Words::Params(&[
            must("name", "its name"),
            may("memory", "memory of each virtual machine in MiB (setting osf.default.memory)"),
            may(
                "user_storage_size",
                "the user's storage: MiB, or a number with k, m, g or t; 0: no home (no limit)",
            ),
            may(
                "nesting",
                "whether programs inside may make user name spaces, as browsers do for their \
                 sandboxes: 1 or 0 (1)",
            ),
            may(
                "init",
                "image: the image's own init runs; own: a tiny one of ours, for images that need \
                 no services; auto: the image's where it has one (auto)",
            ),
        ]),
        extras: &[],
        more: "Example: qa osf add name=desktop memory=2048",
    },
    Verb {
        object: "osf",
        name: "list",
        about: "Lists operating system flavours",
        words: Words::None,
        extras: &[OSFS],
        more: "RAM and UserHD are in MiB.\n\nExample: qa osf list",
    },
    Verb {
        object: "osf",
        name: "edit",
        about: "Changes operating system flavours",
        words: Words::Params(&[
            may("name", "another name"),
            may("memory", "in MiB, from the next start of each virtual machine"),
            may("user_storage_size", "MiB, or a number with k, m, g or t; empty: no limit"),
            may("nesting", "1 or 0, from the next start of each virtual machine"),
            may("init", "auto, image or own, from the next start of each virtual machine"),
        ]),
        extras: &[OSFS, Extra::Force],
        more: "Example: qa osf edit -f name=desktop memory=4096",
    },
    Verb {
        object: "osf",
        name: "del",
        about: "Deletes operating system flavours that have no images and no virtual machines",
        words: Words::None,
        extras: &[OSFS, Extra::Force],
        more: "Example: qa osf del -f name=desktop",
    },
    Verb {
        object: "di",
        name: "add",
        about: "Registers a disk image",
        words: Words::Params(&[
            must(
                "path",
                "the archive of a root file system: .tar, also with .gz, .bz2, .xz or .zst",
            ),
            either("osf", "osf_id", "name of the OSF it is a version of"),
            either("osf_id", "osf", "or its id"),
            may("version", "its version (YYYY-MM-DD-NNN of today)"),
        ]),
        extras: &[],
        more: "The file is opened here, sent, looked through and kept under `images/`. What cannot start is \
               refused; what is missing for a way into the desktop is told. The new image gets the tags \
               `head` and its version, and `default` if the OSF has none yet.\n\n\
               Example: qa di add path=debian12-xfce.tar.zst osf=desktop",
    },
    Verb {
        object: "di",
        name: "list",
        about: "Lists disk images",
        words: Words::None,
        extras: &[DIS],
        more: "Example: qa di list -f osf=desktop,tag=default",
    },
    Verb {
        object: "di",
        name: "tag",
        about: "Lets a tag of the OSF point at this image",
        words: Words::Params(&[must("di_id", "the image"), must("tag", "the tag")]),
        extras: &[],
        more: "Virtual machines that follow the tag take the image at their next start. A version cannot be \
               moved.\n\nExample: qa di tag di_id=2 tag=default",
    },
    Verb {
        object: "di",
        name: "untag",
        about: "Takes a tag from an image",
        words: Words::Params(&[must("di_id", "the image"), must("tag", "the tag")]),
        extras: &[],
        more: "Virtual machines that follow it cannot start until another image has it.\n\n\
               Example: qa di untag di_id=2 tag=test",
    },
    Verb {
        object: "di",
        name: "del",
        about: "Deletes disk images that no virtual machine runs, with their files",
        words: Words::None,
        extras: &[DIS, Extra::Force],
        more: "The tags head and default go to the newest image left.\n\nExample: qa di del -f id=1",
    },
    Verb {
        object: "vm",
        name: "add",
        about: "Adds a virtual machine",
        words: Words::Params(&[
            must("name", "its name"),
            either("user", "user_id", "login of its user"),
            either("user_id", "user", "or the user's id"),
            either("osf", "osf_id", "name of its OSF"),
            either("osf_id", "osf", "or the OSF's id"),
            may("ip", "its address (a free one)"),
            may("di_tag", "the tag it follows (default)"),
        ]),
        extras: &[],
        more: "Example: qa vm add name=ada-desk user=ada osf=desktop",
    },
    Verb {
        object: "vm",
        name: "list",
        about: "Lists virtual machines",
        words: Words::None,
        extras: &[VMS],
        more: "DI is the version its tag leads to now, Running DI the one it was started from.\n\n\
               Example: qa vm list -f 'state=running,user=a*'",
    },
    Verb {
        object: "vm",
        name: "start",
        about: "Starts virtual machines",
        words: Words::None,
        extras: &[VMS, Extra::Force, Extra::Wait],
        more: "What runs or is on its way is left as it is. With --wait it ends when all of them run, or \
               with exit code 1 and the reason when one does not come up.\n\n\
               Example: qa vm start -f name=ada-desk --wait",
    },
    Verb {
        object: "vm",
        name: "stop",
        about: "Shuts virtual machines down, with their sessions",
        words: Words::None,
        extras: &[VMS, Extra::Force, Extra::Wait],
        more: "Example: qa vm stop -f user=ada --wait",
    },
    Verb {
        object: "vm",
        name: "edit",
        about: "Changes virtual machines",
        words: Words::Params(&[
            may("name", "another name"),
            may("di_tag", "another tag to follow, from the next start"),
            may("ip", "another address, while it is stopped"),
            may("blocked", "1: nobody can connect (a running session goes on); 0: they can"),
        ]),
        extras: &[VMS, Extra::Force],
        more: "Example: qa vm edit -f name=ada-desk di_tag=head",
    },
    Verb {
        object: "vm",
        name: "del",
        about: "Deletes virtual machines that are stopped",
        words: Words::None,
        extras: &[VMS, Extra::Force],
        more: "Their homes stay on disk, and it is told where.\n\nExample: qa vm del -f name=ada-desk",
    },
    Verb {
        object: "vm",
        name: "why",
        about: "Tells why virtual machines are in the state they are in, and what to do",
        words: Words::None,
        extras: &[VMS],
        more: "Example: qa vm why -f name=ada-desk",
    },
];

/// Parameters of verbs that QVD has always had and that this version has not.
pub(crate) const LATER_PARAMS: &[(&str, &str, &[&str])] = &[
    ("config", "ssl", &["ca", "crl"]),
    ("osf", "add", &["use_overlay", "is_application"]),
    ("di", "add", &["expire-soft", "expire-hard"]),
    ("di", "tag", &["expire-soft", "expire-hard"]),
    ("di", "untag", &["expire-soft", "expire-hard"]),
    ("vm", "add", &["bulk"]),
    ("vm", "edit", &["expire-soft", "expire-hard"]),
];

/// Verbs that QVD has always had, or will have, and that this version has not.
pub(crate) const LATER: &[(&str, &[&str])] = &[
    ("host", &["del", "lost", "counters", "propget", "propset", "propdel"]),
    ("user", &["propget", "propset", "propdel"]),
    ("osf", &["propget", "propset", "propdel"]),
    ("di", &["propget", "propset", "propdel"]),
    (
        "vm",
        &[
            "block",
            "unblock",
            "disconnect_user",
            "console",
            "ssh",
            "vnc",
            "counters",
            "propget",
            "propset",
            "propdel",
        ],
    ),
];
