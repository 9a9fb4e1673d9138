//! What holds for a run, resolved once from flags, environment variables, the file and the sandbox. Nothing below the
//! command line reads the process environment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::Global;
use super::{Error, Exit};
use crate::clients::{Clients, Settings};
use crate::config::{Environment, Names, is_region};
use crate::views::Printer;

/// What a command works on.
pub(super) struct Scene {
    pub environment: Environment,
    pub names: Names,
    pub clients: Arc<Clients>,
}

/// Reads the environment file, or takes the demo.
pub(super) fn environment(global: &Global) -> Result<Environment, Error> {
    let default = Path::new("meshctl.yaml");
    let mut environment = match &global.file {
        Some(file) => Environment::load(file)?,
        None if default.is_file() => Environment::load(default)?,
        None => Environment::demo(),
    };
    if let Some(name) = &global.env {
        environment = environment
            .renamed(name)
            .map_err(|message| Error::new(Exit::Invalid, message))?;
    }
    if let Some(region) = region_from_outside(global) {
        environment.region = region;
    }
    Ok(environment)
}

fn region_from_outside(global: &Global) -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    match &global.region {
        Some(region) => Some(region.clone()),
        // The sandbox's region comes from the sandbox, not from what this shell uses for AWS.
        None if global.is_sandbox() => None,
        None => variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
    }
}

/// Resolves everything and asks who the caller is, so that nothing starts with credentials that do not work.
pub(super) async fn scene(global: &Global, printer: &Printer) -> Result<Scene, Error> {
    let scene = scene_unasked(global, printer).await?;
    scene.clients.identity().await?;
    Ok(scene)
}

/// Resolves everything and asks AWS nothing; starts the sandbox where it is asked for and not running.
pub(super) async fn scene_unasked(global: &Global, printer: &Printer) -> Result<Scene, Error> {
    let mut environment = environment(global)?;
    let mut settings = Settings {
        profile: global.profile.clone(),
        ..Settings::default()
    };
    #[cfg(feature = "sandbox")]
    if global.is_sandbox() {
        let profile = super::sandbox::ensure_running(printer).await?;
        settings = super::sandbox::settings(&profile);
        if environment.region.is_empty() {
            environment.region = profile.region.clone();
        }
        environment.ingress.port.get_or_insert(profile.ingress_port);
    }
    settings.mirrors.extend(environment.images.mirrors.clone());
    if environment.region.is_empty() {
        environment.region = crate::clients::aws::profile_region(settings.profile.as_deref())
            .await
            .unwrap_or_default();
    }
    if environment.region.is_empty() {
        return Err(Error::new(Exit::Invalid, "no AWS region is set")
            .hint("add --region, set AWS_REGION, or try it in the sandbox with --sandbox"));
    }
    if !is_region(&environment.region) {
        let message = format!("`{}` is not an AWS region", environment.region);
        return Err(Error::new(Exit::Invalid, message).hint("for example --region us-west-2"));
    }
    settings.region = environment.region.clone();
    #[cfg(not(feature = "sandbox"))]
    let _ = printer;
    let names = Names::new(&environment.name);
    let clients = Arc::new(Clients::new(settings).await);
    Ok(Scene {
        environment,
        names,
        clients,
    })
}

/// Where meshctl keeps its own files: journals, locks, the sandbox.
///
/// # Errors
/// When neither XDG_STATE_HOME nor HOME says where.
pub(super) fn state_directory() -> Result<PathBuf, Error> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("MESHCTL_STATE_DIR")
        .or_else(|| set("XDG_STATE_HOME").map(|state| state.join("meshctl")))
        .or_else(|| set("HOME").map(|home| home.join(".local/state/meshctl")))
        .ok_or_else(|| {
            Error::new(Exit::Invalid, "there is no place for state")
                .hint("set HOME, XDG_STATE_HOME or MESHCTL_STATE_DIR")
        })
}
