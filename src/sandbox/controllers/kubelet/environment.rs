//! A container's environment and command line: references resolved, `$(VAR)` expanded, paths of the image mapped to
//! where its file system lies on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector, Secret,
};
use kube::Api;

use super::Kubelet;

/// Addresses as a pod's processes are to see them.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `status.podIP`.
    pub pod_ip: String,
    /// `status.hostIP`.
    pub host_ip: String,
}

/// Why a container cannot be configured; the text of `CreateContainerConfigError`.
pub type ConfigError = String;

/// Resolves the environment of one container, in the order in which later entries win.
pub async fn resolve(
    kubelet: &Kubelet,
    pod: &Pod,
    container: &Container,
    seen: &Seen,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut found = kubelet.service_environment();
    let mut sources = Sources {
        kubelet,
        namespace: pod.metadata.namespace.as_deref().unwrap_or("default"),
        config_maps: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let pairs = match (&source.config_map_ref, &source.secret_ref) {
            (Some(reference), _) => {
                sources
                    .config_map(&reference.name, reference.optional)
                    .await?
            }
            (None, Some(reference)) => sources.secret(&reference.name, reference.optional).await?,
            (None, None) => continue,
        };
        for (key, value) in pairs {
            found.insert(format!("{prefix}{key}"), value);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &found)),
            (None, Some(source)) => sources.value(source, pod, container, seen).await?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            found.insert(variable.name.clone(), value);
        }
    }
    Ok(found)
}

struct Sources<'a> {
    kubelet: &'a Kubelet,
    namespace: &'a str,
    config_maps: BTreeMap<String, Option<BTreeMap<String, String>>>,
    secrets: BTreeMap<String, Option<BTreeMap<String, String>>>,
}

impl Sources<'_> {
    async fn config_map(
        &mut self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        if !self.config_maps.contains_key(name) {
            let api: Api<ConfigMap> = Api::namespaced(self.kubelet.client.clone(), self.namespace);
            let map = api.get_opt(name).await.map_err(|error| error.to_string())?;
            self.config_maps
                .insert(name.to_owned(), map.map(|map| map.data.unwrap_or_default()));
        }
        known(self.config_maps[name].clone(), optional, || {
            format!("configmap \"{name}\" not found")
        })
    }

    async fn secret(
        &mut self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        if !self.secrets.contains_key(name) {
            let api: Api<Secret> = Api::namespaced(self.kubelet.client.clone(), self.namespace);
            let secret = api.get_opt(name).await.map_err(|error| error.to_string())?;
            let text = |secret: Secret| {
                let pairs = secret.data.unwrap_or_default().into_iter();
                pairs
                    .map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()))
                    .collect()
            };
            self.secrets.insert(name.to_owned(), secret.map(text));
        }
        known(self.secrets[name].clone(), optional, || {
            format!("secret \"{name}\" not found")
        })
    }

    async fn value(
        &mut self,
        source: &EnvVarSource,
        pod: &Pod,
        container: &Container,
        seen: &Seen,
    ) -> Result<Option<String>, ConfigError> {
        if let Some(field) = &source.field_ref {
            return field_value(pod, field, seen).map(Some);
        }
        if let Some(resource) = &source.resource_field_ref {
            return Ok(Some(resource_value(pod, container, resource)));
        }
        if let Some(key) = &source.config_map_key_ref {
            let map = self.config_map(&key.name, key.optional).await?;
            return match map.get(&key.key) {
                None if key.optional != Some(true) => Err(format!(
                    "couldn't find key {} in ConfigMap {}/{}",
                    key.key, self.namespace, key.name
                )),
                value => Ok(value.cloned()),
            };
        }
        if let Some(key) = &source.secret_key_ref {
            let secret = self.secret(&key.name, key.optional).await?;
            return match secret.get(&key.key) {
                None if key.optional != Some(true) => Err(format!(
                    "couldn't find key {} in Secret {}/{}",
                    key.key, self.namespace, key.name
                )),
                value => Ok(value.cloned()),
            };
        }
        Ok(None)
    }
}

fn known(
    found: Option<BTreeMap<String, String>>,
    optional: Option<bool>,
    missing: impl Fn() -> String,
) -> Result<BTreeMap<String, String>, ConfigError> {
    match found {
        None if optional != Some(true) => Err(missing()),
        found => Ok(found.unwrap_or_default()),
    }
}

