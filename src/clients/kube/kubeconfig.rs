//! A kubeconfig entry for the cluster: merged into the user's file, never switching the current context.

use std::io::Write;
use std::path::Path;

use serde_yaml::{Mapping, Value};

use crate::engine::{Failure, FailureKind, Result};

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// The cluster's name in EKS, which names the entry too.
    pub cluster: String,
    /// The API server's URL.
    pub endpoint: String,
    /// The API server's certificate authority: base64 of PEM.
    pub certificate_authority: String,
    /// The namespace of the services.
    pub namespace: String,
    /// The program that makes tokens: meshctl's own path.
    pub command: String,
    /// Its arguments: `token --cluster-name …`.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
}

/// Merges the entry into the text of a kubeconfig file (empty for none) and leaves all else as it is. With
/// `use_context`, or where there is no current context, the entry's becomes it: only asked for, or in a file of our own.
///
/// # Errors
/// Text that is not a kubeconfig.
pub fn merge(text: &str, entry: &Kubeconfig, use_context: bool) -> Result<String> {
    let mut file = parse(text)?;
    let fresh = file.is_empty();
    let root = &mut file;
    root.entry("apiVersion".into()).or_insert("v1".into());
    root.entry("kind".into()).or_insert("Config".into());
    let cluster = yaml(serde_json::json!({
        "server": entry.endpoint,
        "certificate-authority-data": entry.certificate_authority,
    }));
    let environment: Vec<_> = entry
        .environment
        .iter()
        .map(|(name, value)| serde_json::json!({"name": name, "value": value}))
        .collect();
    let user = yaml(serde_json::json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": entry.command,
        "args": entry.arguments,
        "env": environment,
        "interactiveMode": "Never",
    }}));
    let context = yaml(serde_json::json!({
        "cluster": entry.cluster,
        "user": entry.cluster,
        "namespace": entry.namespace,
    }));
    put(root, "clusters", &entry.cluster, "cluster", cluster)?;
    put(root, "users", &entry.cluster, "user", user)?;
    put(root, "contexts", &entry.cluster, "context", context)?;
    if use_context || fresh {
        root.insert("current-context".into(), entry.cluster.as_str().into());
    }
    print(&file)
}

/// Takes the entry of `cluster` out again; the current context only when it was that entry.
///
/// # Errors
/// Text that is not a kubeconfig.
pub fn remove(text: &str, cluster: &str) -> Result<String> {
    let mut file = parse(text)?;
    for list in ["clusters", "users", "contexts"] {
        if let Some(Value::Sequence(entries)) = file.get_mut(list) {
            entries.retain(|entry| entry.get("name").and_then(Value::as_str) != Some(cluster));
        }
    }
    if file.get("current-context").and_then(Value::as_str) == Some(cluster) {
        file.insert("current-context".into(), "".into());
    }
    print(&file)
}

/// Writes the text in the file's place, whole or not at all, readable by its owner only.
///
/// # Errors
/// What the file system says.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let failure = |error: std::io::Error| {
        Failure::of(
            FailureKind::Input,
            format!("kubeconfig {}", path.display()),
            error,
        )
        .hint("name another file with --path")
    };
    // A symlink stays one: what it points to is replaced.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failure)?;
    }
    // The folder may be one that others write to, too: a file or link that somebody put there is never opened.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}", fastrand::u64(..)));
    let temporary = path.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = &written
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(failure)
}

fn parse(text: &str) -> Result<Mapping> {
    let failure = |message: String| {
        Failure::of(FailureKind::Input, "kubeconfig", message)
            .hint("repair the file or name another with --path")
    };
    match serde_yaml::from_str(text) {
        Ok(Value::Null) => Ok(Mapping::new()),
        Ok(Value::Mapping(file)) => Ok(file),
        Ok(_) => Err(failure("is not a kubeconfig".into())),
        Err(error) => Err(failure(error.to_string())),
    }
}

