//! Pulling images over the registry API and unpacking them; one read-only folder per image, shared by all pods.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::sandbox::controllers::repository;
use crate::sandbox::data_plane::aws::http;

/// The largest layer or manifest that is taken.
const LARGEST_BLOB: u64 = 2 << 30;
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Why there is no image; the text goes into events and statuses.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The reference is no reference.
    #[error("couldn't parse image name \"{0}\": invalid reference format")]
    Reference(String),
    /// The registry does not have it, or does not say whether it has.
    #[error("{0}")]
    Pull(String),
    /// The image cannot be unpacked here.
    #[error("failed to extract layer: {0}")]
    Unpack(String),
}

/// An image on this node.
#[derive(Debug)]
pub struct Image {
    /// `REGISTRY/REPOSITORY@sha256:…`, as statuses show it.
    pub id: String,
    /// The unpacked file system.
    pub root: PathBuf,
    /// How it wants to be run.
    pub config: Config,
}

/// The part of the image configuration that matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// What is run.
    pub entrypoint: Option<Vec<String>>,
    /// Its default arguments.
    pub cmd: Option<Vec<String>>,
    /// Where it is run.
    pub working_dir: String,
}

/// A reference taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Reference {
    /// `127.0.0.1:5000`, `public.ecr.aws`.
    pub registry: String,
    /// `meshctl-demo/backend`.
    pub repository: String,
    /// A tag or `sha256:…`.
    pub version: String,
}

impl Reference {
    /// Takes an image reference apart; without a registry it is Docker Hub's, without a version `latest`.
    pub fn parse(image: &str) -> Result<Reference, Error> {
        let bad = || Error::Reference(image.to_owned());
        let name = repository(image);
        let rest = &image[name.len()..];
        let version = match rest.find('@') {
            Some(at) => &rest[at + 1..],
            None => rest.strip_prefix(':').unwrap_or("latest"),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, path.to_owned())
            }
            Some(_) => ("docker.io", name.to_owned()),
            None => ("docker.io", format!("library/{name}")),
        };
        let fine = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
                })
                && !part.starts_with('.')
        };
        let version_is_fine = !version.is_empty()
            && version
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte));
        if !path.split('/').all(fine) || !version_is_fine {
            return Err(bad());
        }
        Ok(Reference {
            registry: registry.to_owned(),
            repository: path,
            version: version.to_owned(),
        })
    }
}

/// The images of one sandbox's nodes, under one folder.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
    unpacking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Where to ask and how to be let in.
#[derive(Debug, Clone)]
pub struct Source {
    /// `http://127.0.0.1:PORT`.
    pub base: String,
    /// The value of the Authorization header.
    pub authorization: Option<String>,
}

impl Images {
    /// Images kept in a folder.
    pub fn new(folder: PathBuf) -> Images {
        Images {
            folder,
            unpacking: Mutex::default(),
        }
    }

    /// Pulls what is not here yet and answers the image.
    pub async fn pull(&self, reference: &Reference, source: &Source) -> Result<Image, Error> {
        let name = format!("{}/{}", reference.registry, reference.repository);
        let (digest, manifest) = self.manifest(reference, source, &reference.version).await?;
        let config_digest = text(&manifest, "/config/digest")?;
        let config = self.blob(reference, source, config_digest).await?;
        let config: Value = serde_json::from_slice(&config)
            .map_err(|error| Error::Pull(format!("image config: {error}")))?;
        let folder = self.folder.join(digest.replace(':', "-"));
        let root = folder.join("rootfs");
        let turn = {
            let mut unpacking = self
                .unpacking
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            unpacking.entry(digest.clone()).or_default().clone()
        };
        let _turn = turn.lock().await;
        if !root.is_dir() {
            let work =
                self.folder
                    .join(format!(".{}-{:08x}", std::process::id(), fastrand::u32(..)));
            let unpacked = self
                .unpack(reference, source, &manifest, &work.join("rootfs"))
                .await;
            let placed = unpacked.and_then(|()| {
                std::fs::rename(&work, &folder)
                    .or_else(|error| match root.is_dir() {
                        // Another sandbox process was faster; its content is the same by its digest.
                        true => Ok(()),
                        false => Err(error),
                    })
                    .map_err(|error| Error::Unpack(error.to_string()))
            });
            if work.exists() {
                let _ = std::fs::remove_dir_all(&work);
            }
            placed?;
        }
        Ok(Image {
            id: format!("{name}@{digest}"),
            root,
            config: serde_json::from_value(config["config"].clone()).unwrap_or_default(),
        })
    }

