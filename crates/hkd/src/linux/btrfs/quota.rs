//! Simple quotas: how much may be written to a subvolume, and to those that are made in it later.
//!
//! A subvolume has a group of level 0 by itself. Above it stands one of ours of level 1, which has the limit:
//! what is made inside is charged to it too, so that nobody gets past it by subvolumes of his own. Classic
//! groups, which walk all trees, make snapshots and deletions many times slower; they are never used.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{
    super::{Gauge, counter::Counter},
    Doing, Error, Result, ioctl, ior, iow, iowr, show, subvolume, volume,
};

const QUOTA_CTL: libc::c_ulong = iowr(40, size_of::<QuotaCtl>());
const QGROUP_ASSIGN: libc::c_ulong = iow(41, size_of::<Assign>());
const QGROUP_CREATE: libc::c_ulong = iow(42, size_of::<Create>());
const QGROUP_LIMIT: libc::c_ulong = ior(43, size_of::<Limit>());
/// `BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA`.
const ENABLE_SIMPLE: u64 = 4;
/// `BTRFS_QGROUP_LIMIT_MAX_RFER`.
const MAX_REFERENCED: u64 = 1;

/// The level of our groups, where the kernel has it in their numbers.
const LEVEL: u64 = 1 << 48;
/// What tells our groups from those of others: above the number of the subvolume.
const OURS: u64 = 0x5156 << 32;
/// A subvolume has reached its limit when less than this part of it is left: where a few blocks remain,
/// no file of any use fits.
const LEFT: u64 = 32;

#[repr(C)]
struct QuotaCtl {
    command: u64,
    status: u64,
}

#[repr(C)]
struct Assign {
    add: u64,
    from: u64,
    to: u64,
}

#[repr(C)]
struct Create {
    add: u64,
    group: u64,
}

#[repr(C)]
struct Limit {
    group: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved: [u64; 2],
}

/// Limits what may be written to a subvolume from now on, in bytes; zero for no limit. Quotas are turned on
/// where they are not.
pub fn limit(path: &Path, bytes: u64) -> Result<()> {
    let doing = || format!("limit what may be written to {}", show(path));
    let groups = groups(path)?;
    if bytes == 0 && !groups.exists() {
        return Ok(());
    }
    let folder = File::open(path).doing(doing)?;
    enable(&folder, &groups, path)?;
    let found = subvolume(path)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT));
    let id = found.doing(doing)?.id;
    let group = group_of(id);
    if !groups.join(name(group)).exists() {
        done(ioctl(&folder, QGROUP_CREATE, &mut Create { add: 1, group })).doing(doing)?;
    }
    let mut assign = Assign { add: 1, from: id, to: group };
    done(ioctl(&folder, QGROUP_ASSIGN, &mut assign)).doing(doing)?;
    // The kernel takes a limit away where it reads this.
    let max_referenced = if bytes == 0 { u64::MAX } else { bytes };
    let limit =
        Limit { group, flags: MAX_REFERENCED, max_referenced, max_exclusive: 0, reserved: [0; 2] };
    ioctl(&folder, QGROUP_LIMIT, &mut { limit }).doing(doing)
}

/// Tells whether a subvolume has reached its limit. One without a limit never does, nor one that is gone.
pub fn reached(path: &Path) -> Result<Gauge<bool>> {
    let doing = format!("read how much was written to {}", show(path));
    let Some(found) = subvolume(path)? else { return Ok(Box::new(|| Ok(false))) };
    let group = groups(path)?.join(name(group_of(found.id)));
    let number = |file: &str| Counter::open(&group.join(file)).doing(|| doing.clone());
    let (used, most) = (number("referenced")?, number("max_referenced")?);
    Ok(Box::new(move || {
        let number = |counter: &Option<Counter>| -> Result<Option<u64>> {
            let text = counter.as_ref().map(Counter::read).transpose().doing(|| doing.clone())?;
            Ok(text.and_then(|text| text.trim().parse().ok()))
        };
        // Zero stands for no limit.
        let most = number(&most)?.filter(|most| *most > 0 && *most < u64::MAX);
        let reached = |used: u64, most: u64| used.saturating_add(most / LEFT) >= most;
        Ok(number(&used)?.zip(most).is_some_and(|(used, most)| reached(used, most)))
    }))
}

/// Removes our groups of subvolumes that are gone, on the volume of a folder. The kernel keeps what a
/// subvolume had for some time after its deletion: what cannot be removed yet is there the next time.
pub fn forget(folder: &Path) -> Result<()> {
    let groups = groups(folder)?;
    let Ok(entries) = fs::read_dir(&groups) else { return Ok(()) };
    let folder = File::open(folder).doing(|| format!("open {}", show(folder)))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for (name, id) in names.filter_map(|name| owner(&name).map(|id| (name, id))) {
        // The root of a subvolume that is there takes a block.
        let referenced = fs::read_to_string(groups.join(name).join("referenced"));
        if referenced.is_ok_and(|bytes| bytes.trim() == "0") {
            for group in [id, group_of(id)] {
                drop(ioctl(&folder, QGROUP_CREATE, &mut Create { add: 0, group }));
            }
        }
    }
    Ok(())
}

fn enable(folder: &File, groups: &Path, path: &Path) -> Result<()> {
    let refused = |why: &str| Error::Unexpected {
        what: format!("the volume of {}", show(path)),
        why: why.to_owned(),
    };
    match fs::read_to_string(groups.join("mode")) {
        Ok(mode) if mode.trim() == "squota" => return Ok(()),
        Ok(_) => {
            return Err(refused(
                "it has classic quotas, which make it slow: `btrfs quota disable`, or \
                 `qa config set storage.quota=0`",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).doing(|| format!("read the quotas of {}", show(path))),
    }
    match ioctl(folder, QUOTA_CTL, &mut QuotaCtl { command: ENABLE_SIMPLE, status: 0 }) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(refused(
            "this kernel has no simple quotas (Linux 6.7 has): `qa config set storage.quota=0`",
        )),
        other => other.doing(|| format!("turn on quotas for {}", show(path))),
    }
}

/// What was done before is fine.
fn done(result: io::Result<()>) -> io::Result<()> {
    result.or_else(
        |error| {
            if error.raw_os_error() == Some(libc::EEXIST) { Ok(()) } else { Err(error) }
        },
    )
}

/// Where the kernel shows the groups of a path's volume.
fn groups(path: &Path) -> Result<PathBuf> {
    Ok(Path::new("/sys/fs/btrfs").join(volume(path)?).join("qgroups"))
}

/// Our group for a subvolume.
fn group_of(id: u64) -> u64 {
    LEVEL | OURS | id
}

/// A group's folder: its level, and the rest of its number.
fn name(group: u64) -> String {
    format!("{}_{}", group >> 48, group & (LEVEL - 1))
}

/// The subvolume whose group of ours has this folder.
fn owner(name: &str) -> Option<u64> {
    let number: u64 = name.strip_prefix("1_")?.parse().ok()?;
    (number >> 32 == OURS >> 32).then_some(number & u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<QuotaCtl>(), 16);
        assert_eq!(size_of::<Assign>(), 24);
        assert_eq!(size_of::<Create>(), 16);
        assert_eq!(size_of::<Limit>(), 48);
    }

    #[test]
    fn only_our_groups_are_ours() {
        assert_eq!(owner(&name(group_of(257))), Some(257));
        for foreign in ["0_257", "1_257", "1_0", "2_89223986512129", "limits", "1_x"] {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
    }
}
