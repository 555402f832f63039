//! An image that is up and down in no time, for tests of many starts and stops.

use std::fs;

use crate::{World, program::shell, world::image_file};

/// What it takes from the image of the tests: a shell, and what that needs.
const TAKEN: &str = "./bin ./sbin ./lib ./lib64 ./etc ./usr/lib/os-release \
    ./usr/lib64/ld-linux-x86-64.so.2 ./usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 \
    ./usr/lib/x86_64-linux-gnu/libc.so.6 ./usr/bin/sh ./usr/bin/dash ./usr/bin/sleep";

/// Its init: it does nothing, and ends when it is told to.
const INIT: &str = "#!/bin/sh\n\
    trap 'exit 0' PWR INT TERM\n\
    while :; do sleep 1000 & wait $!; done\n";

impl World {
    /// Adds the OSF `quick` with this image.
    pub fn add_quick_osf(&self) {
        let at = self.folder().join("quick");
        let root = at.display();
        shell(&format!(
            "mkdir {root} && zstd -dcq {} | tar -xp -C {root} {TAKEN} && cd {root} && \
             mkdir -p dev home proc root run sys tmp usr/sbin var/lib var/log && chmod 1777 tmp",
            image_file("test").display()
        ));
        fs::write(at.join("usr/sbin/init"), INIT).expect("an init");
        shell(&format!("chmod 755 {root}/usr/sbin/init && tar -cf {root}.tar -C {root} ."));
        self.qa("osf add name=quick");
        self.qa(&format!("di add path={root}.tar osf=quick"));
        shell(&format!("rm -r {root} {root}.tar"));
    }

    /// Adds a VM of the OSF `quick`.
    pub fn add_quick_vm(&self, name: &str, user: &str) {
        self.qa(&format!("vm add name={name} user={user} osf=quick"));
    }
}
