//! The volume that all desktops of a node share: its disk, its bases, the overlays of others.

use std::{fs, os::unix::fs::MetadataExt as _};

use rustix::fs::{major, minor};
use tests::{World, attempt::Who, program::shell};

use crate::two_desktops;

/// From inside a desktop nobody mounts the base read-write: neither from the real disk of the volume, by
/// whichever option and call, nor by what is mounted already. Nobody gets out of the root, and no
/// descriptor leads out.
#[test]
fn the_base_is_not_mounted_from_the_real_disk() {
    let world = two_desktops();
    world.inside("den", "echo hidden >/var/secret");
    let disk = shell(&format!("findmnt -no SOURCE {}", world.storage().display()));
    let number = fs::metadata(&disk).expect("the volume's disk").rdev();
    let (major, minor) = (major(number), minor(number));
    // The node is there already, as if the image had brought it.
    shell(&format!("mknod -m 666 {}/var/disk b {major} {minor}", world.overlay("desk").display()));
    let den = world.overlay("den");
    let den = den.strip_prefix(world.storage()).expect("it is on the volume").display();
    let secret = format!("open('/mnt/{den}/var/secret').read()");
    let mounts = ["", "subvolid=5", "subvol=/", "subvol=basefs", "ro", "rescue=all,ro"]
        .map(|options| format!("mount('/var/disk', '/mnt', 'btrfs', 0, '{options}')"));
    let newer = "new = call(430, 'btrfs', 0)\n\
                 call(431, new, 1, 'source', '/var/disk', 0)\n\
                 call(431, new, 6, None, None, 0)";
    let again = "old = call(433, -100, '/', 0)\ncall(431, old, 7, None, None, 0)";
    let escape = format!(
        "here = os.open('/', os.O_RDONLY)\n\
         os.makedirs('/tmp/jail', exist_ok=True)\n\
         os.chroot('/tmp/jail')\n\
         os.fchdir(here)\n\
         os.chdir('../' * 40)\n\
         os.chroot('.')\n\
         os.listdir('{}')",
        world.storage().display()
    );
    // With the rights of the host all of this works.
    for lines in
        [format!("{}\n{secret}", mounts[1]), newer.to_owned(), again.to_owned(), escape.clone()]
    {
        assert_eq!(world.attempt_with_all_rights("desk", &lines), "done", "{lines}");
    }
    let leading = world.attempt_with_all_rights("desk", LEADS_OUT);
    assert!(leading.contains("/root\n"), "{leading}");
    for who in Who::AND_NESTED {
        let mut attempts: Vec<(String, &str)> = mounts.clone().map(|lines| (lines, "EPERM")).into();
        attempts.extend([
            (format!("mknod('/tmp/disk', 0o060666, {major}, {minor})"), "EPERM EACCES"),
            ("os.open('/var/disk', os.O_RDONLY)".to_owned(), "EACCES EPERM"),
            ("os.open('/var/disk', os.O_RDWR)".to_owned(), "EACCES EPERM"),
            (newer.to_owned(), "EPERM"),
            (again.to_owned(), "EPERM"),
            ("mount('none', '/', None, 32)".to_owned(), "EPERM"),
            ("mount('none', '/', None, 32, 'subvolid=5')".to_owned(), "EPERM"),
            ("call(166, '/', 2)".to_owned(), "EINVAL EPERM"),
            (escape.clone(), "EPERM ENOENT"),
        ]);
        let attempts: Vec<(&str, &str)> =
            attempts.iter().map(|(lines, errors)| (lines.as_str(), *errors)).collect();
        world.refused("desk", who, &attempts);
        assert_eq!(world.attempt("desk", who, LEADS_OUT), "done", "{who:?}");
    }
    world.end();
}

/// Prints each descriptor of a folder, working folder and root, of whatever process, from which one
/// climbs to something else than the own root.
const LEADS_OUT: &str = r"
import stat
def top(folder):
    while True:
        above = os.open('..', os.O_PATH, dir_fd=folder)
        same = os.path.samestat(os.fstat(folder), os.fstat(above))
        os.close(folder)
        if same: return os.fstat(above)
        folder = above
