//! `meshctl sandbox`.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::faults::{self, Faults};
use super::settings::state_directory;
use super::{Error, Exit};
use crate::clients::{Clients, Credentials, Settings, eks, kube};
use crate::sandbox::aws;
use crate::sandbox::control::{self, Profile, Status};
use crate::sandbox::data_plane::envoy;
use crate::sandbox::{Error as SandboxError, Options};
use crate::views::Printer;

/// Start, stop and look into the embedded sandbox
#[derive(Debug, clap::Args)]
pub(super) struct Sandbox {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start it in the background, or find it running
    Start(Start),
    /// Stop it; its state stays
    Stop,
    /// Show whether it runs and where it listens
    Status,
    /// Stop it and forget its state
    Reset,
    /// Print what the aws CLI, the SDKs and kubectl need, for `eval`
    Env(Env),
    /// Print its log
    Logs(Logs),
    /// Make calls to the sandbox fail on purpose
    Faults(Faults),
    /// List the AWS operations that it has, by the services' names in credential scopes
    Operations,
    /// Run it in the foreground; `start` does this in the background
    #[command(hide = true)]
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct Start {
    /// How many times faster than real durations modelled ones pass; 1 is real time
    #[arg(long, default_value_t = Options::default().speed, value_parser = speed)]
    speed: f64,
    /// The port of the AWS endpoint [default: the last one, or a free one]
    #[arg(long)]
    port: Option<u16>,
    /// Model pods and load balancers without running processes and Envoys
    #[arg(long)]
    no_data_plane: bool,
    /// A YAML file of fault rules, in place of those that a running sandbox has
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Env {
    /// The shell to print for
    #[arg(long, value_enum, default_value_t)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Shell {
    /// bash, zsh and other POSIX shells
    #[default]
    Posix,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
}

#[derive(Debug, clap::Args)]
struct Logs {
    /// How many of the last lines
    #[arg(short, long, default_value_t = 100)]
    lines: usize,
}

#[derive(Debug, clap::Args)]
struct Serve {
    #[arg(long)]
    directory: PathBuf,
    /// The folder of a real Kubernetes control plane
    #[arg(long)]
    kubernetes: Option<PathBuf>,
    /// The process with which it ends
    #[arg(long)]
    parent: Option<u32>,
    #[command(flatten)]
    start: Start,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.1..=100_000.0).contains(&speed) => Ok(speed),
        _ => Err("a speed is a number from 0.1 to 100000".into()),
    }
}

fn failed(error: SandboxError) -> Error {
    let hint = match &error {
        SandboxError::Directory { .. } => {
            Some("make room, or set MESHCTL_STATE_DIR to a folder that can be written")
        }
        SandboxError::Foreign(_) => Some("set MESHCTL_STATE_DIR to another folder"),
        SandboxError::Port { .. } => {
            Some("stop what listens there, or choose another port: meshctl sandbox start --port N")
        }
        SandboxError::Running(_) => Some("look at it with `meshctl sandbox status`"),
        SandboxError::Start(_) | SandboxError::Part { .. } => {
            Some("read its log with `meshctl sandbox logs`")
        }
        SandboxError::Stop(_) => Some("end the process by hand"),
        SandboxError::Setting(_) => None,
    };
    let exit = match &error {
        SandboxError::Setting(_) => Exit::Invalid,
        SandboxError::Foreign(_) | SandboxError::Port { .. } => Exit::Blocked,
        _ => Exit::Failure,
    };
    Error {
        hint: hint.map(Into::into),
        ..Error::new(exit, error)
    }
}

/// The profile of the sandbox that is to be running.
fn running(directory: &Path) -> Result<Profile, Error> {
    match control::status(directory).map_err(failed)? {
        Status::Running(profile) => Ok(*profile),
        Status::Stopped | Status::Absent => Err(Error::new(Exit::Failure, "no sandbox runs")
            .hint("start it with `meshctl sandbox start`")),
    }
}

fn directory() -> Result<PathBuf, Error> {
    Ok(state_directory()?.join("sandbox"))
}