    async fn unpack(
        &self,
        reference: &Reference,
        source: &Source,
        manifest: &Value,
        root: &Path,
    ) -> Result<(), Error> {
        std::fs::create_dir_all(root).map_err(|error| Error::Unpack(error.to_string()))?;
        let none = Vec::new();
        for layer in manifest["layers"].as_array().unwrap_or(&none) {
            let blob = self
                .blob(reference, source, text(layer, "/digest")?)
                .await?;
            let media_type = layer["mediaType"].as_str().unwrap_or_default().to_owned();
            let root = root.to_owned();
            tokio::task::spawn_blocking(move || unpack_layer(&blob, &media_type, &root))
                .await
                .map_err(|error| Error::Unpack(error.to_string()))??;
        }
        Ok(())
    }

    /// The manifest for this machine's platform and its digest.
    async fn manifest(
        &self,
        reference: &Reference,
        source: &Source,
        version: &str,
    ) -> Result<(String, Value), Error> {
        let path = format!("manifests/{version}");
        let body = fetch(reference, source, &path, Some(MANIFEST_TYPES)).await?;
        let digest = format!("sha256:{}", hexadecimal(&Sha256::digest(&body)));
        if version.starts_with("sha256:") && version != digest {
            return Err(Error::Pull(format!(
                "manifest of {version} has digest {digest}"
            )));
        }
        let manifest: Value = serde_json::from_slice(&body)
            .map_err(|error| Error::Pull(format!("manifest: {error}")))?;
        let Some(entries) = manifest["manifests"].as_array() else {
            return Ok((digest, manifest));
        };
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            _ => "amd64",
        };
        let fits = entries.iter().find(|entry| {
            entry["platform"]["os"] == "linux" && entry["platform"]["architecture"] == architecture
        });
        let chosen = fits
            .and_then(|entry| entry["digest"].as_str())
            .ok_or_else(|| {
                Error::Pull(format!(
                    "no match for platform in manifest: linux/{architecture} not found"
                ))
            })?;
        Box::pin(self.manifest(reference, source, chosen)).await
    }

    async fn blob(
        &self,
        reference: &Reference,
        source: &Source,
        digest: &str,
    ) -> Result<Vec<u8>, Error> {
        let body = fetch(reference, source, &format!("blobs/{digest}"), None).await?;
        let found = format!("sha256:{}", hexadecimal(&Sha256::digest(&body)));
        match found == digest {
            true => Ok(body),
            false => Err(Error::Pull(format!("blob {digest} has digest {found}"))),
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, Error> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| Error::Pull(format!("manifest without {pointer}")))
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn fetch(
    reference: &Reference,
    source: &Source,
    path: &str,
    accept: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let Reference {
        registry,
        repository,
        ..
    } = reference;
    let mut request = http().get(format!("{}/v2/{repository}/{path}", source.base));
    if let Some(authorization) = &source.authorization {
        request = request.header("authorization", authorization);
    }
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let failed = |error: reqwest::Error| {
        Error::Pull(crate::sandbox::data_plane::aws::Error::from(error).to_string())
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let whole = format!("{registry}/{repository}/{path}");
    if status == 404 {
        // The words of containerd, which people search for.
        return Err(Error::Pull(format!("{whole}: not found")));
    }
    if !status.is_success() {
        return Err(Error::Pull(format!(
            "{whole}: unexpected status from GET request: {status}"
        )));
    }
    if response
        .content_length()
        .is_some_and(|length| length > LARGEST_BLOB)
    {
        return Err(Error::Pull(format!("{whole}: too large")));
    }
    Ok(response.bytes().await.map_err(failed)?.to_vec())
}

/// Unpacks one layer on top of what is there. Nothing is written outside of `root`, whatever the archive says: names
/// with `..` are refused, and a link that an earlier entry made is never followed.
fn unpack_layer(blob: &[u8], media_type: &str, root: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::Unpack(error.to_string());
    if media_type.ends_with("zstd") {
        return Err(Error::Unpack(format!(
            "{media_type} is not supported by the sandbox"
        )));
    }
    let reader: Box<dyn Read> = match blob.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(flate2::read::MultiGzDecoder::new(blob)),
        false => Box::new(blob),
    };
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.into_owned();
        let path = inside(root, &name)?;
        if path == root {
            continue;
        }
        let base = path
            .file_name()
            .and_then(|base| base.to_str())
            .unwrap_or_default()
            .to_owned();
        let parent = path.parent().unwrap_or(root).to_owned();
        if base == ".wh..wh..opq" {
            remove_children(&parent).map_err(failed)?;
            continue;
        }
        if let Some(hidden) = base.strip_prefix(".wh.") {
            remove(&parent.join(hidden)).map_err(failed)?;
            continue;
        }
        make_folders(root, &parent).map_err(failed)?;
        let kind = entry.header().entry_type();
        match kind {
            tar::EntryType::Directory => make_folders(root, &path).map_err(failed)?,
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                remove(&path).map_err(failed)?;
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&path)
                    .map_err(failed)?;
                std::io::copy(&mut entry, &mut file).map_err(failed)?;
                use std::os::unix::fs::PermissionsExt;
                // No set-user-id bits; the owner can always read.
                let mode = entry.header().mode().unwrap_or(0o644) & 0o755 | 0o400;
                file.set_permissions(std::fs::Permissions::from_mode(mode))
                    .map_err(failed)?;
            }
            tar::EntryType::Symlink => {
                let target = entry
                    .link_name()
                    .map_err(failed)?
                    .unwrap_or_default()
                    .into_owned();
                remove(&path).map_err(failed)?;
                // There is no chroot: an absolute target means the image's file, not this machine's.
                let target = match target.has_root() {
                    true => inside(root, &target)?,
                    false => {
                        let base = name.parent().unwrap_or(Path::new(""));
                        inside(
                            root,
                            &flatten(&base.join(&target)).ok_or_else(|| escapes(&target))?,
                        )?;
                        target
                    }
                };
                std::os::unix::fs::symlink(target, &path).map_err(failed)?;
            }
            tar::EntryType::Link => {
                let target = entry
                    .link_name()
                    .map_err(failed)?
                    .unwrap_or_default()
                    .into_owned();
                let target = inside(root, &target)?;
                let real = target.canonicalize().map_err(failed)?;
                if !real.starts_with(root.canonicalize().map_err(failed)?) {
                    return Err(escapes(&target));
                }
                remove(&path).map_err(failed)?;
                std::fs::hard_link(real, &path).map_err(failed)?;
            }
            // Devices and pipes need root and serve nobody here.
            _ => {}
        }
    }
    Ok(())
}