own, looked = os.stat('/'), 0
for pid in filter(str.isdigit, os.listdir('/proc')):
    names = ['cwd', 'root']
    try: names += ['fd/' + name for name in os.listdir(f'/proc/{pid}/fd')]
    except OSError: pass
    for name in names:
        path = f'/proc/{pid}/{name}'
        try:
            found = os.open(path, os.O_PATH)
            looked += 1
            mode = os.fstat(found).st_mode
            if stat.S_ISBLK(mode): print(path)
            if not stat.S_ISDIR(mode): os.close(found)
            elif not os.path.samestat(top(found), own): print(path)
        # Processes end while they are looked at, and some are not to be looked at.
        except OSError: pass
assert looked > 2
";

/// From inside a desktop nobody reads another VM's overlay through the shared volume, nor deletes it,
/// whatever is asked of the file system and whatever is known of it: its number, its files' numbers, a
/// handle of the file. Nobody freezes, shrinks or turns the volume read-only.
#[test]
fn another_overlay_is_reached_by_no_request() {
    let world = two_desktops();
    world.inside("den", "echo hidden >/var/secret");
    let attacks = Attacks::on(&world, "den");
    // With the rights of the host each tells of the other, or harms it.
    let told = world.attempt_with_all_rights("desk", &format!("print({})", attacks.path_of_file));
    assert!(told.contains("var/"), "{told}");
    let told = world.attempt_with_all_rights("desk", &format!("print({})", attacks.all_names));
    assert!(told.contains(&attacks.name), "{told}");
    let told = world.attempt_with_all_rights("desk", &format!("print({})", attacks.by_handle));
    assert!(told.contains("hidden"), "{told}");
    let spare = world.storage().join("spare");
    shell(&format!("btrfs subvolume create {}", spare.display()));
    let deleted = delete_by_number(subvolume(&spare));
    assert_eq!(world.attempt_with_all_rights("desk", &deleted), "done");
    assert!(!spare.exists(), "it was deleted by its number");

    for who in Who::AND_NESTED {
        world.refused(
            "desk",
            who,
            &[
                (&attacks.path_of_file, "EPERM"),
                (&attacks.all_names, "EPERM"),
                (&attacks.all_names_newer, "EPERM"),
                (&attacks.by_handle, "EPERM"),
                (&attacks.by_handle_32, "EPERM"),
                (&attacks.delete, "EPERM ENOTSUP"),
                // Which path a block of the disk belongs to; what is sent.
                (
                    "ioctl('/', 0xc0389424, struct.pack('7Q', 1 << 20, 4096, 0, 0, 0, 0, 0))",
                    "EPERM",
                ),
                ("ioctl('/', 0x40489426, 72)", "EPERM"),
                // Freeze, thaw, trim, end; resize, add a disk, scrub, another default, quotas.
                ("ioctl('/', 0xc0045877, 4)", "EPERM"),
                ("ioctl('/', 0xc0045878, 4)", "EPERM"),
                ("ioctl('/', 0xc0185879, 24)", "EPERM"),
                ("ioctl('/', 0x8004587d, 4)", "EPERM ENOTTY"),
                ("ioctl('/', 0x50009403, struct.pack('q', 0) + b'1:-1g' + bytes(4083))", "EPERM"),
                (
                    "ioctl('/', 0x5000940a, struct.pack('q', 0) + b'/var/disk' + bytes(4079))",
                    "EPERM",
                ),
                ("ioctl('/', 0xc400941b, 1024)", "EPERM"),
                ("ioctl('/', 0x40089413, struct.pack('Q', 5))", "EPERM"),
                ("ioctl('/', 0xc0109428, struct.pack('QQ', 2, 0))", "EPERM"),
                ("ioctl('/', 0x4008941a, struct.pack('Q', 2))", "EPERM"),
            ],
        );
        // What may be asked tells of the own overlay alone.
        let own = world.attempt("desk", who, "print(ioctl('/', 0x81f8943c, 504))");
        assert!(own.contains("-overlayfs") && !own.contains(&attacks.name), "{own}");
        let below = world.attempt("desk", who, "print(any(ioctl('/', 0xd000943d)))");
        assert_eq!(below, "False\ndone", "{who:?} is told of subvolumes");
        let others = world.attempt("desk", who, &attacks.path_of_other);
        assert!(!others.contains(&attacks.name), "{who:?}: {others}");
    }
    assert_eq!(world.inside("den", "cat /var/secret"), "hidden");
    assert!(world.volume_is_writable());
    world.end();
}

