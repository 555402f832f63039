//! A clone of a base: by our driver, and by the bare system call.
//!
//! Both are done in turns on one volume, each half of the time first, so that what the volume does in
//! between falls on both alike. All clones stay until the end: the last ones are made among hundreds.

use std::{fs, sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use hkd::{
    layout::Layout,
    linux::{Lock, btrfs, names::Names, real::Real},
    storage::{Driver as _, btrfs::Btrfs},
};
use model::{DiId, OsfId, Run, Timestamp, VmId, di::Di, settings::Settings};

use crate::{
    image, program,
    results::{Results, Series},
    volume::Volume,
};

/// Measures so many clones of each kind.
pub(crate) fn measure(samples: usize) -> Result<Results> {
    let image = image::small()?;
    let volume = Volume::new(8)?;
    let layout = layout(&volume)?;
    let di = di(&image)?;
    fs::copy(&image.path, layout.image(&di)).context("cannot put the image on the volume")?;
    let driver = Btrfs::new(Arc::new(Real::new(Names::new("bench", "benchnet")?)));
    driver.make_base(&layout, &di, Lock(None), &mut |_, _| {})?;

    let base = layout.base(&di);
    let (mut by_ours, mut by_kernel) = (Vec::new(), Vec::new());
    for number in (1_i64..).take(samples) {
        let by_driver = || -> Result<u64> {
            let began = Instant::now();
            driver.make_overlay(&layout, &di, VmId(number), Some(Run(1)))?;
            Ok(micros(began))
        };
        let by_ioctl = || -> Result<u64> {
            let to = layout.overlayfs.join(format!("bare-{number}"));
            let began = Instant::now();
            btrfs::snapshot(&base, &to)?;
            Ok(micros(began))
        };
        if number % 2 == 0 {
            by_ours.push(by_driver()?);
            by_kernel.push(by_ioctl()?);
        } else {
            by_kernel.push(by_ioctl()?);
            by_ours.push(by_driver()?);
        }
    }
    let conditions = format!(
        "The image of the tests, unpacked on a btrfs volume over a sparse file; {samples} clones \
         of each kind, in turns; none is deleted before the end."
    );
    let ours = "`make_overlay` of the btrfs driver: snapshot and mark";
    let series = vec![
        Series::new("ioctl", "the bare `BTRFS_IOC_SNAP_CREATE_V2`", by_kernel),
        Series::new("driver", ours, by_ours),
    ];
    let versions = [("btrfs-progs", btrfs_version()?)];
    Results::here("clone", "A clone of a base on btrfs", &conditions, versions, series)
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn layout(volume: &Volume) -> Result<Layout> {
    let root = volume.path().display().to_string();
    let mut settings = Settings::default();
    settings.layer([
        ("path.storage.root".to_owned(), root.clone()),
        ("path.storage.allowed".to_owned(), root),
    ]);
    let layout = Layout::from_settings(&settings)?;
    for folder in [&layout.images, &layout.basefs, &layout.overlayfs] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(layout)
}

fn di(image: &image::Image) -> Result<Di> {
    let name = image.path.file_name().and_then(|name| name.to_str());
    let bytes = fs::metadata(&image.path).context("cannot look at the image")?.len();
    Ok(Di {
        id: DiId(1),
        osf: OsfId(1),
        version: "2026-01-01-000".to_owned(),
        path: model::di::path_of(DiId(1), name.context("the image has no name")?),
        sha256: image.sha256.clone(),
        bytes: i64::try_from(bytes)?,
        kind: String::new(),
        added_at: Timestamp(0),
    })
}

fn btrfs_version() -> Result<String> {
    let said = program::run("mkfs.btrfs", &["--version"])?;
    Ok(said.rsplit(' ').next().unwrap_or_default().to_owned())
}
