//! Archives made here, good and bad.

use std::io::Write;

use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;

/// An archive under construction.
struct Image(Builder<Vec<u8>>);

impl Image {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// A small systemd image with merged /usr, as Debian's are.
    fn systemd() -> Self {
        let mut image = Self::new();
        image
            .folder("./")
            .link("./sbin", "usr/sbin")
            .link("./lib", "usr/lib")
            .link("./bin", "usr/bin")
            .link("./usr/sbin/init", "/lib/systemd/systemd")
            .program("./usr/lib/systemd/systemd", 62)
            .program("./usr/lib/systemd/systemd-logind", 62)
            .program("./usr/bin/dash", 62)
            .link("./usr/bin/sh", "dash")
            .link("./etc/os-release", "../usr/lib/os-release")
            .file("./usr/lib/os-release", 0o644, b"NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n")
            .file("./etc/pam.d/login", 0o644, b"");
        image
    }

    fn desktop() -> Self {
        let mut image = Self::systemd();
        image
            .file("./usr/bin/nxagent", 0o755, b"#!/bin/sh\n")
            .program("./usr/bin/Xtigervnc", 62)
            .file("./etc/X11/Xsession", 0o755, b"#!/bin/sh\n");
        image
    }

    fn entry(
        &mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        to: &str,
        data: &[u8],
    ) -> &mut Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        // Names as they are: the builder would refuse the hostile ones.
        let name = &mut header.as_gnu_mut().unwrap().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..to.len()].copy_from_slice(to.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn folder(&mut self, path: &str) -> &mut Self {
        self.entry(path, EntryType::Directory, 0o755, "", b"")
    }

    fn link(&mut self, path: &str, to: &str) -> &mut Self {
        self.entry(path, EntryType::Symlink, 0o777, to, b"")
    }

    fn hard_link(&mut self, path: &str, to: &str) -> &mut Self {
        self.entry(path, EntryType::Link, 0o755, to, b"")
    }

    fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> &mut Self {
        self.entry(path, EntryType::Regular, mode, "", data)
    }

    fn program(&mut self, path: &str, machine: u16) -> &mut Self {
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec();
        elf.extend(machine.to_le_bytes());
        elf.resize(3000, 7);
        self.file(path, 0o755, &elf)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn look(bytes: &[u8], name: &str) -> Result<ImageKind, Refusal> {
    inspect(bytes, name, Limits::default(), "x86_64")
}

fn refused(image: Image) -> String {
    look(&image.bytes(), "x.tar").unwrap_err().to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut packer = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packer.include_checksum(true).unwrap();
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(0);
    let mut packer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// The same bytes in every packing, with a name that says so.
fn packed(bytes: &[u8]) -> [(Vec<u8>, &'static str); 5] {
    [
        (bytes.to_vec(), "x.tar"),
        (gzip(bytes), "x.tar.gz"),
        (bzip2(bytes), "x.tar.bz2"),
        (xz(bytes), "x.tar.xz"),
        (zstd(bytes), "x.tar.zst"),
    ]
}

#[test]
fn a_desktop_is_recognised_in_every_packing() {
    let bytes = Image::desktop().bytes();
    let kind = look(&bytes, "desk.tar").unwrap();
    assert_eq!(
        kind.to_string(),
        "Debian GNU/Linux 12, x86_64, init systemd; has NX, browser, X session, logind"
    );
    assert_eq!(kind.init_path, "/usr/lib/systemd/systemd");
    assert_eq!(kind.entries, 15);
    assert_eq!(warnings(&kind), Vec::<String>::new());
    for (packed, name) in packed(&bytes) {
        assert_eq!(look(&packed, name).unwrap(), kind, "{name}");
    }
    assert_eq!(look(&gzip(&bytes), "desk.tgz").unwrap(), kind);
    assert_eq!(look(&bzip2(&bytes), "desk.tbz2").unwrap(), kind);
    assert_eq!(look(&xz(&bytes), "desk.txz").unwrap(), kind);
    assert_eq!(look(&zstd(&bytes), "desk.tzst").unwrap(), kind);
}

/// Parallel compressors make files of several streams, one after the other.
#[test]
fn several_streams_are_one_archive() {
    let bytes = Image::desktop().bytes();
    let kind = look(&bytes, "x.tar").unwrap();
    let (one, two) = bytes.split_at(bytes.len() / 2);
    for ((mut first, name), (second, _)) in packed(one).into_iter().zip(packed(two)) {
        first.extend(second);
        assert_eq!(look(&first, name).unwrap(), kind, "{name}");
    }
    for (first, name) in packed(one) {
        let refused = look(&first, name).unwrap_err();
        assert!(matches!(refused, Refusal::Truncated { .. }), "{name}: {refused}");
    }
}

/// A small file may ask for gigabytes of memory to unpack it.
#[test]
fn a_window_larger_than_the_memory_given_is_refused() {
    let tar = Image::desktop().bytes();
    let mut packed = xz(&tar);
    // The first block's header: its size, flags, the filter LZMA2 with one byte that tells the
    // dictionary's size, padding, and a sum.
    assert_eq!(packed[14..16], [0x21, 1]);
    packed[16] = 37;
    let sum = crc32(&packed[12..20]);
    packed[20..24].copy_from_slice(&sum.to_le_bytes());
    let refused = look(&packed, "x.txz").unwrap_err();
    assert!(matches!(refused, Refusal::Memory), "{refused}");

    let mut window = zstd::Encoder::new(Vec::new(), 1).unwrap();
    window.window_log(28).unwrap();
    window.write_all(&tar).unwrap();
    let refused = look(&window.finish().unwrap(), "x.tzst").unwrap_err();
    assert!(matches!(refused, Refusal::Memory), "{refused}");
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn what_is_missing_is_said_with_what_it_is_for() {
    let kind = look(&Image::systemd().bytes(), "x.tar").unwrap();
    assert_eq!(kind.to_string(), "Debian GNU/Linux 12, x86_64, init systemd; has logind");
    let warnings = warnings(&kind);
    assert_eq!(warnings.len(), 3);
    assert!(warnings[0].starts_with("it has no nxagent: nobody can connect with a client"));
}

#[test]
fn other_inits_and_hard_links() {
    let mut openrc = Image::new();
    openrc.program("bin/busybox", 3).link("sbin/init", "../bin/busybox").program("sbin/openrc", 3);
    let kind = look(&openrc.bytes(), "x.tar").unwrap();
    assert_eq!(kind.to_string(), "unnamed system, i386, init openrc");

    let mut sysv = Image::new();
    sysv.program("sbin/init", 62).hard_link("sbin/telinit", "sbin/init");
    let kind = look(&sysv.bytes(), "x.tar").unwrap();
    assert_eq!(kind.to_string(), "unnamed system, x86_64, init sysvinit");

    let mut script = Image::new();
    script.file("sbin/init", 0o755, b"#!/bin/sh\n").program("bin/sh", 62);
    let kind = look(&script.bytes(), "x.tar").unwrap();
    assert_eq!(kind.to_string(), "unnamed system, x86_64, init other (/sbin/init)");
}

#[test]
fn what_cannot_start_is_refused() {
    let mut above = Image::new();
    above.program("root/sbin/init", 62);
    assert_eq!(refused(above), "it has nothing to start: there is no /sbin/init in it");

    let mut dangling = Image::new();
    dangling.link("sbin/init", "/lib/systemd/systemd");
    assert_eq!(
        refused(dangling),
        "it has nothing to start: /sbin/init leads to /lib/systemd/systemd, which is not in it"
    );

    let mut circle = Image::new();
    circle.link("sbin/init", "init");
    assert_eq!(
        refused(circle),
        "it has nothing to start: /sbin/init leads through links in a circle"
    );

    let mut extended = Image::new();
    extended.program("rootfs/sbin/init", 62).file("hooks/start", 0o755, b"#!/bin/sh\n");
    let text = "its root is in the folder rootfs/ (an extended image), which no host can start";
    assert_eq!(refused(extended), text);

    let mut arm = Image::new();
    arm.program("sbin/init", 183);
    assert_eq!(refused(arm), "its programs are for aarch64, and this host is x86_64");

    let mut nothing = Image::new();
    nothing.file("sbin/init", 0o755, b"hello");
    assert_eq!(
        refused(nothing),
        "its programs are for no known processor, and this host is x86_64"
    );
}

#[test]
fn hostile_names_are_refused() {
    for (path, why) in [
        ("../etc/cron.d/x", "leads out of the image"),
        ("a/../../x", "leads out of the image"),
        ("/etc/shadow", "is absolute"),
    ] {
        let mut image = Image::systemd();
        image.file(path, 0o644, b"x");
        assert_eq!(refused(image), format!("the archive has a member whose name {why}: {path}"));
    }
    let mut image = Image::systemd();
    image.hard_link("x", "../../etc/shadow");
    assert!(refused(image).contains("leads out of the image"));
}

/// A link, then a file through it: where tar does not follow the link, nor does an image come in.
#[test]
fn a_file_through_a_link_out_of_the_image_is_refused() {
    for to in ["/etc", "../../etc", "usr/../../etc"] {
        let mut image = Image::systemd();
        image.link("./way", to).file("./way/cron.d/x", 0o644, b"x");
        let why = "goes through a link that may lead out of it: way/cron.d/x";
        assert_eq!(refused(image), format!("the archive has a member whose name {why}"));
    }
    let mut again = Image::systemd();
    again.link("./way", "/etc").hard_link("./other", "./way").file("./other/x", 0o644, b"x");
    assert!(refused(again).contains("goes through a link"));
    let mut replaced = Image::systemd();
    replaced.link("./way", "/etc").folder("./way").file("./way/x", 0o644, b"x");
    assert!(look(&replaced.bytes(), "x.tar").is_ok());
}

/// Trees made by hand have devices in `/dev`. They are taken: no file system of an image lets one be
/// opened.
#[test]
fn devices_are_no_programs() {
    let mut image = Image::systemd();
    image.entry("./dev/sda", EntryType::Block, 0o666, "", b"");
    image.entry("./usr/bin/nxagent", EntryType::Char, 0o755, "", b"");
    image.entry("./usr/bin/Xvnc", EntryType::Fifo, 0o755, "", b"");
    let ways = look(&image.bytes(), "x.tar").unwrap().ways;
    assert!(!ways.nx && !ways.browser);
}

/// A few kilobytes that would fill any volume.
#[test]
fn a_bomb_is_refused_at_its_limit() {
    let mut tar = Image::systemd();
    tar.file("./bomb", 0o644, &vec![0; 64 << 20]);
    let tar = tar.bytes();
    let small = Limits { unpacked: 32 << 20, ..Limits::default() };
    for (bytes, name) in [(bzip2(&tar), "x.tbz2"), (xz(&tar), "x.txz"), (zstd(&tar), "x.tzst")] {
        assert!(bytes.len() < 64 << 10, "{name} is small");
        let refused = inspect(&bytes[..], name, small, "x86_64").unwrap_err();
        assert_eq!(refused.to_string(), "the archive holds more than 33554432 bytes", "{name}");
    }
}

#[test]
fn a_link_out_of_the_image_is_followed_inside_it_only() {
    let mut image = Image::systemd();
    image.link("./usr/bin/nxagent", "../../../../../usr/bin/dash");
    assert!(look(&image.bytes(), "x.tar").unwrap().ways.nx);
}

#[test]
fn long_names_and_pax_headers_are_followed() {
    let long = format!("usr/share/{}/file", "d".repeat(150));
    let mut image = Image::systemd();
    let mut header = Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    image.0.append_data(&mut header, &long, &b"abc"[..]).unwrap();
    image
        .0
        .append_pax_extensions([("path", &b"usr/bin/nxagent"[..]), ("SCHILY.xattr.x", b"\n\0=")])
        .unwrap();
    image.file("wrong", 0o755, b"#!");
    let kind = look(&image.bytes(), "x.tar").unwrap();
    assert!(kind.ways.nx);
    assert_eq!(kind.entries, 14);
}

#[test]
fn records_that_would_fill_the_memory_are_refused() {
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut image = Image::systemd();
        image.entry("././@LongLink", kind, 0o644, "", &vec![b'x'; 2 << 20]);
        assert!(refused(image).contains("longer than any file system takes"));
    }
}

#[test]
fn a_hundred_thousand_members_are_no_matter_and_too_many_are_refused() {
    let mut image = Image::systemd();
    for at in 0..100_000 {
        image.link(&format!("usr/share/{at}"), "/dev/null");
    }
    let bytes = image.bytes();
    assert_eq!(look(&bytes, "x.tar").unwrap().entries, 100_012);
    let few = Limits { entries: 1000, ..Limits::default() };
    let error = inspect(&bytes[..], "x.tar", few, "x86_64").unwrap_err();
    assert_eq!(error.to_string(), "the archive holds more than 1000 members");
    let short = Limits { names: 10_000, ..Limits::default() };
    let error = inspect(&bytes[..], "x.tar", short, "x86_64").unwrap_err();
    assert_eq!(error.to_string(), "the archive holds more than 10000 bytes of names");
    let small = Limits { unpacked: 100_000, ..Limits::default() };
    let error = inspect(&zstd(&bytes)[..], "x.tar.zst", small, "x86_64").unwrap_err();
    assert_eq!(error.to_string(), "the archive holds more than 100000 bytes");
}

#[test]
fn what_is_cut_off_anywhere_is_refused() {
    let tar = Image::desktop().bytes();
    for (bytes, name) in packed(&tar) {
        // The tar's end mark is two blocks of zeros; one of them is enough.
        let least = if name == "x.tar" { bytes.len() - 1023 } else { bytes.len() };
        for cut in (0..least).step_by(bytes.len().div_ceil(200)).chain([least - 1]) {
            let result = look(&bytes[..cut], name);
            assert!(result.is_err(), "{name} cut at {cut} of {}: {result:?}", bytes.len());
        }
    }
}

#[test]
fn damage_is_found_by_the_checksums() {
    let tar = Image::desktop().bytes();
    for (mut bytes, name) in packed(&tar).into_iter().skip(1) {
        // The sums stand near the end of each, those of xz before its index.
        let at = bytes.len() - if name.ends_with("xz") { 40 } else { 3 };
        bytes[at] ^= 0x55;
        assert!(matches!(look(&bytes, name), Err(Refusal::Damaged { .. })), "{name}");
    }
    let mut header = tar.clone();
    header[2 * 512 + 3] ^= 1;
    assert!(matches!(look(&header, "x.tar"), Err(Refusal::BadHeader { .. })));
}

#[test]
fn what_is_no_tar_or_misnamed_is_refused() {
    let text = |result: Result<ImageKind, Refusal>| result.unwrap_err().to_string();
    let tar = Image::desktop().bytes();
    assert_eq!(
        text(look(b"", "x.tar")),
        "the archive is cut off: it ends after 0 bytes of its contents"
    );
    assert_eq!(text(look(&[0; 4096], "x.tar")), "it is not a tar archive");
    assert_eq!(text(look(&vec![b'x'; 4096], "x.tar")), "it is not a tar archive");
    assert_eq!(text(look(&gzip(b"hello"), "x.tgz")), "it is not a tar archive");
    assert_eq!(text(look(&zstd(&tar), "x.tgz")), "`x.tgz` is zstd, which its name does not say");
    assert_eq!(
        text(look(&tar, "x.iso")),
        "`x.iso` does not end in one of .tar, .tar.gz, .tgz, .tar.bz2, .tbz2, .tar.xz, .txz, \
         .tar.zst, .tzst"
    );
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>, flips in proptest::collection::vec((0usize..20_000, 0u8..), 0..20)) {
        let _ = look(&bytes, "x.tar");
        for (start, name) in [
            (&b"\x1f\x8b"[..], "x.tgz"),
            (b"BZh9\x31\x41\x59\x26\x53\x59", "x.tbz2"),
            (b"\xfd7zXZ\0", "x.txz"),
            (b"\x28\xb5\x2f\xfd", "x.tzst"),
        ] {
            let _ = look(&[start, &bytes].concat(), name);
        }
        let mut tar = Image::desktop().bytes();
        let end = tar.len();
        for (at, byte) in flips {
            tar[at % end] = byte;
        }
        let _ = look(&tar, "x.tar");
    }
}
