//! QVD: from the row that wants a desktop to the one that says what came of it.

use anyhow::{Context as _, Result};
use model::{VmId, vm::Seen};
use store::Store;
use tests::World;
use tokio::runtime::Runtime;

use super::Peer;
use crate::{desktop::USER, volume};

/// Desktops of one OSF of a world.
pub(crate) struct Ours<'a> {
    world: &'a World,
    runtime: Runtime,
    url: String,
    osf: &'static str,
}

impl<'a> Ours<'a> {
    /// Adds desktops to an OSF, for each of these numbers of them at once.
    pub(crate) fn new(world: &'a World, osf: &'static str, counts: &[usize]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let url = format!("sqlite:{}/db/qvd.db", world.folder().display());
        for (count, number) in
            counts.iter().flat_map(|count| (0..*count).map(move |number| (count, number)))
        {
            world.qa(&format!("vm add name={osf}-{count}-{number} user={USER} osf={osf}"));
        }
        Ok(Self { world, runtime, url, osf })
    }

    /// How long it took until all of them were seen so, by what the api and hkd wrote.
    fn took(&self, count: usize, wanted: Seen) -> Result<u64> {
        let vms = (0..count).map(|number| format!("{}-{count}-{number}", self.osf));
        let vms: Vec<VmId> = vms.map(|name| VmId(self.world.id(&name))).collect();
        let (began, ended) = self.runtime.block_on(async {
            let store = Store::open(&self.url).await?;
            let (mut began, mut ended) = (Vec::new(), Vec::new());
            for vm in vms {
                let desired = store.desired(vm).await?.context("the desktop has a row")?;
                let seen = store.observed(vm).await?;
                let seen = seen.first().filter(|row| row.seen == wanted && row.run == desired.run);
                began.push(desired.asked_at);
                ended.push(seen.context("the desktop is as it was wanted")?.seen_at);
            }
            store.close().await;
            anyhow::Ok((began, ended))
        })?;
        let began = began.into_iter().min().context("some were wanted")?;
        let ended = ended.into_iter().max().context("some were seen")?;
        Ok(ended.millis_since(began).unsigned_abs() * 1000)
    }

    fn each(&self, verb: &str, count: usize) {
        self.world.qa(&format!("vm {verb} -f name={}-{count}-* --wait", self.osf));
    }
}

impl Peer for Ours<'_> {
    fn start(&self, count: usize) -> Result<u64> {
        volume::settle(&self.world.storage())?;
        self.each("start", count);
        self.took(count, Seen::Running)
    }

    fn stop(&self, count: usize) -> Result<Option<u64>> {
        self.each("stop", count);
        self.took(count, Seen::Nothing).map(Some)
    }
}
