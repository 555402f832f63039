//! Images come in, or do not.

use expect_test::expect;
use tar::{Builder, EntryType, Header};
use tokio::io::AsyncWriteExt as _;

use crate::installation::Installation;

/// A program for a machine, as far as anybody looks here.
fn program(machine: u8) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
    elf.extend([machine, 0]);
    elf.resize(2000, 1);
    elf
}

fn add(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, to: &str, data: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(data.len() as u64);
    if !to.is_empty() {
        header.set_link_name(to).unwrap();
    }
    header.set_cksum();
    tar.append_data(&mut header, path, data).unwrap();
}

/// A small systemd image for `x86_64` with nxagent.
fn plain() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, "lib/systemd/systemd", EntryType::Regular, "", &program(62));
    add(&mut tar, "sbin/init", EntryType::Symlink, "/lib/systemd/systemd", b"");
    add(&mut tar, "usr/bin/nxagent", EntryType::Regular, "", &program(62));
    add(&mut tar, "etc/os-release", EntryType::Regular, "", b"PRETTY_NAME=\"Small 1\"\n");
    tar.into_inner().unwrap()
}

pub(crate) fn packed() -> Vec<u8> {
    zstd::encode_all(&plain()[..], 1).unwrap()
}

#[tokio::test]
async fn an_image_is_taken_listed_tagged_and_deleted_with_its_file() {
    let it = Installation::new().await;
    it.qa("osf add name=desk").await.ok();
    let file = it.file("small.tar.zst", &packed());
    let said = it.qa(&format!("di add path={} osf=desk version=v1", file.display())).await;
    expect![[r"
        DI added with id 1, version v1, tags v1, default, head
        Small 1, x86_64, init systemd; has NX
    "]]
    .assert_eq(&said.out);
    assert!(said.err.starts_with("Warning: it has no Xvnc: nobody can connect with a browser"));
    assert_eq!(said.err.lines().count(), 3, "{}", said.err);
    assert_eq!(it.names_in("storage/images"), ["1-small.tar.zst"]);
    assert_eq!(std::fs::read(it.path("storage/images/1-small.tar.zst")).unwrap(), packed());
    assert!(it.names_in("storage/staging").is_empty());

    let plain = it.file("plain.tar", &plain());
    it.qa(&format!("di add path={} osf=desk version=v2", plain.display())).await.ok();
    it.qa("di tag di_id=2 tag=test").await.ok();
    expect![[r"
        Id | OSF  | Version | Path            | Tags
        ---+------+---------+-----------------+----------------
         1 | desk | v1      | 1-small.tar.zst | v1, default
         2 | desk | v2      | 2-plain.tar     | v2, head, test
    "]]
    .assert_eq(&it.qa("di list").await.ok());
    assert_eq!(
        it.qa("di list -q -f tag=te?t").await.ok(),
        " 2 | desk | v2 | 2-plain.tar | v2, head, test\n".trim_start()
    );
    assert_eq!(
        it.qa("di tag di_id=1 tag=v2").await.failed(1),
        "qa: the tag v2 is the version of image 2: it can be neither moved nor removed\n"
    );
    it.qa("di untag di_id=2 tag=test").await.ok();
    assert_eq!(it.qa("di del -f id=2").await.ok(), "Deleted 1 disk image.\n");
    assert_eq!(it.names_in("storage/images"), ["1-small.tar.zst"]);
    let json = it.qa("di list -o json").await.ok();
    let dis: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(dis[0]["tags"], serde_json::json!(["v1", "default", "head"]));
    assert_eq!(dis[0]["kind"]["init_path"], "/lib/systemd/systemd");
    it.end().await;
}

#[tokio::test]
async fn without_a_version_it_is_the_day_and_a_number() {
    let it = Installation::new().await;
    it.qa("osf add name=desk").await.ok();
    let file = it.file("small.tar.zst", &packed());
    for number in ["000", "001"] {
        let said = it.qa(&format!("di add path={} osf=desk", file.display())).await.ok();
        let version = said.split_once("version ").unwrap().1.split_once(',').unwrap().0;
        assert!(version.starts_with("20") && version.ends_with(number), "{version}");
        assert_eq!(version.len(), "YYYY-MM-DD-NNN".len());
    }
    it.end().await;
}

/// An image without an init is good for an OSF that does not want one, and it is said what runs.
#[tokio::test]
async fn an_image_without_an_init_gets_ours() {
    let it = Installation::new().await;
    it.qa("osf add name=desk").await.ok();
    it.qa("osf add name=server init=image").await.ok();
    let mut tree = Builder::new(Vec::new());
    add(&mut tree, "bin/sh", EntryType::Regular, "", &program(62));
    let file = it.file("plain.tar", &tree.into_inner().unwrap());
    let said = it.qa(&format!("di add path={} osf=server", file.display())).await.failed(1);
    let why = "it has nothing to start: there is no /sbin/init in it, and its OSF has init=image";
    assert!(said.starts_with(&format!("qa: the image is refused: {why}")), "{said}");
    let added = it.qa(&format!("di add path={} osf=desk", file.display())).await;
    let said = format!("{}{}", added.out, added.err);
    assert!(said.contains("no init of its own"), "{said}");
    assert!(said.contains("a tiny one of QVD runs in its VMs"), "{said}");
    let bad = it.qa("osf add name=odd init=never").await.failed(1);
    assert_eq!(bad, "qa: init is auto, image or own, not `never`\n");
    it.end().await;
}

#[tokio::test]
async fn what_cannot_start_is_refused_and_leaves_nothing_behind() {
    let it = Installation::new().await;
    it.qa("osf add name=desk").await.ok();
    let mut above = Builder::new(Vec::new());
    add(&mut above, "root/bin/sh", EntryType::Regular, "", &program(62));
    let mut arm = Builder::new(Vec::new());
    add(&mut arm, "sbin/init", EntryType::Regular, "", &program(183));
    let cut = packed();
    let cases: [(&str, Vec<u8>, &str); 5] = [
        (
            "a.tar",
            above.into_inner().unwrap(),
            "it has nothing to start: there is no /sbin/init in it",
        ),
        (
            "b.tar",
            arm.into_inner().unwrap(),
            "its programs are for aarch64, and this host is x86_64",
        ),
        ("c.tar.zst", cut[..cut.len() / 2].to_vec(), "the archive is cut off"),
        ("d.tgz", packed(), "`d.tgz` is zstd, which its name does not say"),
        ("e.tar", b"hello".to_vec(), "it is not a tar archive"),
    ];
    for (name, bytes, why) in cases {
        let file = it.file(name, &bytes);
        let said = it.qa(&format!("di add path={} osf=desk", file.display())).await.failed(1);
        assert!(said.starts_with(&format!("qa: the image is refused: {why}")), "{said}");
        assert_eq!(said.lines().count(), 2, "a remedy: {said}");
    }
    assert_eq!(it.qa("di list").await.err, "There are no such disk images.\n");
    assert!(it.names_in("storage/images").is_empty());
    assert!(it.names_in("storage/staging").is_empty());
    it.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_before_the_file_is_kept() {
    let it = Installation::new().await;
    it.qa("osf add name=desk").await.ok();
    // Larger than the buffers of the socket: the api must read on to be heard.
    let file = it.file("x.iso", &vec![1; 8 << 20]);
    let said = it.qa(&format!("di add path={} osf=desk", file.display())).await.failed(1);
    assert!(said.starts_with("qa: the image is refused: `x.iso` does not end in one of .tar"));
    let said = it.qa(&format!("di add path={} osf=other", file.display())).await.failed(1);
    assert_eq!(said, "qa: there is no OSF other\n    add it with `qa osf add name=other`\n");
    let line = format!("di add path={} osf_id=9", file.display());
    assert_eq!(
        it.qa(&line).await.failed(1),
        "qa: there is no OSF 9\n    `qa osf list` shows those there are\n"
    );
    // The same when it is the storage that cannot take it.
    let file = it.file("x.tar", &vec![1; 8 << 20]);
    let line = format!("di add path={} osf_id=1", file.display());
    it.qa("config set path.storage.staging=/srv/elsewhere").await.ok();
    let said = it.qa(&line).await.failed(1);
    assert!(said.starts_with("qa: path.storage.staging is /srv/elsewhere, which is not below"));
    let occupied = file.join("staging");
    it.qa(&format!("config set path.storage.staging={}", occupied.display())).await.ok();
    let said = it.qa(&line).await.failed(1);
    assert!(said.contains("cannot be written: Not a directory"), "{said}");
    let said = it.qa("di add path=/nowhere.tar osf=desk").await.failed(1);
    assert_eq!(said, "qa: cannot open /nowhere.tar: No such file or directory (os error 2)\n");
    it.end().await;
}

#[tokio::test]
async fn the_next_api_finishes_what_one_that_died_began() {
    let mut it = Installation::with_a_vm().await;
    let sha256 = it.store.di(model::DiId(1)).await.unwrap().unwrap().sha256;
    let random = "r".repeat(32);
    let images = it.path("storage/images");
    // It died between the row and the rename; and while it took in, looked through and copied others.
    std::fs::rename(
        images.join("1-small.tar.zst"),
        images.join(format!("node1~{random}~{sha256}.complete")),
    )
    .unwrap();
    let other = "0".repeat(64);
    let node2 = format!("node2~{random}.partial");
    for name in [
        format!("storage/images/node1~{random}~{other}.complete"),
        format!("storage/images/node1~{random}.partial"),
        format!("storage/staging/node1~{random}.partial"),
        format!("storage/staging/{node2}"),
        "storage/staging/mine.partial".to_owned(),
    ] {
        it.file(&name, b"half");
    }
    it.restart().await;
    assert_eq!(it.names_in("storage/images"), ["1-small.tar.zst"]);
    assert_eq!(std::fs::read(images.join("1-small.tar.zst")).unwrap(), packed());
    // What may be in work on another node is let alone, and what nobody here made.
    assert_eq!(it.names_in("storage/staging"), ["mine.partial".to_owned(), node2]);
    it.end().await;
}

#[tokio::test]
async fn the_end_of_the_api_does_not_wait_for_an_upload() {
    let it = Installation::new().await;
    it.qa("osf add name=desk").await.ok();
    let mut sender = tokio::net::UnixStream::connect(it.path("admin.sock")).await.unwrap();
    let head = "POST /api/v1/dis?osf=desk&file=x.tar HTTP/1.1\r\nhost: api\r\n\
                content-length: 1000000\r\n\r\nhalf";
    sender.write_all(head.as_bytes()).await.unwrap();
    while it.names_in("storage/staging").is_empty() {
        tokio::task::yield_now().await;
    }
    it.end_leaving(|it| assert!(it.names_in("storage/staging").is_empty())).await;
}

/// With images registered and none of their files there the storage is not mounted: nothing is made in
/// its mount point, and it goes on when the storage is back.
#[tokio::test]
async fn nothing_is_made_where_the_storage_is_not_mounted() {
    let it = Installation::with_a_vm().await;
    let (images, away) = (it.path("storage/images"), it.path("storage/away"));
    std::fs::rename(&images, &away).unwrap();
    std::fs::create_dir(&images).unwrap();
    let line = format!("di add path={} osf=desk", it.file("more.tar.zst", &packed()).display());
    let said = it.qa(&line).await.failed(1);
    assert!(said.contains("holds none of the registered images: it is not mounted"), "{said}");
    assert_eq!(it.names_in("storage/images"), [""; 0]);
    std::fs::remove_dir(&images).unwrap();
    std::fs::rename(&away, &images).unwrap();
    it.qa(&line).await.ok();
    assert_eq!(it.names_in("storage/images"), ["1-small.tar.zst", "2-more.tar.zst"]);
    it.end().await;
}
