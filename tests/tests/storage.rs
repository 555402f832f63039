//! Snapshots of a base, many VMs at once, and nothing left over.

use tests::{Database, World, program::shell, tree};

/// What identifies a tree: every name, owner, mode, attribute and content.
fn digest(path: &str) -> String {
    shell(&format!(
        "tar -C {path} --sort=name --numeric-owner --acls --xattrs --xattrs-include='*' -cf - . | sha256sum"
    ))
}

/// `btrfs subvolume list` names `basefs/<di_id>-<file>` and `overlayfs/<di_id>-<vm_id>-overlayfs`; a
/// second VM of the image needs no unpacking; the base is read-only and unchanged (digest) after 10
/// VMs used it. 10 VMs started at once: all run, all stop, nothing is left over.
fn ten_vms_share_one_base_and_leave_nothing(database: Database) {
    let world = World::start(database);
    world.add_user("ada");
    for number in 0..10 {
        world.add_vm(&format!("desk{number}"), "ada");
    }
    world.qa("vm start -f name=desk0 --wait");
    let base = world
        .qa_json("di list")
        .pointer("/0/path")
        .and_then(|path| path.as_str())
        .expect("a base")
        .to_owned();
    let first = world.id("desk0");
    assert_eq!(
        world.subvolumes(),
        [format!("basefs/{base}"), format!("overlayfs/1-{first}-overlayfs")]
    );
    let place = format!("{}/basefs/{base}", world.storage().display());
    let before = digest(&place);
    let unpackings = || world.log().matches("unpacking an image").count();
    assert_eq!(unpackings(), 1);
    world.qa("vm stop -f name=desk0 --wait");

    world.qa("vm start -f name=desk* --wait");
    // What must not be left behind can be seen while it is there.
    for (kind, found) in world.things() {
        assert!(!found.is_empty(), "{kind} of running VMs");
    }
    for number in 0..10 {
        assert_eq!(world.state(&format!("desk{number}")), "running");
        // Each writes to its own root.
        let name = format!("desk{number}");
        world.inside(
            &name,
            "hostname > /usr/bin/written && dd if=/dev/urandom of=/big bs=1M count=8 2>/dev/null",
        );
        assert_eq!(world.inside(&name, "cat /usr/bin/written"), name);
    }
    assert_eq!(world.subvolumes().len(), 11);
    assert_eq!(unpackings(), 1, "the image was unpacked once");
    assert!(
        shell(&format!("touch {place}/x 2>&1; true")).contains("Read-only"),
        "the base is read-only"
    );

    world.qa("vm stop -f name=desk* --wait");
    assert_eq!(world.subvolumes(), [format!("basefs/{base}")]);
    assert_eq!(digest(&place), before, "the base is as it was unpacked");
    world.end();
}

/// With SQLite: subvolumes have the original's names, a base is unpacked once, is read-only and stays
/// unchanged after 10 VMs used it; 10 VMs started at once all run, all stop, and leave nothing.
#[test]
fn ten_vms_with_sqlite() {
    ten_vms_share_one_base_and_leave_nothing(Database::Sqlite);
}

/// With PostgreSQL: the same.
#[test]
fn ten_vms_with_postgresql() {
    ten_vms_share_one_base_and_leave_nothing(Database::Postgres);
}

/// What a tree holds: every name with its kind, mode, owners, size, time, links and target; every
/// attribute and ACL; every content.
fn contents(path: &str) -> String {
    shell(&format!(
        "cd {path} && {{ find . -printf '%p %y %m %U %G %s %T@ %n %l\\n' | sort; \
         find . -print0 | sort -z | xargs -0 getfattr -h -d -m 'user|security.capability' 2>/dev/null; \
         find . ! -type l -print0 | sort -z | xargs -0 getfacl -n 2>/dev/null; \
         find . -type f -print0 | sort -z | xargs -0 sha256sum; }}"
    ))
}

/// Images tar, tar.gz, tar.bz2, tar.xz and tar.zst are unpacked losslessly: extended attributes,
/// capabilities, ACLs, owners, times, hard links, sparse files and rare names are there.
#[test]
fn images_are_unpacked_losslessly() {
    let world = World::start(Database::Sqlite);
    let at = world.folder().display().to_string();
    let tree = world.storage().join("tree");
    tree::small(&tree, false);
    tree::add_rarities(&tree);
    let tree = tree.display();
    shell(&format!(
        "tar -C {tree} --sort=name --numeric-owner --acls --xattrs --xattrs-include='user.*' \
         --xattrs-include=security.capability --sparse -cf {at}/image.tar . && \
         gzip -1 -k {at}/image.tar && bzip2 -1 -k {at}/image.tar && xz -0 -k {at}/image.tar && \
         zstd -q -1 {at}/image.tar"
    ));
    world.add_user("ada");
    let wanted = contents(&tree.to_string());
    for rare in ["security.capability", "user.qvd", "default:group:77", "ñandú", " 1234 77 "] {
        assert!(wanted.contains(rare), "{rare} is not in the tree");
    }
    for (number, end) in (2..).zip(["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"]) {
        world.qa(&format!("di add path={at}/image.{end} osf=test"));
        let name = format!("desk{number}");
        world.qa(&format!("vm add name={name} user=ada osf=test di_tag=head"));
        world.qa(&format!("vm start -f name={name} --wait"));
        let base = format!("{at}/storage/basefs/{number}-image.{end}");
        assert_eq!(contents(&base), wanted, "{end}");
        assert!(shell(&format!("getcap {base}/bin/ping")).contains("cap_net_raw"));
        let blocks = shell(&format!("stat -c %b {base}/var/sparse"));
        assert!(blocks.parse::<u64>().expect("blocks") < 1000);
        world.qa(&format!("vm stop -f name={name} --wait"));
    }
    world.end();
}

/// A whole system, Debian's, is unpacked as GNU tar does it.
#[test]
fn a_whole_system_is_unpacked_losslessly() {
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    world.qa("vm start -f name=desk --wait");
    let storage = world.storage();
    let at = storage.display();
    shell(&format!(
        "mkdir {at}/tree && cd {at}/tree && zstd -dcq {at}/images/1-*.tar.zst | \
         tar --numeric-owner --acls --xattrs --xattrs-include='*' -xpf -"
    ));
    let base = shell(&format!("ls -d {at}/basefs/1-*"));
    assert!(contents(&base) == contents(&format!("{at}/tree")), "the base is not as tar has it");
    world.qa("vm stop -f name=desk --wait");
    world.end();
}