/// The value of a downward-API field.
pub fn field_value(
    pod: &Pod,
    field: &ObjectFieldSelector,
    seen: &Seen,
) -> Result<String, ConfigError> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let path = field.field_path.as_str();
    let subscript = |prefix: &str| {
        path.strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix("['"))
            .and_then(|rest| rest.strip_suffix("']"))
            .map(str::to_owned)
    };
    if let Some(key) = subscript("metadata.annotations") {
        return Ok(metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(&key))
            .cloned()
            .unwrap_or_default());
    }
    if let Some(key) = subscript("metadata.labels") {
        return Ok(metadata
            .labels
            .as_ref()
            .and_then(|all| all.get(&key))
            .cloned()
            .unwrap_or_default());
    }
    let lines = |all: &Option<BTreeMap<String, String>>| {
        let all = all.iter().flatten();
        all.map(|(key, value)| format!("{key}={value:?}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let value = match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "metadata.labels" => Some(lines(&metadata.labels)),
        "metadata.annotations" => Some(lines(&metadata.annotations)),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" | "status.podIPs" => Some(seen.pod_ip.clone()),
        "status.hostIP" | "status.hostIPs" => Some(seen.host_ip.clone()),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    };
    Ok(value.unwrap_or_default())
}

fn resource_value(pod: &Pod, container: &Container, selector: &ResourceFieldSelector) -> String {
    let named = selector.container_name.as_ref().and_then(|name| {
        let spec = pod.spec.as_ref()?;
        spec.containers
            .iter()
            .find(|candidate| candidate.name == *name)
    });
    let resources = named.unwrap_or(container).resources.as_ref();
    let (list, resource) = selector
        .resource
        .split_once('.')
        .unwrap_or(("limits", &selector.resource));
    let list = resources.and_then(|resources| match list {
        "requests" => resources.requests.as_ref(),
        _ => resources.limits.as_ref(),
    });
    let amount = list
        .and_then(|list| list.get(resource))
        .map_or(0.0, |amount| quantity(&amount.0));
    let divisor = selector
        .divisor
        .as_ref()
        .map_or(1.0, |divisor| quantity(&divisor.0));
    let divisor = if divisor > 0.0 { divisor } else { 1.0 };
    format!("{}", (amount / divisor).ceil())
}

/// A Kubernetes quantity as a number; zero when it is none.
pub fn quantity(text: &str) -> f64 {
    const SUFFIXES: [(&str, f64); 13] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    if let Ok(number) = text.parse() {
        return number;
    }
    SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some(text.strip_suffix(suffix)?.parse::<f64>().ok()? * factor))
        .unwrap_or(0.0)
}

