//! A host of its own for each test: a database, a machine, a clock, and daemons that come and go.

use std::{
    fmt::Debug,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use hkd::{
    layout::Layout,
    linux::{
        Linux, Lock,
        fake::{Fake, Fault, Machine},
        firewall::{Network, Source},
        mount::Bind,
        names::Names,
    },
    node::{Clock, Node, Parts, PerStart},
    reconcile::Reconciler,
    start,
    storage::{Driver, btrfs::Btrfs},
};
use model::{
    DiId, HostId, Run, TenantId, Timestamp, VmId,
    di::Di,
    network::VmNetwork,
    osf::Osf,
    reason::Code,
    settings::Settings,
    user::User,
    vm::{Desired, Observed, Seen, Vm},
    want,
};
use store::Store;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The sha-256 that the test's image is registered with.
pub(crate) const SHA256: &str = "ab12";
/// How long anything here may take on a busy machine.
const WITHIN: Duration = Duration::from_mins(1);
/// How soon is looked again.
const AT_ONCE: Duration = Duration::from_millis(5);
/// And how soon after a while.
const AT_LAST: Duration = Duration::from_millis(100);

/// Looks again and again until `look` says `Ok`. When time is over the test fails with the last `Err`.
pub(crate) async fn until<T, E: Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(state) => {
                assert!(begun.elapsed() < WITHIN, "waited for {what}; at last: {state:?}");
            }
        }
        // Ever more seldom: many hosts are looked at at once.
        tokio::time::sleep((begun.elapsed() / 5).clamp(AT_ONCE, AT_LAST)).await;
    }
}

/// A database in which one user has one VM of one image, off, on one host: a file to be copied.
pub(crate) struct Template {
    folder: TempDir,
}

impl Template {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let this = Self { folder };
        let store = Store::migrate(&url(&this.file())).await.unwrap();
        let tenant = TenantId::DEFAULT;
        let login = "ada".parse().unwrap();
        let user = store.add_user(Timestamp(1), tenant, &login, None, 10_000).await.unwrap();
        store.add_host("node1", "192.0.2.1").await.unwrap();
        let osf = store.add_osf(tenant, &store::NewOsf::new("debian", 2048)).await.unwrap();
        let day = (2026, 3, 9);
        let (now, kind) = (Timestamp(1), "tar.gz");
        store.add_di(now, tenant, osf.id, None, day, "d.tar.gz", SHA256, 5, kind).await.unwrap();
        add_vm(&store, "desk", &user, &osf).await;
        store.close().await;
        this
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("db")
    }
}