/// Requests at the root of a desktop, knowing all of the file `/var/secret` of another.
struct Attacks {
    /// The name of the other's overlay.
    name: String,
    /// Asks for the path of the file by its number (`BTRFS_IOC_INO_LOOKUP`).
    path_of_file: String,
    /// The same as who has no rights (`BTRFS_IOC_INO_LOOKUP_USER`).
    path_of_other: String,
    /// Asks for all names of subvolumes (`BTRFS_IOC_TREE_SEARCH`).
    all_names: String,
    /// The same in its second version.
    all_names_newer: String,
    /// Opens the file by its handle.
    by_handle: String,
    /// The same as a program of 32 bits.
    by_handle_32: String,
    /// Deletes the overlay (`BTRFS_IOC_SNAP_DESTROY_V2`).
    delete: String,
}

impl Attacks {
    fn on(world: &World, vm: &str) -> Self {
        let overlay = world.overlay(vm);
        let name = overlay.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let number = subvolume(&overlay);
        let file = fs::metadata(overlay.join("var/secret")).expect("the file").ino();
        let folder = fs::metadata(&overlay).expect("the overlay").ino();
        // Its root's references (type 156) in the tree of roots (1).
        let key = "struct.pack('7Q4I4Q', 1, 5, 5, 0, 2**64 - 1, 0, 2**64 - 1, 156, 156, 64, 0, 0, 0, 0, 0)";
        let said = world.attempt_with_all_rights(vm, HANDLE);
        let handle = said.lines().next().unwrap_or_default();
        let handle = format!("bytes.fromhex('{handle}')");
        let root = "os.open('/', os.O_RDONLY)";
        Self {
            name,
            path_of_file: format!(
                "ioctl('/', 0xd0009412, struct.pack('QQ', {number}, {file}) + bytes(4080))"
            ),
            path_of_other: format!(
                "print(ioctl('/', 0xd000943e, struct.pack('QQ', {folder}, {number}) + bytes(4080)))"
            ),
            all_names: format!("ioctl('/', 0xd0009411, {key} + bytes(3992))"),
            all_names_newer: format!(
                "ioctl('/', 0xc0709411, {key} + struct.pack('Q', 3984) + bytes(3984))"
            ),
            by_handle: format!("os.read(call(304, {root}, {handle}, 0), 100)"),
            by_handle_32: format!("call32(342, {root}, {handle}, 0)"),
            delete: delete_by_number(number),
        }
    }
}

/// Prints a handle of `/var/secret`.
const HANDLE: &str = r"
handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0) + bytes(128))
call(303, -100, '/var/secret', handle, ctypes.byref(ctypes.c_int()), 0)
print(handle.raw[:8 + struct.unpack_from('I', handle)[0]].hex())
";

/// A subvolume's number.
fn subvolume(path: &std::path::Path) -> u64 {
    let said = shell(&format!("btrfs inspect-internal rootid {}", path.display()));
    said.parse().expect("a number")
}

fn delete_by_number(number: u64) -> String {
    format!("ioctl('/', 0x5000943f, struct.pack('qQQ32xQ', 0, 0, 16, {number}) + bytes(4032))")
}
