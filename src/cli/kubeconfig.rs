//! `meshctl kubeconfig`.

use std::path::{Path, PathBuf};

use super::args::Global;
use super::settings::{Scene, scene};
use super::{Error, Exit};
use crate::clients::kube::{
    Kubeconfig as Entry, merge_kubeconfig, remove_kubeconfig, write_kubeconfig,
};
use crate::views::Printer;

/// Add the cluster to kubectl's configuration, without switching its current context
#[derive(Debug, clap::Args)]
pub(super) struct Kubeconfig {
    /// The file to add it to; `-` prints a file of its own [default: KUBECONFIG's first, or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// Make it the current context
    #[arg(long)]
    use_context: bool,
}

pub(super) async fn run(
    args: &Kubeconfig,
    global: &Global,
    printer: &Printer,
) -> Result<Exit, Error> {
    let scene = scene(global, printer).await?;
    let entry = entry(&scene, global).await?;
    if args.path.as_deref() == Some(Path::new("-")) {
        printer.data(merge_kubeconfig("", &entry, true)?.trim_end());
        return Ok(Exit::Success);
    }
    let path = args.path.clone().or_else(default_path).ok_or_else(|| {
        Error::new(Exit::Invalid, "there is no place for a kubeconfig")
            .hint("add --path FILE, or set HOME")
    })?;
    let text = read(&path)?;
    write_kubeconfig(&path, &merge_kubeconfig(&text, &entry, args.use_context)?)?;
    printer.say(&format!(
        "added the context {} to {}; use it with `kubectl --context {0}`",
        entry.cluster,
        path.display()
    ));
    Ok(Exit::Success)
}

/// The entry of the environment's cluster; its tokens come from this program.
pub(super) async fn entry(scene: &Scene, global: &Global) -> Result<Entry, Error> {
    let cluster = crate::steps::cluster(&scene.environment, &scene.clients).await?;
    let access = cluster.access();
    let command = std::env::current_exe()
        .map_err(|error| Error::new(Exit::Failure, format!("cannot find this program: {error}")))?;
    let mut arguments: Vec<String> = ["token", "--cluster-name"].map(Into::into).to_vec();
    arguments.push(access.name.clone());
    let mut environment = Vec::new();
    if global.is_sandbox() {
        arguments.push("--sandbox".into());
        if let Some(directory) = std::env::var_os("MESHCTL_STATE_DIR") {
            environment.push((
                "MESHCTL_STATE_DIR".into(),
                directory.to_string_lossy().into_owned(),
            ));
        }
    } else {
        arguments.extend(["--region".into(), access.region.clone()]);
        if let Some(profile) = &global.profile {
            environment.push(("AWS_PROFILE".into(), profile.clone()));
        }
    }
    Ok(Entry {
        cluster: access.name.clone(),
        endpoint: access.endpoint.clone(),
        certificate_authority: access.certificate_authority.clone(),
        namespace: scene.environment.namespace.clone(),
        command: command.display().to_string(),
        arguments,
        environment,
    })
}

/// Takes the cluster's entry out of kubectl's configuration again, where it is.
pub(super) fn forget(scene: &Scene, printer: &Printer) {
    let Some(path) = default_path() else { return };
    let cluster = scene.names.cluster();
    let Ok(text) = std::fs::read_to_string(&path) else {
        return;
    };
    if !text.contains(&cluster) {
        return;
    }
    match remove_kubeconfig(&text, &cluster).and_then(|text| write_kubeconfig(&path, &text)) {
        Ok(()) => printer.say(&format!(
            "took the context {cluster} out of {}",
            path.display()
        )),
        Err(failure) => printer.warn(&failure.to_string()),
    }
}

fn default_path() -> Option<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    match listed {
        Some(list) => std::env::split_paths(&list).next(),
        None => std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config")),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::new(
            Exit::Failure,
            format!("cannot read {}: {error}", path.display()),
        )),
    }
}
