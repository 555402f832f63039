//! Where a VM stands: what is wanted of it, what its host says, and whether that host is alive.

use model::{
    Phase, Reason, Timestamp, VmId,
    host::{Host, HostStatus},
    phase,
    vm::{Desired, Observed},
};
use store::Store;

/// Where a VM stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) desired: Desired,
    /// The row of the host where it is wanted, or was last.
    pub(crate) observed: Option<Observed>,
    /// That host.
    pub(crate) host: Option<Host>,
    /// What that host last said of itself.
    pub(crate) status: Option<HostStatus>,
}

impl Standing {
    /// Put together from rows that may be of any VM and host.
    pub(crate) fn new(
        desired: Desired,
        observed: impl IntoIterator<Item = Observed>,
        hosts: &[Host],
        statuses: &[HostStatus],
    ) -> Self {
        let (vm, at) = (desired.vm, desired.host);
        Self {
            observed: observed.into_iter().find(|row| row.vm == vm && Some(row.host) == at),
            host: hosts.iter().find(|host| Some(host.id) == at).cloned(),
            status: statuses.iter().find(|status| Some(status.host) == at).cloned(),
            desired,
        }
    }

    /// As it is now; none when there is no such VM.
    pub(crate) async fn read(store: &Store, vm: VmId) -> Result<Option<Self>, store::Error> {
        let Some(desired) = store.desired(vm).await? else {
            return Ok(None);
        };
        let observed = store.observed(vm).await?;
        let (hosts, statuses) = (store.hosts().await?, store.host_statuses().await?);
        Ok(Some(Self::new(desired, observed, &hosts, &statuses)))
    }

    /// Whether the host is heard of and runs.
    pub(crate) fn host_alive(&self, now: Timestamp) -> bool {
        self.status.as_ref().is_some_and(|status| status.alive(now))
    }

    /// What people see, and why. A reason names the host by its name.
    pub(crate) fn phase(&self, now: Timestamp) -> (Phase, Option<Reason>) {
        let alive = self.host_alive(now);
        let (phase, mut reason) = phase::phase(&self.desired, self.observed.as_ref(), alive, now);
        if phase == Phase::Lost
            && let (Some(lost), Some(host)) = (&mut reason, &self.host)
        {
            let since = self.status.as_ref().map_or(lost.since, |status| status.renewed_at);
            *lost = Reason { since, ..lost.clone() }
                .with("host", &host.name)
                .with("since", moment(since));
        }
        (phase, reason)
    }

    /// What the host is busy with, in a sentence for the person who waits.
    pub(crate) fn doing(&self) -> Option<String> {
        let observed = self.observed.as_ref()?;
        let of_this_run = observed.run == self.desired.run;
        observed.waiting_for.as_deref().filter(|_| of_this_run).map(sentence)
    }
}

/// The host's word for what it is busy with, as a sentence. A word may be followed by how far it is.
fn sentence(words: &str) -> String {
    let (word, far) = words.split_once(' ').unwrap_or((words, ""));
    let sentence = match word {
        "unpack" => "Unpacking the image (first use on this host)",
        "snapshot" => "Preparing the disk",
        "mount" => "Preparing folders and network",
        "start" => "Starting virtual machine",
        "agent" => "Waiting for the agent in the virtual machine",
        "stop" => "Shutting the virtual machine down",
        "clean-up" => "Cleaning up",
        _ => "Preparing the virtual machine",
    };
    if far.ends_with('%') { format!("{sentence}: {far}") } else { sentence.to_owned() }
}

fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn words_of_a_host_become_sentences() {
        let said = ["unpack", "unpack 40%", "agent", "something new"].map(sentence);
        assert_eq!(
            said,
            [
                "Unpacking the image (first use on this host)",
                "Unpacking the image (first use on this host): 40%",
                "Waiting for the agent in the virtual machine",
                "Preparing the virtual machine",
            ]
        );
    }
}