/// Expands `$(NAME)`; `$$` is a dollar, an unknown name stays as it is written.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let name = rest
            .strip_prefix('(')
            .and_then(|inner| Some(&inner[..inner.find(')')?]));
        match name {
            Some(name) => {
                match variables.get(name) {
                    Some(value) => expanded.push_str(value),
                    None => expanded.push_str(&format!("$({name})")),
                }
                rest = &rest[name.len() + 2..];
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

/// What a path of a container is on this machine: below the longest mount that leads to it, else in the image, else
/// what it says, since there is no chroot.
pub fn map_path(path: &str, mounts: &BTreeMap<PathBuf, PathBuf>, root: &Path) -> Option<PathBuf> {
    let path = Path::new(path);
    if !path.is_absolute()
        || path
            .components()
            .any(|part| part == std::path::Component::ParentDir)
    {
        return None;
    }
    let mount = mounts
        .iter()
        .filter(|(mount, _)| path.starts_with(mount))
        .max_by_key(|(mount, _)| mount.components().count());
    if let Some((mount, host)) = mount {
        let rest = path.strip_prefix(mount).ok()?;
        return Some(if rest.as_os_str().is_empty() {
            host.clone()
        } else {
            host.join(rest)
        });
    }
    let image = root.join(path.strip_prefix("/").ok()?);
    // The root folder itself is in every image; an argument "/" means a URL's path far more often than a folder.
    (path != Path::new("/") && image.exists()).then_some(image)
}

/// A command line whose paths are this machine's, and the environment to go with it.
#[derive(Debug)]
pub struct CommandLine {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The environment with PATH leading into the image first.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub directory: PathBuf,
}

/// This machine's PATH, the folder of the real Python first. Version managers put a shell script in its place, which
/// costs a moment of a busy processor with every start.
pub fn host_path() -> String {
    static HOST_PATH: OnceLock<String> = OnceLock::new();
    let find = || {
        let path =
            std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
        let output = std::process::Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .output();
        let real = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let folder = real.ok().and_then(|real| {
            let real = PathBuf::from(real);
            let named = real.with_file_name("python3");
            named
                .is_file()
                .then(|| real.parent().map(Path::to_owned))
                .flatten()
        });
        match folder {
            Some(folder) => format!("{}:{path}", folder.display()),
            None => path,
        }
    };
    HOST_PATH.get_or_init(find).clone()
}

/// Maps a container's command into its image. An error is the runtime's, in its words.
pub fn command_line(
    words: &[String],
    mut env: BTreeMap<String, String>,
    directory: &str,
    mounts: &BTreeMap<PathBuf, PathBuf>,
    root: &Path,
) -> Result<CommandLine, String> {
    let words: Vec<String> = words.iter().map(|word| expand(word, &env)).collect();
    let Some((first, rest)) = words.split_first() else {
        return Err("no command specified".to_owned());
    };
    let directory = map_path(directory, mounts, root).unwrap_or_else(|| root.to_owned());
    let image_path = env.get("PATH").cloned().unwrap_or_else(|| {
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()
    });
    let host_path = host_path();
    let mut folders: Vec<PathBuf> = image_path
        .split(':')
        .filter_map(|folder| map_path(folder, mounts, root))
        .collect();
    let program = if first.contains('/') {
        let absolute = Path::new(first).is_absolute();
        let mapped = if absolute {
            map_path(first, mounts, root)
        } else {
            Some(directory.join(first))
        };
        // Shells and the like, which the stand-in images do not hold, are this machine's.
        mapped
            .filter(|path| path.is_file())
            .or_else(|| Some(PathBuf::from(first)).filter(|path| path.is_file()))
    } else {
        folders
            .iter()
            .cloned()
            .chain(host_path.split(':').map(PathBuf::from))
            .map(|folder| folder.join(first))
            .find(|candidate| candidate.is_file())
    };
    let program = program
        .ok_or_else(|| format!("exec: \"{first}\": executable file not found in $PATH: unknown"))?;
    folders.extend(host_path.split(':').map(PathBuf::from));
    let joined = std::env::join_paths(folders).map_err(|error| error.to_string())?;
    env.insert("PATH".to_owned(), joined.to_string_lossy().into_owned());
    // What a script of an image needs to find this machine's interpreter behind its own name.
    env.insert("MESHCTL_HOST_PATH".to_owned(), host_path);
    let map = |word: &String| match map_path(word, mounts, root) {
        Some(path) => path.to_string_lossy().into_owned(),
        None => word.clone(),
    };
    // Files that the environment names (tokens, certificates) lie below mounts.
    let no_image = Path::new("/nonexistent");
    for value in env.values_mut() {
        if let Some(path) = map_path(value, mounts, no_image) {
            *value = path.to_string_lossy().into_owned();
        }
    }
    Ok(CommandLine {
        program,
        args: rest.iter().map(map).collect(),
        env,
        directory,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_as_kubernetes_has_it() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(
            expand("$(A)-$(B)-$$(A)-$A-$", &variables),
            "1-$(B)-$(A)-$A-$"
        );
    }

    #[test]
    fn quantities() {
        assert_eq!(quantity("250m"), 0.25);
        assert_eq!(quantity("64Mi"), 67_108_864.0);
        assert_eq!(quantity("2"), 2.0);
        assert_eq!(quantity("nonsense"), 0.0);
    }

    #[test]
    fn paths_lead_into_mounts_then_the_image_then_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        std::fs::create_dir_all(root.join("app")).unwrap();
        std::fs::write(root.join("app/main.py"), "").unwrap();
        let mounts = BTreeMap::from([(PathBuf::from("/etc/certs"), PathBuf::from("/volumes/x"))]);
        let map = |path| map_path(path, &mounts, &root);
        assert_eq!(map("/app/main.py"), Some(root.join("app/main.py")));
        assert_eq!(
            map("/etc/certs/tls.crt"),
            Some(PathBuf::from("/volumes/x/tls.crt"))
        );
        assert_eq!(map("/etc/passwd"), None);
        assert_eq!(map("/"), None);
        assert_eq!(map("/app/../../x"), None);
    }
}