pub(super) async fn run(args: Sandbox, printer: &Printer) -> Result<Exit, Error> {
    match args.command {
        Command::Start(args) => {
            let rules = match &args.faults {
                Some(file) => Some(faults::load(file)?),
                None => None,
            };
            let profile = start(&args, printer).await?;
            if let Some(rules) = rules {
                faults::replace(&profile, &rules).await?;
            }
            show(&profile, printer);
        }
        Command::Stop => {
            let stopped = control::stop(&directory()?).await.map_err(failed)?;
            printer.say(if stopped {
                "the sandbox is stopped; its state stays"
            } else {
                "no sandbox runs"
            });
        }
        Command::Status => match control::status(&directory()?).map_err(failed)? {
            Status::Running(profile) => {
                let condition = control::condition(&profile).await.map_err(|error| {
                    let message = format!("process {} does not answer: {error}", profile.pid);
                    failed(SandboxError::Start(message))
                })?;
                show(&profile, printer);
                show_condition(&condition, printer);
            }
            Status::Stopped | Status::Absent => {
                match printer.is_json() {
                    true => {
                        printer.json(&serde_json::json!({ "event": "sandbox", "running": false }))
                    }
                    false => printer.data("stopped"),
                }
                return Ok(Exit::Failure);
            }
        },
        Command::Reset => {
            control::reset(&directory()?).await.map_err(failed)?;
            printer.say("the sandbox is stopped and its state is forgotten");
        }
        Command::Env(args) => {
            let directory = directory()?;
            let profile = running(&directory)?;
            write_kubeconfig(&profile, &directory).await?;
            for (name, value) in profile.environment(&directory) {
                printer.data(&match args.shell {
                    Shell::Posix => format!("export {name}='{value}'"),
                    Shell::Fish => format!("set -gx {name} '{value}'"),
                    Shell::Powershell => format!("$env:{name} = '{value}'"),
                });
            }
        }
        Command::Logs(args) => {
            printer.data(&control::logs(&directory()?, args.lines).map_err(failed)?)
        }
        Command::Faults(args) => {
            let profile = running(&directory()?)?;
            faults::run(args, &profile, printer).await?;
        }
        Command::Operations => list_operations(printer),
        Command::Serve(args) => {
            let options = Options {
                kubernetes: args.kubernetes,
                parent: args.parent,
                ..args.start.options()
            };
            crate::sandbox::serve(&args.directory, options, std::io::stdout())
                .await
                .map_err(failed)?;
        }
    }
    Ok(Exit::Success)
}

fn list_operations(printer: &Printer) {
    let services = aws::services()
        .iter()
        .map(|service| (service.signing_name(), aws::operation_names(*service)));
    if printer.is_json() {
        let services: serde_json::Map<_, _> = services
            .map(|(name, operations)| (name.to_owned(), operations.into()))
            .collect();
        printer.json(&serde_json::json!({ "event": "operations", "services": services }));
        return;
    }
    for (name, operations) in services {
        for operation in operations {
            printer.data(&format!("{name}:{operation}"));
        }
    }
}

/// Writes the file that KUBECONFIG of `env` names: an entry for each of the sandbox's clusters.
async fn write_kubeconfig(profile: &Profile, directory: &Path) -> Result<(), Error> {
    let clients = Clients::new(settings(profile)).await;
    let unanswered = |error: &dyn std::fmt::Display| {
        Error::new(Exit::Failure, format!("the sandbox's EKS: {error}"))
    };
    let listed = clients.eks.list_clusters().send().await;
    let names = listed
        .map_err(|error| unanswered(&error.into_service_error()))?
        .clusters
        .unwrap_or_default();
    let command = this_program()?;
    let mut text = "apiVersion: v1\nkind: Config\n".to_string();
    for name in names {
        let Some(cluster) = eks::find_cluster(&clients.eks, &name).await? else {
            continue;
        };
        let authority = cluster
            .certificate_authority()
            .and_then(|authority| authority.data());
        let (Some(endpoint), Some(authority)) = (cluster.endpoint(), authority) else {
            continue;
        };
        let entry = kube::Kubeconfig {
            cluster: name.clone(),
            endpoint: endpoint.into(),
            certificate_authority: authority.into(),
            namespace: "default".into(),
            command: command.display().to_string(),
            arguments: ["token", "--sandbox", "--cluster-name", &name]
                .map(Into::into)
                .to_vec(),
            environment: vec![(
                "MESHCTL_STATE_DIR".into(),
                state_directory()?.display().to_string(),
            )],
        };
        text = kube::merge_kubeconfig(&text, &entry, false)?;
    }
    Ok(kube::write_kubeconfig(
        &directory.join("kubeconfig"),
        &text,
    )?)
}

/// What the clients need to use the sandbox.
pub(super) fn settings(profile: &Profile) -> Settings {
    Settings {
        region: profile.region.clone(),
        endpoint: Some(profile.endpoint.clone()),
        credentials: Some(Credentials {
            access_key_id: profile.access_key_id.clone(),
            secret_access_key: profile.secret_access_key.clone(),
            session_token: None,
        }),
        mirrors: profile.registry_mirrors.clone(),
        ..Settings::default()
    }
}

fn show(profile: &Profile, printer: &Printer) {
    if printer.is_json() {
        printer.json(
            &serde_json::json!({ "event": "sandbox", "running": true, "endpoint": profile.endpoint,
            "region": profile.region, "pid": profile.pid }),
        );
        return;
    }
    printer.data(&format!(
        "running: AWS at {} in {}, process {}",
        profile.endpoint, profile.region, profile.pid
    ));
}