fn escapes(path: &Path) -> Error {
    Error::Unpack(format!("{} leads out of the image", path.display()))
}

/// A name of the image below `root`; refused when it climbs.
fn inside(root: &Path, name: &Path) -> Result<PathBuf, Error> {
    let mut path = root.to_owned();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(escapes(name)),
        }
    }
    Ok(path)
}

/// Resolves `..` by the letter; nothing when it climbs above the start.
fn flatten(path: &Path) -> Option<PathBuf> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => drop(parts.pop()?),
            _ => {}
        }
    }
    Some(parts.into_iter().collect())
}

/// Makes folders below `root`, replacing whatever else is in the way, links above all.
fn make_folders(root: &Path, path: &Path) -> std::io::Result<()> {
    let mut current = root.to_owned();
    for part in path
        .strip_prefix(root)
        .unwrap_or(Path::new(""))
        .components()
    {
        current.push(part);
        match current.symlink_metadata() {
            Ok(found) if found.is_dir() => {}
            // usr-merged images have /bin → usr/bin in one layer and files in /bin in the next.
            Ok(found) if found.is_symlink() && stays_inside(root, &current) => {}
            Ok(_) => {
                remove(&current)?;
                std::fs::create_dir(&current)?;
            }
            Err(_) => std::fs::create_dir(&current)?,
        }
    }
    Ok(())
}