fn put(root: &mut Mapping, list: &str, name: &str, field: &str, value: Value) -> Result<()> {
    let entries = root
        .entry(list.into())
        .or_insert(Value::Sequence(Vec::new()));
    if entries.is_null() {
        *entries = Value::Sequence(Vec::new());
    }
    let Value::Sequence(entries) = entries else {
        let message = format!("{list} is not a list");
        return Err(Failure::of(FailureKind::Input, "kubeconfig", message));
    };
    let mut entry = Mapping::new();
    entry.insert("name".into(), name.into());
    entry.insert(field.into(), value);
    let entry = Value::Mapping(entry);
    match entries
        .iter_mut()
        .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
    {
        Some(old) => *old = entry,
        None => entries.push(entry),
    }
    Ok(())
}

fn yaml(value: serde_json::Value) -> Value {
    serde_yaml::to_value(value).unwrap_or(Value::Null)
}

fn print(file: &Mapping) -> Result<String> {
    serde_yaml::to_string(file).map_err(|error| Failure::new("kubeconfig", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Kubeconfig {
        Kubeconfig {
            cluster: "meshctl-demo".into(),
            endpoint: "https://example.eks".into(),
            certificate_authority: "QQ==".into(),
            namespace: "demo".into(),
            command: "meshctl".into(),
            arguments: vec![
                "token".into(),
                "--cluster-name".into(),
                "meshctl-demo".into(),
            ],
            environment: Vec::new(),
        }
    }

    const OTHER: &str = "apiVersion: v1\nkind: Config\npreferences: {colors: true}\nclusters:\n- name: work\n  cluster: {server: https://work}\nusers: null\ncontexts:\n- name: work\n  context: {cluster: work, user: me}\ncurrent-context: work\n";

    #[test]
    fn the_users_entries_and_current_context_stay() {
        let merged = merge(OTHER, &entry(), false).expect("merged");
        let file: Value = serde_yaml::from_str(&merged).expect("yaml");
        assert_eq!(file["current-context"], "work");
        assert_eq!(file["preferences"]["colors"], true);
        assert_eq!(file["clusters"][0]["name"], "work");
        assert_eq!(
            file["clusters"][1]["cluster"]["server"],
            "https://example.eks"
        );
        assert_eq!(file["users"][0]["user"]["exec"]["args"][0], "token");
        // Again changes nothing; removed, all is as before.
        assert_eq!(merge(&merged, &entry(), false).expect("merged"), merged);
        let file: Value =
            serde_yaml::from_str(&remove(&merged, "meshctl-demo").expect("removed")).expect("yaml");
        assert_eq!(file["clusters"].as_sequence().map(Vec::len), Some(1));
        assert_eq!(file["current-context"], "work");
    }

    #[test]
    fn an_empty_file_gets_a_current_context_and_a_broken_one_is_refused() {
        let file: Value =
            serde_yaml::from_str(&merge("", &entry(), false).expect("merged")).expect("yaml");
        assert_eq!(file["current-context"], "meshctl-demo");
        assert!(merge("- a\n", &entry(), false).is_err());
        assert!(merge("clusters: {a: b}", &entry(), false).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_what_is_written() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/config");
        write(&path, "a: b\n").expect("written");
        write(&path, "a: c\n").expect("written again");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "a: c\n");
        assert_eq!(
            std::fs::read_dir(path.parent().expect("folder"))
                .expect("folder")
                .count(),
            1
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_others_put_beside_the_file_is_not_written_through() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("config");
        let (mine, planted) = (folder.path().join("mine"), std::process::id());
        std::fs::write(&mine, "precious").expect("written");
        let planted = folder.path().join(format!("config.{planted}"));
        std::os::unix::fs::symlink(&mine, planted).expect("planted");
        write(&path, "a: b\n").expect("written");
        let read = |path| std::fs::read_to_string(path).expect("there");
        assert_eq!(
            (read(&mine), read(&path)),
            ("precious".into(), "a: b\n".into())
        );
        assert!(!path.is_symlink());
    }
}