fn url(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

async fn add_vm(store: &Store, name: &str, user: &User, osf: &Osf) -> Vm {
    let tenant = TenantId::DEFAULT;
    store
        .add_vm(Timestamp(1), tenant, name, user.id, osf.id, "default", None, &network())
        .await
        .unwrap()
}

fn network() -> VmNetwork {
    VmNetwork::new("10.9.0.4".parse().unwrap(), "24", None).unwrap()
}

/// A host.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) store: Store,
    pub(crate) machine: Arc<Machine>,
    pub(crate) layout: Layout,
    pub(crate) host: HostId,
    pub(crate) user: User,
    pub(crate) osf: Osf,
    pub(crate) di: Di,
    pub(crate) vm: Vm,
    clock: Arc<AtomicI64>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(&Template::new().await).await
    }

    /// A host whose database is a copy of a template.
    pub(crate) async fn of(template: &Template) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db");
        fs::copy(template.file(), &file).unwrap();
        let store = Store::open(&url(&file)).await.unwrap();
        let tenant = TenantId::DEFAULT;
        let layout = layout(folder.path());
        for path in [
            &layout.basefs,
            &layout.overlayfs,
            &layout.rootfs,
            &layout.homefs,
            &layout.vms,
            &layout.ended,
        ] {
            fs::create_dir_all(path).unwrap();
        }
        let di = store.dis(tenant).await.unwrap().remove(0);
        let machine = Arc::new(Machine::default());
        machine.put_image(&layout.image(&di), SHA256);
        Self {
            host: store.host_by_name("node1").await.unwrap().unwrap().id,
            user: store.users(tenant).await.unwrap().remove(0),
            osf: store.osfs(tenant).await.unwrap().remove(0),
            vm: store.vms(tenant).await.unwrap().remove(0),
            clock: Arc::new(AtomicI64::new(1_700_000_000_000)),
            folder,
            store,
            machine,
            layout,
            di,
        }
    }

    /// Another VM of the same user and image.
    pub(crate) async fn another_vm(&self, name: &str) -> Vm {
        add_vm(&self.store, name, &self.user, &self.osf).await
    }

    /// Another image of the same system.
    pub(crate) async fn another_image(&self) -> DiId {
        let (now, day) = (Timestamp(2), (2026, 3, 10));
        let (tenant, osf) = (TenantId::DEFAULT, self.osf.id);
        let file = "e.tar.gz";
        let added = self.store.add_di(now, tenant, osf, None, day, file, SHA256, 5, "tar.gz").await;
        let di = added.unwrap();
        self.machine.put_image(&self.layout.image(&di), SHA256);
        di.id
    }

    /// The machine, as no daemon sees it.
    pub(crate) fn door(&self) -> Fake {
        Fake::new(Arc::clone(&self.machine), None)
    }

    /// Leaves a link, control groups, a mounted root and a leave of the firewall of a VM behind, of which
    /// nothing else tells.
    pub(crate) fn leave_behind(&self, vm: VmId) {
        let root = self.layout.mounted_root(vm);
        fs::create_dir_all(&root).unwrap();
        let bind = Bind { from: self.layout.root.clone(), to: root, map: None, suid: true };
        let mac = "54:52:00:00:03:e7".parse().unwrap();
        let source = Source { vm, mac, address: Ipv4Addr::new(10, 3, 15, 99) };
        self.machine.leave_behind(source, &Self::name(vm), bind);
    }

    /// Puts a base there by the name of the image's, of what that name once stood for.
    pub(crate) fn put_stale_base(&self) {
        let (door, partial) = (self.door(), self.layout.partial_base(&self.di));
        door.create_subvolume(&partial).unwrap();
        door.seal(&partial, [7; 16], &self.layout.base(&self.di)).unwrap();
    }

    /// A node on this host's machine and database.
    pub(crate) async fn node(&self, fake: &Arc<Fake>, settings: PerStart) -> Node {
        let linux: Arc<dyn Linux> = Arc::clone(fake) as _;
        let driver: Arc<dyn Driver> = Arc::new(Btrfs::new(Arc::clone(&linux)));
        let parts = Parts {
            host: self.host,
            name: "node1".into(),
            installation: self.store.installation().await.unwrap(),
            linux,
            driver,
            layout: self.layout.clone(),
            names: names(),
            network: network(),
            bridge: Network { gateway: "10.0.0.1/16".parse().unwrap(), blocked: Vec::new() },
            vma: self.folder.path().join("qvd-vma"),
            store: self.store.clone(),
            heavy: 4,
            settings,
        };
        let clock = Arc::clone(&self.clock);
        let clock: Clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
        Node::new(parts, clock)
    }

    /// A daemon on this host, interrupted where `fault` says.
    pub(crate) async fn daemon(&self, fault: Option<Fault>) -> Daemon {
        let fake = Arc::new(Fake::new(Arc::clone(&self.machine), fault));
        let mut file = Settings::default();
        let given = [("vm.network.dns", "192.0.2.53"), ("storage.quota", "1")];
        file.layer(given.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let settings = PerStart::from_settings(&file).unwrap();
        let node = Arc::new(self.node(&fake, settings).await);
        let stop = CancellationToken::new();
        let reconciler = Reconciler::new(Arc::clone(&node), file);
        let (host, wake, until) = (Arc::clone(&node), self.store.wake(), stop.clone());
        let task = tokio::spawn(async move {
            let _alone = prepared(host).await;
            reconciler.run(wake, until).await;
        });
        Daemon { fake, node, task, stop }
    }

    /// The run directory's name of a VM.
    pub(crate) fn name(vm: VmId) -> String {
        names().container(vm)
    }

    /// That of the VM there is from the start.
    pub(crate) fn desk(&self) -> String {
        Self::name(self.vm.id)
    }

    /// Wants another run of a VM, from an image.
    pub(crate) async fn start(&self, vm: VmId, di: DiId) -> Run {
        let now = self.store.desired(vm).await.unwrap().unwrap();
        let ask = want::Start { di, host: self.host, by: "admin".into(), at: self.now() };
        self.set(&now, &want::start(&now, ask)).await;
        now.run.next()
    }

    /// Wants a VM stopped.
    pub(crate) async fn stop(&self, vm: VmId) {
        let now = self.store.desired(vm).await.unwrap().unwrap();
        self.set(&now, &want::stop(&now, "admin".into(), self.now()).unwrap()).await;
    }

    async fn set(&self, old: &Desired, new: &Desired) {
        assert!(self.store.set_desired(new, old.revision).await.unwrap());
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::SeqCst))
    }

    /// Lets time pass, and has the loop of a VM look at the clock by a change of its row that says
    /// nothing to it.
    pub(crate) async fn pass(&self, vm: VmId, millis: i64) {
        self.clock.fetch_add(millis, Ordering::SeqCst);
        let now = self.store.desired(vm).await.unwrap().unwrap();
        self.set(&now, &Desired { asked_at: self.now(), ..now.clone() }).await;
    }

    /// What this host says of a VM.
    pub(crate) async fn row(&self, vm: VmId) -> Option<Observed> {
        self.store.observed(vm).await.unwrap().into_iter().find(|row| row.host == self.host)
    }

    /// Waits until what this host says of a VM is as it should be.
    pub(crate) async fn until(
        &self,
        vm: VmId,
        what: &str,
        good: impl Fn(&Observed) -> bool,
    ) -> Observed {
        until(what, async || match self.row(vm).await {
            Some(row) if good(&row) => Ok(row),
            other => Err((other, self.machine.inventory())),
        })
        .await
    }

    /// Waits until a run of a VM is up.
    pub(crate) async fn until_up(&self, vm: VmId, run: Run) -> Observed {
        let up = |row: &Observed| (row.run, row.seen) == (run, Seen::Running);
        self.until(vm, "the VM to run", up).await
    }

    /// Waits until nothing of a VM is here, as its row says.
    pub(crate) async fn until_down(&self, vm: VmId) -> Observed {
        let down = |row: &Observed| row.seen == Seen::Nothing && row.waiting_for.is_none();
        self.until(vm, "the VM to be down", down).await
    }

    /// Waits until a VM is down with a reason.
    pub(crate) async fn until_ended(&self, vm: VmId, code: Code) -> Observed {
        let ended = |row: &Observed| {
            row.seen == Seen::Nothing
                && row.waiting_for.is_none()
                && row.ended.is_some()
                && row.reason.as_ref().is_some_and(|reason| reason.code == code)
        };
        self.until(vm, "the VM to be down for that reason", ended).await
    }

    /// Waits until a VM was asked to shut down.
    pub(crate) async fn until_asked(&self) {
        until("a VM to be asked", async || match self.machine.counts().asked {
            0 => Err("not asked"),
            _ => Ok(()),
        })
        .await;
    }

    /// What is on the machine but sealed bases, with run directories and folders for roots.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let bases = format!("subvolume {}/", self.layout.basefs.display());
        let is_base = |line: &String| line.starts_with(&bases) && line.contains(" sealed ");
        let mut left = self.machine.inventory();
        left.retain(|line| !is_base(line));
        left.extend(in_folder(&self.layout.vms));
        left.extend(in_folder(&self.layout.rootfs));
        left
    }

    /// Nothing is on the machine but sealed bases; nothing was taken from under a running container.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let left = self.left_behind();
        assert!(left.is_empty(), "left behind: {left:#?}");
        assert_eq!(self.machine.harm(), [""; 0]);
    }
}