/// Says how a running sandbox is: what of it is not as one would expect comes as a warning.
fn show_condition(condition: &serde_json::Value, printer: &Printer) {
    if printer.is_json() {
        printer.json(&serde_json::json!({ "event": "sandbox-condition", "condition": condition }));
        return;
    }
    let envoy = &condition["envoy"];
    let clusters = condition["clusters"].as_array();
    if clusters.is_none_or(Vec::is_empty) {
        printer.data("clusters: none");
    }
    for cluster in clusters.into_iter().flatten() {
        let text = |member: &str| cluster[member].as_str().unwrap_or_default();
        printer.data(&match cluster["endpoint"].as_str() {
            Some(endpoint) => format!(
                "cluster {} at {endpoint}: {}",
                text("name"),
                text("kubernetes")
            ),
            None => format!("cluster {}: {}, not running", text("name"), text("status")),
        });
    }
    printer.data(&match envoy["program"].as_str() {
        Some(program) => format!("data plane: {program}"),
        None => format!(
            "data plane: none, {}",
            envoy["missing"].as_str().unwrap_or("for an unknown reason")
        ),
    });
    printer.data(&format!("speed: {}", condition["speed"]));
    if let Some(count @ 1..) = condition["faults"].as_array().map(Vec::len) {
        printer.data(&format!(
            "fault rules: {count}, see `meshctl sandbox faults list`"
        ));
    }
    if let Some(error) = condition["unsaved"].as_str() {
        printer.warn(&format!(
            "its state cannot be saved: {error}; make room, or it is lost when the sandbox stops"
        ));
    }
}

/// Sees to it that there is an Envoy. Without one the sandbox still runs, so that is a warning.
async fn provide_envoy(printer: &Printer) -> Result<(), Error> {
    let found = envoy::find().map_err(|error| Error::new(Exit::Invalid, error))?;
    if found.is_some() {
        return Ok(());
    }
    let working = printer.working("installing Envoy, once (37 MB)");
    let installed = envoy::install().await;
    drop(working);
    match installed {
        Ok(_) => printer.say("installed Envoy"),
        Err(error) => printer.warn(&format!(
            "{error}; going on without a data plane: pods are modelled and no request passes a proxy"
        )),
    }
    Ok(())
}

async fn start(args: &Start, printer: &Printer) -> Result<Profile, Error> {
    let directory = directory()?;
    let executable = this_program()?;
    if !matches!(
        control::status(&directory).map_err(failed)?,
        Status::Running(_)
    ) {
        if !args.no_data_plane {
            provide_envoy(printer).await?;
        }
        printer.say("starting the sandbox");
    }
    let mut arguments = args.serve_arguments(&directory);
    if let Some(assets) = kubernetes_assets() {
        arguments.extend(["--kubernetes".into(), assets.display().to_string()]);
    }
    if let Some(parent) = std::env::var_os(PARENT).filter(|value| !value.is_empty()) {
        let parent = parent.to_str().and_then(|pid| pid.parse::<u32>().ok());
        let parent = parent.ok_or_else(|| {
            Error::new(
                Exit::Invalid,
                format!("{PARENT} is not the number of a process"),
            )
        })?;
        arguments.extend(["--parent".into(), parent.to_string()]);
    }
    control::start(&directory, &executable, &arguments)
        .await
        .map_err(failed)
}

/// The process without which the sandbox is not needed any more.
const PARENT: &str = "MESHCTL_SANDBOX_PARENT";

fn this_program() -> Result<PathBuf, Error> {
    std::env::current_exe()
        .map_err(|error| Error::new(Exit::Failure, format!("cannot find this program: {error}")))
}

/// Where the user keeps the programs of a Kubernetes control plane, by the name that envtest has given the variable.
fn kubernetes_assets() -> Option<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty())?;
    // The background process runs in another directory.
    std::path::absolute(assets).ok()
}

/// The sandbox's profile; started with the default settings when it is not running.
pub(super) async fn ensure_running(printer: &Printer) -> Result<Profile, Error> {
    let options = Options::default();
    start(
        &Start {
            speed: options.speed,
            port: options.port,
            no_data_plane: !options.data_plane,
            faults: None,
        },
        printer,
    )
    .await
}

impl Start {
    fn options(&self) -> Options {
        Options {
            speed: self.speed,
            port: self.port,
            data_plane: !self.no_data_plane,
            ..Options::default()
        }
    }

    /// The command line of `sandbox serve` with these settings.
    fn serve_arguments(&self, directory: &Path) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["sandbox", "serve", "--directory"].map(Into::into).to_vec();
        arguments.push(directory.display().to_string());
        arguments.extend(["--speed".into(), self.speed.to_string()]);
        if let Some(port) = self.port {
            arguments.extend(["--port".into(), port.to_string()]);
        }
        if self.no_data_plane {
            arguments.push("--no-data-plane".into());
        }
        arguments
    }
}
