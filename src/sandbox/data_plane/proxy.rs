//! The programs of an injected pod's sidecars that stand for App Mesh's images: the proxy with its agent, and the init
//! container that would set up the redirection.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::mesh::{self, Files, Settings};
use super::names::Names;
use super::process::{Process, Start};
use super::{address, aws};
use crate::sandbox::clock::Clock;
use crate::sandbox::controllers::{ContainerContext, stopped};

/// Between two questions to App Mesh.
const POLL: Duration = Duration::from_millis(300);
/// Between two attempts after a failure.
const RETRY: Duration = Duration::from_millis(500);
/// How long Envoy's start waits for names to resolve: a STRICT_DNS cluster is warm with the first answer or after
/// c-ares' five seconds, whatever came.
const RESOLUTION: Duration = Duration::from_secs(5);
/// Credentials are renewed this long before they expire.
const MARGIN: Duration = Duration::from_secs(120);
/// Envoy closes what is left after this.
const GRACE: Duration = Duration::from_secs(2);

/// `aws-appmesh-proxy-route-manager`: the kubelet wires the pod when it sees this init container.
pub fn run_init(context: ContainerContext) -> BoxFuture<'static, i32> {
    async move {
        context.say("traffic goes through the pod's proxy by its environment; the sandbox needs no iptables");
        0
    }
    .boxed()
}

/// `aws-appmesh-envoy`: a real Envoy that follows what App Mesh says of the pod's virtual node.
pub fn run(context: ContainerContext) -> BoxFuture<'static, i32> {
    async move {
        let mut shutdown = context.shutdown.clone();
        tokio::select! {
            code = serve(context) => code,
            () = stopped(&mut shutdown) => 0,
        }
    }
    .boxed()
}

/// Whether the container's Envoy says that it is live.
pub async fn is_live(context: &ContainerContext) -> bool {
    if super::envoy_of(&context.aws_endpoint).is_err() {
        return true;
    }
    let url = format!("http://{}:{}/ready", context.twin, admin_port(context));
    // 200 means LIVE; what `server_info` says besides is a hundred times as long.
    let asked = aws::http().get(url).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

fn admin_port(context: &ContainerContext) -> u16 {
    let port = context.env.get("ENVOY_ADMIN_ACCESS_PORT");
    port.and_then(|port| port.parse().ok()).unwrap_or(9901)
}

fn settings(context: &ContainerContext, folder: &Path) -> Result<Settings, String> {
    let named = ["APPMESH_RESOURCE_ARN", "APPMESH_VIRTUAL_NODE_NAME"];
    let resource = named
        .iter()
        .find_map(|name| context.env.get(*name))
        .ok_or("APPMESH_RESOURCE_ARN is not set")?;
    // The full ARN, or its last part alone.
    let path = resource.rsplit(':').next().unwrap_or(resource);
    let ["mesh", mesh, "virtualNode", node] = path.split('/').collect::<Vec<_>>()[..] else {
        return Err(format!(
            "APPMESH_RESOURCE_ARN={resource} does not name a virtual node"
        ));
    };
    let application = match context.pod_ip {
        IpAddr::V4(shown) => address::inner(shown),
        IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
    };
    let on = |name: &str| {
        context
            .env
            .get(name)
            .is_some_and(|value| value == "1" || value == "true")
    };
    let number = |name: &str| {
        context
            .env
            .get(name)
            .and_then(|value| value.parse::<f64>().ok())
    };
    let tracing = on("ENABLE_ENVOY_XRAY_TRACING").then(|| {
        let port = number("XRAY_DAEMON_PORT").map_or(2000, |port| port as u16);
        (port, number("XRAY_SAMPLING_RATE").unwrap_or(0.05))
    });
    Ok(Settings {
        mesh: mesh.to_owned(),
        node: node.to_owned(),
        twin: context.twin,
        application: IpAddr::V4(application),
        namespace: context.namespace.clone(),
        admin_port: admin_port(context),
        tracing,
        folder: folder.to_owned(),
        clock: super::clock(&context.aws_endpoint).unwrap_or_else(|| Clock::new(1.0)),
    })
}

async fn serve(context: ContainerContext) -> i32 {
    let directory = super::directory(&context.aws_endpoint);
    let folder = directory.join("envoy").join(&context.pod_uid);
    let settings = match settings(&context, &folder) {
        Ok(settings) => settings,
        Err(message) => {
            context.say(format!("[error] {message}"));
            return 1;
        }
    };
    let program = match super::envoy_of(&context.aws_endpoint) {
        Ok(program) => program,
        Err(reason) => {
            context.say(format!("nothing is proxied: {reason}"));
            return std::future::pending().await;
        }
    };
    if let Err(error) = std::fs::create_dir_all(&folder) {
        context.say(format!("[error] {}: {error}", folder.display()));
        return 1;
    }
    let _folder = Folder(&folder);
    let mut agent = Agent {
        context: &context,
        settings,
        credentials: None,
        model: Value::Null,
        names: super::names_of(&context).unwrap_or_default(),
        said: String::new(),
    };
    // Envoy is not live before it has a configuration; here it is not started before.
    while !agent.ask().await {
        tokio::time::sleep(RETRY).await;
    }
    let _ = tokio::time::timeout(RESOLUTION, agent.names.known()).await;
    if let Err(error) = agent.write(true) {
        context.say(format!("[error] cannot write the configuration: {error}"));
        return 1;
    }
    let start = Start {
        program,
        args: [
            "--config-path",
            &folder.join("bootstrap.json").to_string_lossy(),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            // Access logs are for reading at once, not after ten seconds.
            "--file-flush-interval-msec",
            "250",
            "--drain-time-s",
            "5",
            "--log-level",
            context
                .env
                .get("ENVOY_LOG_LEVEL")
                .map_or("info", String::as_str),
        ]
        .map(str::to_owned)
        .into(),
        env: Default::default(),
        directory: folder.clone(),
        marks: directory.join("processes"),
    };
    let mut envoy = match Process::start(&start, &context.log) {
        Ok(envoy) => envoy,
        Err(error) => {
            context.say(format!("[error] cannot start Envoy: {error}"));
            return 1;
        }
    };
    let mut shutdown = context.shutdown.clone();
    let ended = tokio::select! {
        code = envoy.wait() => Some(code),
        () = agent.follow() => None,
        () = stopped(&mut shutdown) => None,
    };
    match ended {
        Some(code) => code,
        None => {
            envoy.stop(GRACE).await;
            0
        }
    }
}

/// Removes the configuration when the container ends.
struct Folder<'a>(&'a Path);

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}

