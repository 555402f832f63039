//! What carries the bytes: the router, haproxy, nginx. Each with the same certificate, on a port of its
//! own, to the same desktops.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    program::{Running, command},
    world,
};

use crate::{program, usage};

/// Who carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Qvd,
    Haproxy,
    Nginx,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Qvd, Self::Haproxy, Self::Nginx];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Qvd => "qvd",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Qvd => 18_443,
            Self::Haproxy => 18_444,
            Self::Nginx => 18_445,
        }
    }
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) kind: Kind,
    running: Running,
}

impl Peer {
    /// Starts one in a folder with a certificate, and waits until it listens.
    pub(super) async fn start(kind: Kind, folder: &Path, desktop: &Path) -> Result<Self> {
        let (program, arguments) = match kind {
            Kind::Qvd => qvd(folder)?,
            Kind::Haproxy => haproxy(folder, desktop)?,
            Kind::Nginx => nginx(folder, desktop)?,
        };
        let log = fs::File::create(folder.join(format!("{}.log", kind.name())))?;
        let running = command(&program)
            .args(arguments)
            .env("QVD_LOG", "error")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut peer = Self { kind, running: Running(running) };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(("127.0.0.1", kind.port())).await.is_ok() {
                return Ok(peer);
            }
            ensure!(peer.running.runs(), "{} ended: see {}", kind.name(), folder.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("{} does not listen", kind.name())
    }

    pub(super) fn port(&self) -> u16 {
        self.kind.port()
    }

    /// The time that its threads have had a core.
    pub(super) fn cpu(&self) -> Result<Duration> {
        usage::cpu(&self.processes()?)
    }

    /// Its resident memory, in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        usage::resident(&self.processes()?)
    }

    /// It and its workers.
    fn processes(&self) -> Result<Vec<u32>> {
        let own = self.running.0.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let children = children.split_whitespace().filter_map(|word| word.parse().ok());
        Ok(std::iter::once(own).chain(children).collect())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // In good order: its workers end with it.
        self.running.end();
    }
}

fn written(path: &Path, text: &str) -> Result<String> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.display().to_string())
}

/// A certificate and its key, both in one file too, as haproxy wants it.
pub(super) fn certificate(folder: &Path) -> Result<()> {
    let ssl = folder.join("ssl");
    fs::create_dir_all(&ssl)?;
    let (key, cert) = (ssl.join("key.pem"), ssl.join("cert.pem"));
    program::run(
        "openssl",
        &[
            "req".as_ref(),
            "-x509".as_ref(),
            "-newkey".as_ref(),
            "ec".as_ref(),
            "-pkeyopt".as_ref(),
            "ec_paramgen_curve:prime256v1".as_ref(),
            "-nodes".as_ref(),
            "-subj".as_ref(),
            "/CN=localhost".as_ref(),
            "-keyout".as_ref(),
            key.as_os_str(),
            "-out".as_ref(),
            cert.as_os_str(),
        ],
    )?;
    let both = format!("{}{}", fs::read_to_string(&cert)?, fs::read_to_string(&key)?);
    written(&ssl.join("both.pem"), &both).map(drop)
}

type Start = (PathBuf, Vec<String>);

fn qvd(folder: &Path) -> Result<Start> {
    let at = folder.display();
    let config = format!(
        "nodename = bench\npath.run = {at}/run\npath.ssl = {at}/ssl\n\
         l7r.address = 127.0.0.1\nl7r.port = {}\n",
        Kind::Qvd.port()
    );
    let config = written(&folder.join("node.conf"), &config)?;
    Ok((world::program("qvd"), vec!["--config".to_owned(), config, "l7r".to_owned()]))
}

fn haproxy(folder: &Path, desktop: &Path) -> Result<Start> {
    let config = format!(
        "global\n  nbthread 2\n  maxconn 8000\n  tune.ssl.default-dh-param 2048\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         listen relay\n  bind 127.0.0.1:{} ssl crt {}/ssl/both.pem\n  server desktop unix@{}\n",
        Kind::Haproxy.port(),
        folder.display(),
        desktop.display()
    );
    let config = written(&folder.join("haproxy.cfg"), &config)?;
    Ok(("haproxy".into(), ["-db", "-q", "-f", &config].map(str::to_owned).to_vec()))
}

fn nginx(folder: &Path, desktop: &Path) -> Result<Start> {
    let at = folder.display();
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         user root;\ndaemon off;\nworker_processes 2;\nworker_rlimit_nofile 20000;\n\
         pid {at}/nginx.pid;\nerror_log {at}/nginx.log crit;\n\
         events {{ worker_connections 10000; }}\n\
         stream {{ server {{\n  listen 127.0.0.1:{} ssl backlog=4096;\n  ssl_protocols TLSv1.3;\n  \
         ssl_certificate {at}/ssl/cert.pem;\n  \
         ssl_certificate_key {at}/ssl/key.pem;\n  proxy_timeout 1h;\n  proxy_pass unix:{};\n}} }}\n",
        Kind::Nginx.port(),
        desktop.display()
    );
    let config = written(&folder.join("nginx.conf"), &config)?;
    Ok((
        "nginx".into(),
        ["-e", "stderr", "-p", &at.to_string(), "-c", &config].map(str::to_owned).to_vec(),
    ))
}
