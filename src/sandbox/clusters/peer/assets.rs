//! The programs of a real Kubernetes control plane.

use std::path::{Path, PathBuf};

/// A folder with `etcd` and `kube-apiserver`, and perhaps `kube-controller-manager` and `kube-scheduler`: what
/// `KUBEBUILDER_ASSETS` names, as for other programs that test against a real API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assets {
    /// The folder.
    pub folder: PathBuf,
    /// What its `kube-apiserver` says it is: `v1.35.4`.
    pub version: String,
    /// Whether there is a `kube-controller-manager`.
    pub controller_manager: bool,
    /// Whether there is a `kube-scheduler`.
    pub scheduler: bool,
}

impl Assets {
    /// Looks into a folder. An error says what it lacks.
    pub async fn find(folder: &Path) -> Result<Assets, String> {
        let has = |name: &str| is_executable(&folder.join(name));
        for name in ["etcd", "kube-apiserver"] {
            if !has(name) {
                return Err(format!("{} has no program {name}", folder.display()));
            }
        }
        let server = folder.join("kube-apiserver");
        let said = tokio::process::Command::new(&server)
            .arg("--version")
            .env_clear()
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .map_err(|error| format!("{}: {error}", server.display()))?;
        let said = String::from_utf8_lossy(&said.stdout);
        let version = said
            .trim()
            .strip_prefix("Kubernetes ")
            .filter(|version| version.starts_with('v'))
            .ok_or_else(|| format!("{} does not say its version", server.display()))?;
        Ok(Assets {
            folder: folder.to_owned(),
            version: version.to_owned(),
            controller_manager: has("kube-controller-manager"),
            scheduler: has("kube-scheduler"),
        })
    }

    /// `1.35`: what EKS calls the version.
    pub fn minor(&self) -> String {
        let mut parts = self.version.trim_start_matches('v').split('.');
        let (major, minor) = (parts.next().unwrap_or("1"), parts.next().unwrap_or("0"));
        format!("{major}.{minor}")
    }

    /// The path of one of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(programs: &[(&str, &str)]) -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in programs {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    #[tokio::test]
    async fn a_folder_is_what_it_holds() {
        let some = folder(&[
            ("etcd", ""),
            ("kube-apiserver", "echo Kubernetes v1.35.4"),
            ("kube-scheduler", ""),
        ]);
        let found = Assets::find(some.path()).await.unwrap();
        assert_eq!(
            (found.version.as_str(), found.minor().as_str()),
            ("v1.35.4", "1.35")
        );
        assert!(found.scheduler && !found.controller_manager);
        let none = folder(&[("etcd", "")]);
        let refused = Assets::find(none.path()).await.unwrap_err();
        assert!(
            refused.ends_with("has no program kube-apiserver"),
            "{refused}"
        );
        let other = folder(&[("etcd", ""), ("kube-apiserver", "echo something else")]);
        let refused = Assets::find(other.path()).await.unwrap_err();
        assert!(refused.ends_with("does not say its version"), "{refused}");
    }
}