struct Agent<'a> {
    context: &'a ContainerContext,
    settings: Settings,
    credentials: Option<Credentials>,
    model: Value,
    /// What the node's kube-proxy knows.
    names: Arc<Names>,
    said: String,
}

impl Agent<'_> {
    /// Asks App Mesh; true when there is a new model. A failure leaves the old one: what is configured outlives the
    /// control plane.
    async fn ask(&mut self) -> bool {
        match self.fetch().await {
            Ok(model) => {
                self.said.clear();
                let new = model.get("virtualNode").is_some();
                if new {
                    self.model = model;
                }
                new
            }
            Err(error) => {
                let line = format!(
                    "[warning] StreamAggregatedResources gRPC config stream closed: {error}"
                );
                // Once per failure, not once per attempt.
                if self.said != line {
                    self.context.say(&line);
                    self.said = line;
                }
                false
            }
        }
    }

    async fn fetch(&mut self) -> Result<Value, aws::Error> {
        let soon = std::time::SystemTime::now() + MARGIN;
        let fresh = self
            .credentials
            .take()
            .filter(|found| found.expiry().is_none_or(|expiry| expiry > soon));
        let credentials = match fresh {
            Some(fresh) => fresh,
            None => aws::web_identity(self.context).await?,
        };
        self.credentials = Some(credentials.clone());
        let signer = aws::Signer {
            endpoint: self.context.aws_endpoint.clone(),
            region: self.context.region.clone(),
            credentials,
        };
        let resource = format!(
            "mesh/{}/virtualNode/{}",
            self.settings.mesh, self.settings.node
        );
        let mut path = format!(
            "/v20190125/streamAggregatedResources?resource={}",
            aws::encode(&resource)
        );
        if let Some(version) = self.model["version"].as_str() {
            path.push_str(&format!("&version={}", aws::encode(version)));
        }
        signer
            .send("appmesh", reqwest::Method::GET, &path, &[], String::new())
            .await
    }

    /// Follows App Mesh and the cluster's endpoints; never returns.
    async fn follow(&mut self) {
        // Subscribed once, before what is known is written: nothing that happens meanwhile is missed.
        let mut changes = self.names.changes();
        self.rewrite();
        loop {
            let endpoints = tokio::select! {
                () = tokio::time::sleep(POLL) => false,
                Ok(()) = changes.changed() => true,
            };
            if endpoints || self.ask().await {
                self.rewrite();
            }
        }
    }

    fn rewrite(&self) {
        if let Err(error) = self.write(false) {
            self.context
                .say(format!("[error] cannot write the configuration: {error}"));
        }
    }

    /// Writes what changed.
    fn write(&self, first: bool) -> std::io::Result<()> {
        let folder = &self.settings.folder;
        if first {
            let id = format!("{}/{}", self.settings.node, self.context.pod);
            put(
                folder,
                "bootstrap.json",
                &mesh::bootstrap(&self.settings, &id),
            )?;
        }
        let files = mesh::files(&self.model, &self.settings, &self.names);
        put_all(folder, &files)
    }
}

/// Replaces what changed of an Envoy's files, each before those that name it: Envoy refuses a cluster whose endpoints' file
/// is not there yet, and asks again only when the cluster changes.
pub(super) fn put_all(folder: &Path, files: &Files) -> std::io::Result<()> {
    let order = |name: &str| match name {
        "cds.json" => 1,
        "lds.json" => 3,
        name if name.starts_with("rds") => 2,
        _ => 0,
    };
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by_key(|(name, _)| order(name));
    for (name, content) in sorted {
        put(folder, name, content)?;
    }
    Ok(())
}

/// Replaces a file in one step unless it says the same already. The version is a digest, which Envoy's
/// `config_dump` shows.
pub(super) fn put(folder: &Path, name: &str, content: &Value) -> std::io::Result<()> {
    let mut content = content.clone();
    if content.get("resources").is_some() {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(content.to_string());
        let version: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        content["version_info"] = json!(version);
    }
    let text = serde_json::to_vec(&content)?;
    let path = folder.join(name);
    if std::fs::read(&path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let temporary = folder.join(format!(".{name}.{:08x}", fastrand::u32(..)));
    std::fs::write(&temporary, text)?;
    std::fs::rename(temporary, path)
}