fn stays_inside(root: &Path, link: &Path) -> bool {
    match (root.canonicalize(), link.canonicalize()) {
        (Ok(root), Ok(real)) => real.starts_with(root) && real.is_dir(),
        _ => false,
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

fn remove_children(folder: &Path) -> std::io::Result<()> {
    if folder.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        for entry in std::fs::read_dir(folder)? {
            remove(&entry?.path())?;
        }
    }
    Ok(())
}

/// `NAME=value` pairs as a map.
pub fn environment(config: &Config) -> BTreeMap<String, String> {
    config
        .env
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_apart() {
        let parse = |image| Reference::parse(image).unwrap();
        let reference = parse("127.0.0.1:5000/demo/backend@sha256:abc");
        assert_eq!(reference.registry, "127.0.0.1:5000");
        assert_eq!(reference.repository, "demo/backend");
        assert_eq!(reference.version, "sha256:abc");
        assert_eq!(parse("python").repository, "library/python");
        assert_eq!(parse("public.ecr.aws/a/b:1").version, "1");
        assert!(Reference::parse("UPPER/case").is_err());
        assert!(Reference::parse("a/../b").is_err());
    }

    enum Item<'a> {
        File(&'a str, &'a str),
        Link(&'a str, &'a str),
    }

    fn layer(items: &[Item]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for item in items {
            let mut header = tar::Header::new_gnu();
            let (name, target, data) = match item {
                Item::File(name, data) => (name, None, data.as_bytes()),
                Item::Link(name, target) => (name, Some(target), &b""[..]),
            };
            // Written into the header directly, since the builder refuses the names that are tested here.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(data.len() as u64);
            header.set_mode(0o4755);
            if let Some(target) = target {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name(target).unwrap();
            }
            header.set_cksum();
            builder.append(&header, data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        folder
    }

    #[test]
    fn later_layers_replace_and_hide() {
        let folder = folder();
        let root = folder.path().join("root");
        let unpack = |items: &[Item]| unpack_layer(&layer(items), "", &root).unwrap();
        unpack(&[
            Item::File("etc/a", "1"),
            Item::File("etc/b", "1"),
            Item::File("opt/x/y", "1"),
            Item::Link("l", "/etc/a"),
        ]);
        unpack(&[
            Item::File("etc/.wh.b", ""),
            Item::File("opt/.wh..wh..opq", ""),
            Item::File("etc/a", "2"),
        ]);
        assert_eq!(std::fs::read_to_string(root.join("etc/a")).unwrap(), "2");
        assert_eq!(std::fs::read_to_string(root.join("l")).unwrap(), "2");
        assert!(!root.join("etc/b").exists());
        assert!(!root.join("opt/x").exists());
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            root.join("etc/a").metadata().unwrap().permissions().mode() & 0o7777,
            0o755
        );
    }

    #[test]
    fn nothing_is_written_outside_of_the_image() {
        let folder = folder();
        let root = folder.path().join("root");
        let outside = folder.path().join("outside");
        std::fs::create_dir_all(&outside).unwrap();
        for hostile in [
            layer(&[Item::File("../outside/x", "1")]),
            layer(&[Item::File("a/../../outside/x", "1")]),
            layer(&[Item::Link("a", "../outside"), Item::File("a/x", "1")]),
        ] {
            assert!(unpack_layer(&hostile, "", &root).is_err());
        }
        // An absolute link means the image's own folder; what follows stays inside.
        let absolute = layer(&[
            Item::Link("b", outside.to_str().unwrap()),
            Item::File("b/x", "1"),
        ]);
        unpack_layer(&absolute, "", &root).unwrap();
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(root.join("b/x")).unwrap(), "1");
    }
}
