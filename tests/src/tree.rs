//! Trees that images are made of.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::program::{shell, try_shell};

/// A tree like Alpine's, of busybox and its links: with its init, or with none.
pub fn small(tree: &Path, init: bool) {
    for folder in
        ["bin", "sbin", "etc", "dev", "proc", "sys", "run", "tmp", "root", "home", "usr/bin"]
    {
        fs::create_dir_all(tree.join(folder)).expect("a folder");
    }
    let busybox = try_shell("command -v busybox").expect("busybox is installed");
    fs::copy(busybox, tree.join("bin/busybox")).expect("busybox");
    let mut links = vec![
        "bin/sh",
        "bin/su",
        "bin/id",
        "bin/cat",
        "bin/tr",
        "bin/kill",
        "bin/sed",
        "bin/cut",
        "bin/sleep",
        "bin/head",
        "bin/tail",
    ];
    if init {
        links.push("sbin/init");
    }
    for link in links {
        symlink("/bin/busybox", tree.join(link)).expect("a link");
    }
    for (file, text) in [
        ("os-release", "PRETTY_NAME=\"Alpine-like\"\n"),
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\n"),
        ("shadow", "root:*::0:::::\n"),
        ("inittab", "::sysinit:/bin/true\n::shutdown:/bin/true\n"),
    ] {
        fs::write(tree.join("etc").join(file), text).expect("a file");
    }
}

/// Adds to a tree all that an archive could lose: attributes, capabilities, ACLs, owners, modes, times,
/// links of both kinds, holes, names of every sort.
pub fn add_rarities(tree: &Path) {
    shell(&format!(
        "cd {} && mkdir -p var/deep && cp bin/busybox bin/ping && setcap cap_net_raw+ep bin/ping && \
         setfattr -n user.qvd -v kept bin/busybox && setfacl -m u:1234:r etc/group && \
         setfacl -d -m g:77:rwx var/deep && ln etc/group etc/group-link && \
         truncate -s 64M var/sparse && echo end >>var/sparse && \
         cp bin/busybox bin/mount && chmod 6755 bin/mount && mkfifo var/pipe && \
         echo x >'var/with space' && echo x >\"var/$(printf 'line\\nbreak')\" && echo x >var/ñandú && \
         deep=var/$(printf 'folder-%04d/' 1 2 3 4 5 6 7 8 9 10 11 12) && mkdir -p \"$deep\" && \
         echo deep >\"$deep/$(printf 'n%.0s' $(seq 200))\" && ln -s nowhere var/dangling && \
         touch -d '1999-12-31 23:59:59.123456789 UTC' var/old && chown 1234:77 var/old && \
         chmod 1777 var/deep",
        tree.display()
    ));
}
