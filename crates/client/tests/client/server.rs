//! A small server that speaks the protocol: a list, and desktops on an agent's socket.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rcgen::{CertificateParams, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
    runtime::Runtime,
    sync::Notify,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};
use wire::{
    broker::VmLine,
    head::{Authorization, Request, RequestReader, Response, processing, switching},
};

use crate::agent::Agent;

/// What the server will do next; a test changes it as it goes.
pub(crate) struct Plan {
    pub(crate) state: String,
    /// What a request to connect is refused with.
    pub(crate) refuse: Option<(u16, String)>,
    /// The targets asked for.
    pub(crate) asked: Vec<String>,
    pub(crate) names: Vec<String>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) plan: Arc<Mutex<Plan>>,
    cut: Arc<Notify>,
    /// Dropping it ends the server and its connections.
    _runtime: Runtime,
}

#[derive(Clone)]
struct Shared {
    plan: Arc<Mutex<Plan>>,
    cut: Arc<Notify>,
    agent: Option<Arc<Agent>>,
}

impl Server {
    /// A server whose one desktop is this agent.
    pub(crate) fn new(agent: Option<Arc<Agent>>) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), agent)
    }

    /// The same at an address given; with a certificate of its own, as each has.
    pub(crate) fn at(address: SocketAddr, agent: Option<Arc<Agent>>) -> Self {
        let plan = Plan {
            state: "running".to_owned(),
            refuse: None,
            asked: Vec::new(),
            names: vec!["desk".to_owned()],
        };
        let plan = Arc::new(Mutex::new(plan));
        let cut = Arc::new(Notify::new());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { plan: Arc::clone(&plan), cut: Arc::clone(&cut), agent };
        let acceptor = acceptor();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, shared).await;
                    }
                });
            }
        });
        Self { address, plan, cut, _runtime: runtime }
    }

    /// The argument that names it.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    /// Cuts the connection that is a desktop's now, without a word.
    pub(crate) fn cut(&self) {
        self.cut.notify_one();
    }

    /// How many requests began so.
    pub(crate) fn asked(&self, start: &str) -> usize {
        let plan = self.plan.lock().unwrap();
        plan.asked.iter().filter(|target| target.starts_with(start)).count()
    }
}

fn acceptor() -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

type Stream = TlsStream<TcpStream>;

async fn serve(mut stream: Stream, shared: Shared) {
    let mut reader = RequestReader::default();
    let mut bytes = vec![0; 4096];
    loop {
        while let Some(request) = reader.poll().unwrap() {
            shared
                .plan
                .lock()
                .unwrap()
                .asked
                .push(String::from_utf8(request.target.clone()).unwrap());
            let right = matches!(request.authorization(),
                Authorization::Basic(login) if login.login == "ann" && login.password == "secret");
            let response = match request.path.as_str() {
                _ if !right => Response::unauthorized("no such user, or another password"),
                "/qvd/list_of_vm" => list(&shared),
                "/qvd/stop_vm" => {
                    stream.write_all(&processing("Stopping")).await.unwrap();
                    Response::text(200, "Machine stopped")
                }
                _ => match refusal(&shared, &request) {
                    Some(response) => response,
                    None => return connect(stream, shared).await,
                },
            };
            stream.write_all(&response.head()).await.unwrap();
            stream.write_all(response.body()).await.unwrap();
            stream.flush().await.unwrap();
        }
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(read) => reader.push(&bytes[..read]),
        }
    }
}

fn list(shared: &Shared) -> Response {
    let plan = shared.plan.lock().unwrap();
    let line = |(name, id): (&String, i64)| VmLine {
        id,
        name: name.clone(),
        state: plan.state.clone(),
        blocked: false,
    };
    Response::vms(&plan.names.iter().zip(7..).map(line).collect::<Vec<_>>())
}

fn refusal(shared: &Shared, request: &Request) -> Option<Response> {
    assert!(request.upgrades());
    let plan = shared.plan.lock().unwrap();
    plan.refuse.as_ref().map(|(status, text)| Response::text(*status, text))
}

/// `102`, `101`, and bytes until either side closes or the test cuts them.
async fn connect(mut stream: Stream, shared: Shared) {
    stream.write_all(&processing("Starting your desktop")).await.unwrap();
    let agent = shared.agent.unwrap();
    let waiting = Arc::clone(&agent);
    tokio::task::spawn_blocking(move || waiting.listen()).await.unwrap();
    stream.write_all(&switching(&"k".repeat(64))).await.unwrap();
    stream.flush().await.unwrap();
    // As the l7r does: the agent's one connection is opened when the client speaks.
    let mut first = vec![0; 4096];
    let Ok(read) = stream.read(&mut first).await else { return };
    let socket: PathBuf = agent.socket();
    let mut desktop = UnixStream::connect(socket).await.unwrap();
    desktop.write_all(&first[..read]).await.unwrap();
    tokio::select! {
        _ = copy_bidirectional(&mut stream, &mut desktop) => {
            stream.shutdown().await.ok();
        }
        () = shared.cut.notified() => {}
    }
}
