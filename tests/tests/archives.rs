//! Images that are no good: truncated, corrupt, of another type, empty, hostile, too large, and of a
//! million entries.

use std::{
    fmt::Write as _,
    fs,
    io::{BufWriter, Write},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use tar::{Builder, EntryType, Header};
use tests::{
    Database, World,
    program::{command, shell, try_shell},
    soak::{self, Round, Rounds},
    until,
};

/// Nothing of a VM is on this machine but what the folders of all have.
#[track_caller]
fn nothing_half_made(world: &World) {
    until("nothing to be half-made", Duration::from_secs(20), || match world.leftovers() {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
    let partial: Vec<String> =
        world.subvolumes().into_iter().filter(|path| path.ends_with(".partial")).collect();
    assert_eq!(partial, [""; 0]);
}

const FILE: EntryType = EntryType::Regular;

/// An archive with these members: name, kind, and what they lead to. A file holds three bytes.
fn archive(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (path, kind, to) in members {
        let mut header = Header::new_gnu();
        let data: &[u8] = if kind.is_file() { b"bad" } else { b"" };
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        // Names as they are: the builder would refuse the hostile ones.
        let raw = header.as_gnu_mut().expect("a header of GNU's kind");
        for (field, text) in [(&mut raw.name, path), (&mut raw.linkname, to)] {
            field.iter_mut().zip(text.bytes()).for_each(|(byte, char)| *byte = char);
        }
        header.set_cksum();
        archive.append(&header, data).expect("a member");
    }
    archive.into_inner().expect("an archive")
}

/// What packs an archive, and the end of its name.
const PACKINGS: [(&str, &str); 5] = [
    ("cat", "tar"),
    ("gzip -1c", "tar.gz"),
    ("bzip2 -1c", "tar.bz2"),
    ("xz -0c", "tar.xz"),
    ("zstd -qc -1", "tar.zst"),
];

/// What an archive holds, and the reason it comes to.
const CONTENTS: [(&str, &str); 7] = [
    ("odd", "start-failed"),
    ("filled-up", "start-failed"),
    ("half", "unpack-failed"),
    ("noise", "unpack-failed"),
    ("upwards", "unpack-failed"),
    ("through", "unpack-failed"),
    ("hard", "unpack-failed"),
];

/// What is done to a whole one when it is packed.
const SPOILT: [(&str, &str); 4] = [
    ("empty", ":"),
    ("cut", "head -c $((size * 2 / 3)) packed"),
    ("others", "{ gzip -c image.tar; xz -c image.tar; zstd -qc image.tar; } | tail -c +1"),
    // Of one that is not packed only the digest can tell.
    (
        "flipped",
        "{ head -c $((size / 2)) packed; printf '\\377\\0\\377\\0'; tail -c +$((size / 2 + 5)) packed; }",
    ),
];

/// Archives that come past the registration, as a file that was changed since, in every packing:
/// truncated and corrupt as a stream or inside it, of another type, empty, with `..`, absolute names,
/// links out of the root, a link then a file through it. With another digest than the registered one each
/// is told to be another file; with its own, nothing outside the base's folder is touched, nothing
/// half-made stays, and the reason names the image. An absolute name becomes one inside, and a device is
/// no way to one. What an archive is filled up with behind its end is no matter.
#[test]
fn hostile_archives_touch_nothing_and_say_why() {
    let mut world = World::start_bare(Database::Sqlite);
    world.add_user("ada");
    let at = world.folder().display().to_string();
    let outside = format!("{at}/outside");
    shell(&format!(
        "mkdir -p {outside} {at}/good/sbin {at}/bad && cp /bin/true {at}/good/sbin/init && \
         head -c 99999 /dev/urandom > {at}/good/noise && tar -C {at}/good -cf {at}/image.tar . && \
         echo dear > {outside}/secret && head -c 3000 {at}/image.tar > {at}/bad/half && \
         head -c 9999 /dev/urandom > {at}/bad/noise"
    ));
    let make = |name: &str, members: &[(&str, EntryType, &str)]| {
        fs::write(format!("{at}/bad/{name}"), archive(members)).expect("an archive");
    };
    let inside = format!("{outside}/inside");
    make("odd", &[("dev/sda", EntryType::Block, ""), (&inside, FILE, "")]);
    make("upwards", &[("../../outside/one", FILE, "")]);
    make("hard", &[("x", EntryType::Link, &format!("{outside}/secret"))]);
    shell(&format!("cd {at}/bad && cp odd filled-up && truncate -s +3M filled-up"));
    let way = |to: &str| archive(&[("way", EntryType::Symlink, to), ("way/two", FILE, "")]);
    let mut images = Vec::new();
    let mut digests = String::new();
    for (pack, end) in PACKINGS {
        // In one packing as an absolute link, in the next as one that leads upwards.
        let to = if images.len() % 2 == 0 { outside.as_str() } else { "../../outside" };
        fs::write(format!("{at}/bad/through"), way(to)).expect("an archive");
        shell(&format!("cd {at} && {pack} image.tar > packed && cp -f packed image.{end}"));
        let contents = CONTENTS.map(|(name, code)| (name, format!("{pack} bad/{name}"), code));
        let spoilt = SPOILT.map(|(name, line)| (name, line.to_owned(), "unpack-failed"));
        let all = contents.into_iter().chain(spoilt);
        for (name, line, code) in all.filter(|(name, ..)| (*name, end) != ("flipped", "tar")) {
            // One OSF each: a tag moves on to the next image.
            let (vm, number) = (format!("{name}.{end}"), images.len() + 1);
            world.qa(&format!("osf add name={vm}"));
            world.qa(&format!("di add path={at}/image.{end} osf={vm}"));
            world.qa(&format!("vm add name={vm} user=ada osf={vm}"));
            let image = format!("{number}-image.{end}");
            let digest = shell(&format!(
                "cd {at} && size=$(stat -c %s packed) && {line} > changed && \
                 cat changed > storage/images/{image} && sha256sum < changed | cut -d' ' -f1"
            ));
            let _ = write!(digests, "UPDATE dis SET sha256 = '{digest}' WHERE id = {number};");
            images.push((vm, image, code));
        }
    }
    for right_digest in [false, true] {
        if right_digest {
            world.sql(&digests);
        }
        world.qa("vm start -f name=*");
        let code = |code| if right_digest { code } else { "image-changed" };
        let wanted: Vec<(&str, &str, &str)> = images
            .iter()
            .map(|(vm, image, after)| {
                let part = if code(after) == "start-failed" { "init" } else { image.as_str() };
                (vm.as_str(), code(after), part)
            })
            .collect();
        world.all_say("*", &wanted);
        world.qa("vm stop -f name=* --wait");
        nothing_half_made(&world);
        assert_eq!(shell(&format!("ls {outside}; cat {outside}/secret")), "secret\ndear");
    }
    assert_eq!(
        world.subvolumes().len(),
        2 * PACKINGS.len(),
        "the bases of those that are only odd"
    );
    let base = format!("{at}/storage/basefs/1-image.tar");
    assert_eq!(shell(&format!("cat {base}{inside}")), "bad");
    assert!(Path::new(&base).join("dev/sda").exists());
    let opened = try_shell(&format!("head -c 1 {base}/dev/sda")).expect_err("a device is closed");
    assert!(opened.contains("Permission denied"), "{opened}");
    world.expect_log("WARN", "a step failed");
    world.end();
}

/// The most entries that an image may have.
const ENTRIES_MAX: u64 = 4_000_000;

/// Packs what is said as a file of this name, with an image of `quick` behind it.
fn pack_before_quick(world: &World, name: &str, say: impl FnOnce(&mut dyn Write)) {
    let at = world.folder().display();
    let mut packing = command("sh")
        .args(["-c", &format!("cat - {at}/storage/images/2-quick.tar | zstd -qc -1 >{at}/{name}")])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    say(&mut BufWriter::with_capacity(1 << 20, packing.stdin.take().expect("a pipe to it")));
    assert!(packing.wait().expect("it was started").success(), "{name} is packed");
}

/// A header without contents.
fn header(path: &str, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_path(path).expect("a short name");
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_size(0);
    header.set_cksum();
    header
}

/// An archive of very many entries (10^6 in `soak entries`) is registered, unpacked and started; one with
/// more than an image may have is refused with its reason when it is registered, and, come past that, by
/// the host, which has nothing half-made of it.
#[test]
fn many_entries_are_taken_and_too_many_are_refused() {
    let (files, is_large) = (soak::size(20_000, 1_000_000), soak::is_large());
    let mut world = World::quick(Database::Sqlite);
    let at = world.folder().display().to_string();
    pack_before_quick(&world, "many.tar.zst", |out| {
        for number in 0..files {
            let folder = format!("many/{}", number / 1000);
            let path = format!("{folder}/{}", number % 1000);
            if number % 1000 == 0 {
                out.write_all(header(&folder, EntryType::Directory).as_bytes()).expect("a folder");
            }
            out.write_all(header(&path, FILE).as_bytes()).expect("a file");
        }
    });
    // One that is small in all but the number of its records.
    let most = if is_large { ENTRIES_MAX } else { 20_000 };
    pack_before_quick(&world, "too-many.tar.zst", |out| {
        let record = header("record", EntryType::XGlobalHeader);
        for _ in 0..=most {
            out.write_all(record.as_bytes()).expect("a record");
        }
    });
    Rounds::of(1).run(|seed| {
        let vm = format!("many{seed}");
        let mut figures = Vec::new();
        let mut timed = |what, begun: Instant| figures.push((what, begun.elapsed().as_secs_f64()));
        world.qa(&format!("osf add name={vm}"));
        let begun = Instant::now();
        world.qa(&format!("di add path={at}/many.tar.zst osf={vm}"));
        timed("registered (s)", begun);
        world.qa(&format!("vm add name={vm} user=ada osf={vm}"));
        let begun = Instant::now();
        world.qa(&format!("vm start -f name={vm}"));
        until("all to be unpacked", Duration::from_mins(10), || match world.state(&vm) {
            state if state == "running" => Ok(()),
            _ => Err(world.qa(&format!("vm why -f name={vm}"))),
        });
        timed("unpacked and started (s)", begun);
        let last = world.inside(&vm, &format!("set -- /many/{}/*; echo $#", (files - 1) / 1000));
        assert_eq!(last, "1000");
        let begun = Instant::now();
        world.qa(&format!("vm stop -f name={vm} --wait"));
        timed("stopped (s)", begun);

        let begun = Instant::now();
        let add = format!("di add path={at}/too-many.tar.zst osf={vm}");
        if is_large {
            let refused = world.try_qa(&add).expect_err("too many");
            assert!(refused.contains("more than 4000000 members"), "{refused}");
            assert!(refused.contains("leave out"), "{refused}");
            timed("refused by the registration (s)", begun);
            world.qa(&format!("di add path={at}/many.tar.zst osf={vm}"));
            let number = world.qa_json("di list").as_array().map_or(0, Vec::len);
            shell(&format!("cat {at}/too-many.tar.zst >{at}/storage/images/{number}-many.tar.zst"));
            let digest = shell(&format!("sha256sum <{at}/too-many.tar.zst | cut -d' ' -f1"));
            world.sql(&format!("UPDATE dis SET sha256 = '{digest}' WHERE id = {number}"));
            world.qa(&format!("vm edit -f name={vm} di_tag=head"));
            let begun = Instant::now();
            world.qa(&format!("vm start -f name={vm}"));
            until("the host to refuse it", Duration::from_mins(10), || {
                let why = world.qa(&format!("vm why -f name={vm}"));
                if why.contains("could not be unpacked") { Ok(()) } else { Err(why) }
            });
            world.says(&vm, "unpack-failed", "it has more than 4000000 entries");
            timed("refused by the host (s)", begun);
            world.qa(&format!("vm stop -f name={vm} --wait"));
            world.expect_log("WARN", "a step failed");
        } else {
            world.qa(&add);
        }
        nothing_half_made(&world);
        Round { what: format!("{files} files, and more than {most} records"), figures }
    });
    world.end();
}
