//! Runs `meshctl` as a user does, in a world of its own: state, home and sandbox in a temporary folder that is stopped
//! and removed with the test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use meshctl::clients::{Clients, Credentials, Settings};

/// How much faster than real time sandboxes run in tests.
pub const SPEED: &str = "2000";

/// How long a cluster may take to tell how it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// A world of its own.
pub struct World {
    folder: tempfile::TempDir,
    data_plane: bool,
    kubernetes: Option<PathBuf>,
}

impl World {
    /// A world whose sandbox runs real processes and real Envoys.
    pub fn with_data_plane() -> Self {
        World {
            folder: tempfile::tempdir().unwrap(),
            data_plane: true,
            kubernetes: None,
        }
    }

    /// As [`World::with_data_plane`], with the real Kubernetes of a folder in its clusters.
    pub fn with_kubernetes(assets: PathBuf) -> Self {
        let mut world = World::with_data_plane();
        world.kubernetes = Some(assets);
        world
    }

    /// A world whose sandbox runs control planes alone.
    pub fn without_data_plane() -> Self {
        World {
            folder: tempfile::tempdir().unwrap(),
            data_plane: false,
            kubernetes: None,
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The sandbox's folder.
    pub fn sandbox_directory(&self) -> PathBuf {
        self.path().join("state/sandbox")
    }

    /// `meshctl` with these arguments, in this world.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("MESHCTL_STATE_DIR", self.path().join("state"))
            .env("XDG_CACHE_HOME", cache.unwrap_or_default())
            // A test that is killed cannot stop anything any more.
            .env("MESHCTL_SANDBOX_PARENT", std::process::id().to_string())
            .stdin(Stdio::null());
        if let Some(assets) = &self.kubernetes {
            command.env("KUBEBUILDER_ASSETS", assets);
        }
        if let Some(envoy) = std::env::var_os("MESHCTL_ENVOY") {
            command.env("MESHCTL_ENVOY", envoy);
        }
        command
    }

    /// How things stand, for whoever reads of a failure.
    pub fn account(&self) -> String {
        [self.cluster(), self.log()].join("\n")
    }

    /// What the sandbox said last.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.sandbox_directory().join("sandbox.log"));
        let log = log.unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let (before, tail) = lines.split_at(lines.len().saturating_sub(40));
        let panics = before.iter().filter(|line| line.contains("panicked"));
        let panics: Vec<&str> = panics.copied().collect();
        format!(
            "the sandbox's log ends with:\n{}",
            [panics, tail.to_vec()].concat().join("\n")
        )
    }

    /// How the pods of its cluster are, and what controllers complain of; nothing where there is no cluster.
    fn cluster(&self) -> String {
        // A thread of its own: this is asked in the middle of failures.
        let told = std::thread::scope(|scope| scope.spawn(|| self.ask_cluster()).join());
        told.unwrap_or_default()
    }

    fn ask_cluster(&self) -> String {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let told = async {
            let client = self.kubernetes().await;
            let all = ListParams::default();
            let pods: Api<Pod> = Api::all(client.clone());
            let events: Api<Event> = Api::all(client.clone());
            let namespaces: Api<Namespace> = Api::all(client.clone());
            let mut told = Vec::new();
            for namespace in namespaces.list(&all).await.into_iter().flatten() {
                if namespace.metadata.deletion_timestamp.is_some() {
                    let status = serde_json::to_string(&namespace.status).unwrap_or_default();
                    let name = namespace.metadata.name.unwrap_or_default();
                    told.push(format!("namespace {name}: {status}"));
                }
            }
            for pod in pods.list(&all).await.into_iter().flatten() {
                let namespace = pod.metadata.namespace.unwrap_or_default();
                let name = pod.metadata.name.unwrap_or_default();
                let status = serde_json::to_string(&pod.status).unwrap_or_default();
                told.push(format!("pod {namespace}/{name}: {status}"));
                let tail = LogParams {
                    tail_lines: Some(10),
                    ..LogParams::default()
                };
                let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
                let log = pods.logs(&name, &tail).await.unwrap_or_default();
                told.extend(log.lines().map(|line| format!("    {line}")));
            }
            for event in events.list(&all).await.into_iter().flatten() {
                if event.type_.as_deref() == Some("Warning") {
                    let about = event.involved_object.name.unwrap_or_default();
                    told.push(format!("{about}: {}", event.message.unwrap_or_default()));
                }
            }
            told.join("\n")
        };
        let told = runtime.block_on(async { tokio::time::timeout(PATIENCE, told).await });
        told.unwrap_or_else(|_| "the cluster does not answer".into())
    }