/// Makes the machine ready. A daemon that cannot ends, and its supervisor starts it again.
async fn prepared(host: Arc<Node>) -> Lock {
    loop {
        match start::prepare(&host).await {
            Ok(alone) => return alone,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn in_folder(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn names() -> Names {
    Names::new("qvdt", "qvdtnet").unwrap()
}

fn layout(folder: &Path) -> Layout {
    let root = folder.join("storage");
    Layout {
        allowed: root.clone(),
        images: root.join("images"),
        basefs: root.join("basefs"),
        overlayfs: root.join("overlayfs"),
        rootfs: root.join("rootfs"),
        homefs: root.join("homefs"),
        vms: folder.join("vms"),
        sockets: folder.join("hkd"),
        ended: folder.join("ended"),
        root,
    }
}

/// Waits until a host lets routers into a run of a VM.
pub(crate) async fn until_ready(node: &Node, vm: VmId, run: Run) {
    let ready = async || node.is_ready(vm, run).then_some(()).ok_or("not ready");
    until("routers to be let in", ready).await;
}

/// A daemon. Dropped, it is gone without a word, as after `kill -9`.
pub(crate) struct Daemon {
    pub(crate) fake: Arc<Fake>,
    pub(crate) node: Arc<Node>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Daemon {
    /// Stops it in good order.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }

    /// Ends it at once, and waits until its threads are gone too.
    pub(crate) async fn kill(mut self) {
        self.die().await;
    }

    /// The same; what is left of it says what it did.
    pub(crate) async fn die(&mut self) {
        self.task.abort();
        let ended = (&mut self.task).await;
        assert!(
            ended.is_err_and(|error| error.is_cancelled()),
            "a daemon that is killed had ended"
        );
        self.fake.bury();
        until("the threads of a killed daemon", async || match Arc::strong_count(&self.node) {
            1 => Ok(()),
            holders => Err(holders),
        })
        .await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
        self.fake.bury();
    }
}
