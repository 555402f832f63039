//! Images that are up and down in no time, for tests of many starts and stops.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{Database, World, program::shell, tree, world::image_file};

/// What it takes from the image of the tests: a shell, and what that needs.
const TAKEN: &str = "./bin ./sbin ./lib ./lib64 ./etc ./usr/lib/os-release \
    ./usr/lib64/ld-linux-x86-64.so.2 ./usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 \
    ./usr/lib/x86_64-linux-gnu/libc.so.6 ./usr/bin/sh ./usr/bin/dash ./usr/bin/sleep";

/// Its init: it does nothing, and ends when it is told to.
const INIT: &str = "#!/bin/sh\n\
    trap 'exit 0' PWR INT TERM\n\
    while :; do sleep 1000 & wait $!; done\n";

impl World {
    /// Makes an installation whose VMs, of the OSF `quick`, are up in no time, and with the user `ada`.
    pub fn quick(database: Database) -> Self {
        let world = Self::start(database);
        world.add_user("ada");
        world.add_quick_osf();
        world
    }

    /// Adds the OSF `quick` with this image.
    pub fn add_quick_osf(&self) {
        let at = self.folder().join("quick");
        let root = at.display();
        shell(&format!(
            "mkdir {root} && zstd -dcq <{} | tar -xp -C {root} {TAKEN} && cd {root} && \
             mkdir -p dev home proc root run sys tmp usr/sbin var/lib var/log && chmod 1777 tmp",
            image_file("test").display()
        ));
        init(&at.join("usr/sbin/init"));
        self.add_osf("quick", &at);
    }

    /// Adds the OSF `small`: busybox and nothing else, for machines on which even the image of the tests
    /// is big.
    pub fn add_small_osf(&self) {
        let at = self.folder().join("small");
        small_tree(&at);
        self.add_osf("small", &at);
    }

    /// Adds an OSF whose image is a tree, which goes.
    fn add_osf(&self, name: &str, tree: &Path) {
        let root = tree.display();
        shell(&format!("tar -cf {root}.tar -C {root} ."));
        self.qa(&format!("osf add name={name}"));
        self.qa(&format!("di add path={root}.tar osf={name}"));
        shell(&format!("rm -r {root} {root}.tar"));
    }

    /// Adds a VM of the OSF `quick`.
    pub fn add_quick_vm(&self, name: &str, user: &str) {
        self.qa(&format!("vm add name={name} user={user} osf=quick"));
    }
}

/// A tree of busybox and nothing else, with an init.
pub fn small_tree(at: &Path) {
    tree::small(at, false);
    init(&at.join("sbin/init"));
}

fn init(at: &Path) {
    fs::write(at, INIT).expect("an init");
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).expect("it is ours");
}