    /// Starts the sandbox, faster than a user would.
    pub fn start_sandbox(&self) {
        let mut arguments = vec!["sandbox", "start", "--speed", SPEED];
        if !self.data_plane {
            arguments.push("--no-data-plane");
        }
        self.run(&arguments).succeeds();
    }

    /// Where the sandbox is, and its administrator's key.
    pub fn profile(&self) -> Profile {
        let file = self.sandbox_directory().join("profile.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }

    /// Clients of its AWS, as administrator.
    pub async fn clients(&self) -> Clients {
        let profile = self.profile();
        Clients::new(Settings {
            region: profile.region,
            endpoint: Some(profile.endpoint),
            credentials: Some(Credentials {
                access_key_id: profile.access_key_id,
                secret_access_key: profile.secret_access_key,
                session_token: None,
            }),
            mirrors: profile.registry_mirrors,
            profile: None,
        })
        .await
    }

    /// A Kubernetes client as kubectl is one: by the kubeconfig that `sandbox env` names.
    pub async fn kubernetes(&self) -> kube::Client {
        self.run(&["sandbox", "env"]).succeeds();
        let kubeconfig =
            Kubeconfig::read_from(self.sandbox_directory().join("kubeconfig")).unwrap();
        let options = KubeConfigOptions {
            context: Some("meshctl-demo".into()),
            ..Default::default()
        };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        kube::Client::try_from(config.unwrap()).unwrap()
    }

    /// A session with all rights.
    pub fn assume_administrator(&self) -> Session {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let clients = self.clients().await;
            let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}]}"#;
            let role = clients.iam.create_role().role_name("Administrator");
            let role = role.assume_role_policy_document(trust).send().await.unwrap();
            let attach = clients.iam.attach_role_policy().role_name("Administrator");
            let policy = "arn:aws:iam::aws:policy/AdministratorAccess";
            attach.policy_arn(policy).send().await.unwrap();
            let assume = clients.sts.assume_role().role_arn(role.role.unwrap().arn);
            let assumed = assume.role_session_name("test").send().await.unwrap();
            let credentials = assumed.credentials.unwrap();
            Session {
                access_key_id: credentials.access_key_id,
                secret_access_key: credentials.secret_access_key,
                session_token: credentials.session_token,
            }
        })
    }

    /// What an `Authorization` header to the demo's cluster says.
    #[track_caller]
    pub fn bearer(&self) -> String {
        self.bearer_of("demo")
    }

    /// What an `Authorization` header to an environment's cluster says.
    #[track_caller]
    pub fn bearer_of(&self, environment: &str) -> String {
        let token = self.run(&["token", "--sandbox", "--env", environment]);
        let token = token.succeeds().stdout();
        let token: serde_json::Value = serde_json::from_str(&token).unwrap();
        format!("Bearer {}", token["status"]["token"].as_str().unwrap())
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().unwrap();
        Run {
            line: arguments.join(" "),
            output,
        }
    }
}

/// What a sandbox tells its users.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub endpoint: String,
    pub region: String,
    pub registry_mirrors: BTreeMap<String, String>,
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// Temporary credentials.
pub struct Session {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
}

#[expect(
    clippy::print_stderr,
    reason = "a failing test shows what the sandbox said"
)]
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.account());
        }
        let stopped = self.command(&["sandbox", "stop"]).output();
        if !std::thread::panicking() {
            assert!(
                stopped.is_ok_and(|output| output.status.success()),
                "the sandbox stops"
            );
        }
    }
}

/// What a run of `meshctl` ended with.
pub struct Run {
    line: String,
    output: Output,
}

impl Run {
    /// What it printed on stdout.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// What it printed on stderr.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Its exit code; -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.output.status.code().unwrap_or(-1)
    }

    /// Asserts its exit code.
    #[track_caller]
    pub fn exits_with(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "meshctl {}\n--- stdout\n{}\n--- stderr\n{}",
            self.line,
            self.stdout(),
            self.stderr()
        );
        self
    }

    /// Asserts success.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits_with(0)
    }
}
