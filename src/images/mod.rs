//! Images without Docker: a base image and one reproducible layer with the service's files.
//!
//! The same files on the same base give the same image, byte for byte, on any machine and on any day; its tag is made
//! from its content, so nothing is ever built or pushed twice.

mod files;
mod layer;

use oci_client::manifest::{OciDescriptor, OciImageManifest};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub use files::Files;
pub use layer::Layer;

use crate::clients::hex;
use crate::clients::registry::{Blob, Content, Pinned, PlatformImage};
use crate::engine::{Failure, Result};

/// Changes whenever the same inputs would make another image.
const FORMAT: &str = "1";
/// The media type of the manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Nobody on the nodes; a number, so that Kubernetes can tell that it is not root.
const USER: &str = "65532:65532";
/// Where the files go.
const DIRECTORY: &str = "/app";

/// The machines an image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Intel and AMD.
    Amd64,
    /// Graviton.
    Arm64,
}

impl Platform {
    /// The platform of EC2 instance types. Graviton's have a `g` after the generation: `m7g.large`, `c6gn.xlarge`.
    pub fn of_instances(types: &[String]) -> Self {
        let is_arm = |instance: &String| {
            let family = instance.split('.').next().unwrap_or_default();
            let letters = family.trim_start_matches(|char: char| char.is_ascii_alphabetic());
            let suffix = letters.trim_start_matches(|char: char| char.is_ascii_digit());
            family == "a1" || suffix.starts_with('g')
        };
        if types.first().is_some_and(is_arm) {
            Platform::Arm64
        } else {
            Platform::Amd64
        }
    }

    /// As images name it.
    pub fn architecture(self) -> &'static str {
        match self {
            Platform::Amd64 => "amd64",
            Platform::Arm64 => "arm64",
        }
    }
}

/// What an image is made of, known before anything is read but the base's digest.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The base image.
    pub base: Pinned,
    /// The machines it runs on.
    pub platform: Platform,
    /// The service's name, for the labels.
    pub service: String,
    /// The service's files.
    pub layer: Layer,
}

/// An image ready to be pushed.
pub struct Built {
    /// The manifest's digest, which is the image's.
    pub digest: String,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// What the manifest names.
    pub blobs: Vec<Blob>,
}

impl Recipe {
    /// The tag of what comes out: the same for the same content.
    pub fn tag(&self) -> String {
        let mut hash = Sha256::new();
        for part in [
            FORMAT,
            &self.base.digest,
            self.platform.architecture(),
            &self.service,
            &self.layer.diff_id,
        ] {
            hash.update(part);
            hash.update([0]);
        }
        format!("content-{}", &hex(&hash.finalize())[..32])
    }

    /// Puts the layer on the base.
    ///
    /// # Errors
    /// A base whose configuration cannot be read, or that is for other machines.
    pub fn build(&self, base: &PlatformImage) -> Result<Built> {
        let unusable = |why: String| Failure::new(format!("image {}", self.base.name), why);
        let mut config: Value = serde_json::from_str(&base.config)
            .map_err(|error| unusable(format!("its configuration is no JSON: {error}")))?;
        let architecture = config["architecture"].as_str().unwrap_or_default();
        if architecture != self.platform.architecture() {
            return Err(unusable(format!(
                "it is for {architecture}, the nodes are {}",
                self.platform.architecture()
            )));
        }
        self.configure(&mut config);
        let config = config.to_string().into_bytes();
        let mut layers: Vec<OciDescriptor> = base.manifest.layers.clone();
        for layer in &mut layers {
            // The same bytes under either name; a manifest should not mix them.
            if layer.media_type == "application/vnd.docker.image.rootfs.diff.tar.gzip" {
                layer.media_type = LAYER.to_owned();
            }
        }
        let mut blobs: Vec<Blob> = layers
            .iter()
            .map(|descriptor| Blob {
                descriptor: descriptor.clone(),
                content: Content::Elsewhere(self.base.clone()),
            })
            .collect();
        let own = descriptor(LAYER, &self.layer.digest, self.layer.data.len());
        blobs.push(Blob {
            descriptor: own.clone(),
            content: Content::Bytes(self.layer.data.clone().into()),
        });
        layers.push(own);
        let config_descriptor = descriptor(CONFIG, &digest(&config), config.len());
        blobs.push(Blob {
            descriptor: config_descriptor.clone(),
            content: Content::Bytes(config.into()),
        });
        let manifest = OciImageManifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: config_descriptor,
            layers,
            subject: None,
            artifact_type: None,
            annotations: None,
        };
        let manifest = serde_json::to_vec(&manifest)
            .map_err(|error| unusable(format!("its manifest cannot be written: {error}")))?;
        Ok(Built {
            digest: digest(&manifest),
            manifest,
            blobs,
        })
    }

    fn configure(&self, config: &mut Value) {
        let labels = object(&mut config["config"]["Labels"]);
        labels.insert(
            "org.opencontainers.image.title".into(),
            self.service.clone().into(),
        );
        labels.insert(
            "org.opencontainers.image.base.name".into(),
            self.base.name.clone().into(),
        );
        labels.insert(
            "org.opencontainers.image.base.digest".into(),
            self.base.digest.clone().into(),
        );
        let own = object(&mut config["config"]);
        own.insert("Entrypoint".into(), json!(["python3", "/app/main.py"]));
        own.remove("Cmd");
        own.insert("WorkingDir".into(), DIRECTORY.into());
        own.insert("User".into(), USER.into());
        if let Value::Array(environment) = own.entry("Env").or_insert_with(|| json!([])) {
            // Logs leave the container when they are written, and no bytecode is left beside read-only files.
            environment.push("PYTHONUNBUFFERED=1".into());
            environment.push("PYTHONDONTWRITEBYTECODE=1".into());
        }
        if let Value::Array(layers) = &mut config["rootfs"]["diff_ids"] {
            layers.push(self.layer.diff_id.clone().into());
        }
        if let Value::Array(history) = &mut config["history"] {
            history.push(json!({
                "created": "1970-01-01T00:00:00Z",
                "created_by": format!("meshctl: files of {}", self.service),
            }));
        }
    }
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object"),
    }
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_owned(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graviton_is_told_by_its_letter() {
        let platform = |name: &str| Platform::of_instances(&[name.to_owned()]);
        assert_eq!(platform("m5.large"), Platform::Amd64);
        assert_eq!(platform("g4dn.xlarge"), Platform::Amd64);
        assert_eq!(platform("m7g.large"), Platform::Arm64);
        assert_eq!(platform("c6gn.medium"), Platform::Arm64);
        assert_eq!(platform("m7i-flex.large"), Platform::Amd64);
    }
}
