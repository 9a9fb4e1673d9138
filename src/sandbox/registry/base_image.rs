//! The base image of the demo services, `docker/library/python:3.13-slim`: a real image index for two architectures, each
//! with one small layer in which `/usr/local/bin/python3` is a script that runs the host's Python. The same bytes come out
//! at every start.

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::manifest::{OCI_INDEX, OCI_MANIFEST};
use super::store::digest;

/// The repository.
pub const REPOSITORY: &str = "docker/library/python";
/// Its tags, all of the one image.
pub const TAGS: [&str; 3] = ["3.13-slim", "3.13-slim-bookworm", "3.13-slim-trixie"];

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CREATED: &str = "2026-11-03T00:00:00Z";
const PATH: &str = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Looks for the host's interpreter along PATH, past itself; a second one of its kind on PATH must not send it back.
const SHIM: &str = r#"#!/bin/sh
# Stands for the interpreter of the real image: runs the host's.
if [ -z "$MESHCTL_PYTHON" ]; then
    export MESHCTL_PYTHON=host
    IFS=:
    for folder in $PATH; do
        if [ -x "$folder/python3" ] && ! [ "$folder/python3" -ef "$0" ]; then
            unset IFS
            exec "$folder/python3" "$@"
        fi
    done
    unset IFS
fi
for folder in /usr/local/bin /usr/bin /opt/homebrew/bin; do
    if [ -x "$folder/python3" ] && ! [ "$folder/python3" -ef "$0" ]; then
        exec "$folder/python3" "$@"
    fi
done
echo "python3: there is no Python on this host" >&2
exit 127
"#;

const RELEASE: &str =
    "PRETTY_NAME=\"Debian GNU/Linux (sandbox base image)\"\nNAME=\"Debian GNU/Linux\"\nID=debian\n";
const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

/// The base image.
pub struct BaseImage {
    /// The digest of the index, which the tags are on.
    pub index: String,
    /// Index and manifests by digest, with their media types.
    pub manifests: BTreeMap<String, (&'static str, Vec<u8>)>,
    /// Configs and layers by digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
}

fn archive() -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let header = |kind, mode: u32, size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    for folder in ["etc/", "tmp/", "usr/", "usr/local/", "usr/local/bin/"] {
        let mode = if folder == "tmp/" { 0o1777 } else { 0o755 };
        archive.append_data(
            &mut header(tar::EntryType::Directory, mode, 0),
            folder,
            io::empty(),
        )?;
    }
    for (path, mode, text) in [
        ("etc/os-release", 0o644, RELEASE),
        ("etc/passwd", 0o644, PASSWD),
        ("usr/local/bin/python3", 0o755, SHIM),
    ] {
        let mut header = header(tar::EntryType::Regular, mode, text.len() as u64);
        archive.append_data(&mut header, path, text.as_bytes())?;
    }
    for link in ["usr/local/bin/python", "usr/local/bin/python3.13"] {
        archive.append_link(
            &mut header(tar::EntryType::Symlink, 0o777, 0),
            link,
            "python3",
        )?;
    }
    archive.into_inner()
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    writer.finish()
}

impl BaseImage {
    /// Builds the image.
    pub fn build() -> io::Result<Self> {
        let mut image = BaseImage {
            index: String::new(),
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
        };
        let plain = archive()?;
        let diff = digest(&plain);
        let layer = image.add_blob(LAYER, compress(&plain)?);
        let mut descriptors = Vec::new();
        for (architecture, variant) in [("amd64", None), ("arm64", Some("v8"))] {
            let config = json!({
                "architecture": architecture,
                "variant": variant,
                "config": {
                    "Env": [format!("PATH={PATH}"), "LANG=C.UTF-8", "PYTHON_VERSION=3.13.9"],
                    "Cmd": ["python3"],
                },
                "created": CREATED,
                "history": [{ "created": CREATED, "created_by": "the sandbox's stand-in for python:3.13-slim" }],
                "os": "linux",
                "rootfs": { "type": "layers", "diff_ids": [diff] },
            });
            let config = image.add_blob(CONFIG, without_nulls(config).to_string().into_bytes());
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": config,
                "layers": [layer],
            });
            let mut descriptor = image.add_manifest(OCI_MANIFEST, &manifest);
            descriptor["platform"] = without_nulls(json!({
                "architecture": architecture, "os": "linux", "variant": variant }));
            descriptors.push(descriptor);
        }
        // Docker's official images carry a statement of origin for each platform, under a platform that is none.
        let statement = json!({ "_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2" });
        let statement = image.add_blob(
            "application/vnd.in-toto+json",
            statement.to_string().into_bytes(),
        );
        let config = json!({ "architecture": "unknown", "os": "unknown", "config": {}, "rootfs": { "type": "layers", "diff_ids": [statement["digest"]] } });
        let config = image.add_blob(CONFIG, config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [statement] });
        let mut descriptor = image.add_manifest(OCI_MANIFEST, &manifest);
        descriptor["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
        descriptor["annotations"] = json!({
            "vnd.docker.reference.digest": descriptors[0]["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        });
        descriptors.push(descriptor);
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors });
        let descriptor = image.add_manifest(OCI_INDEX, &index);
        image.index = descriptor["digest"].as_str().unwrap_or_default().to_owned();
        Ok(image)
    }

    fn add_blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        self.blobs.insert(digest, bytes);
        descriptor
    }

    fn add_manifest(&mut self, media_type: &'static str, manifest: &Value) -> Value {
        let bytes = manifest.to_string().into_bytes();
        let digest = digest(&bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        self.manifests.insert(digest, (media_type, bytes));
        descriptor
    }
}

fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, value| !value.is_null());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_image_comes_out_every_time() -> io::Result<()> {
        let (first, second) = (BaseImage::build()?, BaseImage::build()?);
        assert_eq!(first.index, second.index);
        assert_eq!(first.blobs, second.blobs);
        for (digest, (_, bytes)) in &first.manifests {
            assert_eq!(*digest, super::digest(bytes));
        }
        Ok(())
    }
}
