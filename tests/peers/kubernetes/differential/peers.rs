//! The two servers: the embedded one, in this process, and the real one with its etcd.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use meshctl::sandbox::kubernetes::{Server, ServerOptions, serve};
use tempfile::TempDir;

/// How to reach a server as its administrator.
#[derive(Clone)]
pub struct Side {
    /// `https://127.0.0.1:PORT`.
    pub url: String,
    /// The administrator's bearer token.
    pub token: String,
    /// A client that takes the server's certificate.
    pub http: reqwest::Client,
}

impl Side {
    fn new(url: String, token: String) -> Side {
        let http = reqwest::Client::builder()
            .danger_accept_invalid_certs(true)
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client");
        Side { url, token, http }
    }
}

/// The embedded server.
pub struct Embedded {
    server: Server,
    _directory: TempDir,
}

impl Embedded {
    /// Starts it.
    pub async fn start() -> Embedded {
        Embedded::start_with(|_| {}).await
    }

    /// Starts it with other options.
    pub async fn start_with(adjust: impl FnOnce(&mut ServerOptions)) -> Embedded {
        let directory = TempDir::new().expect("a directory");
        let mut options = ServerOptions::new(directory.path());
        adjust(&mut options);
        let server = serve(options).await.expect("the embedded server starts");
        Embedded {
            server,
            _directory: directory,
        }
    }

    /// How to reach it.
    pub fn side(&self) -> Side {
        Side::new(
            self.server.url().to_owned(),
            self.server.admin_token().to_owned(),
        )
    }

    /// Stops it.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// A process that ends with its owner.
struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &Path) -> Process {
        let out = File::create(log).expect("a log");
        let err = out.try_clone().expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A kube-apiserver and its etcd. Fields are dropped in their order: the API server goes before its store.
pub struct Real {
    apiserver: Process,
    _etcd: Process,
    url: String,
    directory: TempDir,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// The token of the real server's administrator; it listens on loopback and ends with the test.
const TOKEN: &str = "differential";

impl Real {
    /// Starts both from a folder with the two programs, and waits until they are ready.
    pub async fn start(assets: &Path) -> Real {
        Real::start_with(assets, &[]).await
    }

    /// Starts them with more flags for the API server.
    pub async fn start_with(assets: &Path, flags: &[&str]) -> Real {
        let directory = TempDir::new().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let key = rcgen::KeyPair::generate().expect("a key");
        std::fs::write(at("sa.key"), key.serialize_pem()).expect("a key file");
        std::fs::write(at("sa.pub"), key.public_key_pem()).expect("a key file");
        std::fs::write(
            at("tokens.csv"),
            format!("{TOKEN},admin,admin,\"system:masters\"\n"),
        )
        .expect("a token file");
        let (client, peer, port) = (free_port(), free_port(), free_port());
        let store = format!("http://127.0.0.1:{client}");
        let peers = format!("http://127.0.0.1:{peer}");
        let etcd = Process::start(
            Command::new(assets.join("etcd"))
                .arg("--data-dir")
                .arg(at("etcd"))
                .args(["--listen-client-urls", &store])
                .args(["--advertise-client-urls", &store])
                .args(["--listen-peer-urls", &peers])
                .args(["--initial-advertise-peer-urls", &peers])
                .args(["--initial-cluster", &format!("default={peers}")])
                .arg("--unsafe-no-fsync"),
            &at("etcd.log"),
        );
        let mut apiserver = Process::start(
            Command::new(assets.join("kube-apiserver"))
                .args(["--etcd-servers", &store])
                .args(["--bind-address", "127.0.0.1"])
                .args(["--secure-port", &port.to_string()])
                .arg("--cert-dir")
                .arg(at("certificates"))
                .arg("--service-account-key-file")
                .arg(at("sa.pub"))
                .arg("--service-account-signing-key-file")
                .arg(at("sa.key"))
                .args(["--service-account-issuer", "https://kubernetes.default.svc"])
                .arg("--token-auth-file")
                .arg(at("tokens.csv"))
                .args(["--authorization-mode", "RBAC"])
                // As EKS: add-ons need it.
                .arg("--allow-privileged=true")
                .args(["--service-cluster-ip-range", "10.100.0.0/16"])
                // Of the size of a test: a request waits for nobody.
                .args(["--enable-priority-and-fairness=false"])
                .args(flags),
            &at("kube-apiserver.log"),
        );
        let url = format!("https://127.0.0.1:{port}");
        let side = Side::new(url.clone(), TOKEN.to_owned());
        let began = Instant::now();
        loop {
            let answer = side
                .http
                .get(format!("{url}/readyz"))
                .bearer_auth(TOKEN)
                .send()
                .await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            let ended = apiserver.0.try_wait().ok().flatten();
            if ended.is_some() || began.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(at("kube-apiserver.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                panic!("kube-apiserver did not start ({ended:?}): {tail:#?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Real {
            apiserver,
            _etcd: etcd,
            url,
            directory,
        }
    }

    /// How to reach it.
    pub fn side(&self) -> Side {
        Side::new(self.url.clone(), TOKEN.to_owned())
    }

    /// Stops both, the API server first.
    pub async fn stop(self) {
        drop(self.apiserver);
        drop(self.directory);
    }
}
