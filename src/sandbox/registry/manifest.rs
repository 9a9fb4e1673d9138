//! Image manifests, as much as a registry has to know of them.

use serde_json::Value;

use super::store::is_digest;

/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a manifest refers to.
#[derive(Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its own media type.
    pub media_type: String,
    /// The artifact's type, or the config's where that is no image's.
    pub artifact_type: Option<String>,
    /// Digests of its config and layers.
    pub blobs: Vec<String>,
    /// Digests of the manifests in an index.
    pub manifests: Vec<String>,
}

fn digests(list: &Value, into: &mut Vec<String>) -> Result<(), String> {
    for descriptor in list.as_array().into_iter().flatten() {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        if !is_digest(digest) {
            return Err(format!("'{digest}' is not a sha256 digest"));
        }
        if descriptor["size"].as_u64().is_none() {
            return Err(format!("the size of {digest} is missing"));
        }
        if !into.iter().any(|known| known == digest) {
            into.push(digest.to_owned());
        }
    }
    Ok(())
}

impl Manifest {
    /// Reads and checks a manifest. `media_type` is what its sender calls it.
    pub fn read(bytes: &[u8], media_type: Option<&str>) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if value["schemaVersion"] != 2 {
            return Err("schemaVersion must be 2".to_owned());
        }
        let own = value["mediaType"].as_str();
        if let (Some(own), Some(said)) = (own, media_type)
            && own != said
        {
            return Err(format!("its mediaType is {own}, and it was sent as {said}"));
        }
        let media_type = own.or(media_type).ok_or("its media type is not said")?;
        let (mut blobs, mut manifests) = (Vec::new(), Vec::new());
        match media_type {
            OCI_INDEX | DOCKER_LIST => {
                if !value["manifests"].is_array() {
                    return Err("manifests is missing".to_owned());
                }
                digests(&value["manifests"], &mut manifests)?;
            }
            OCI_MANIFEST | DOCKER_MANIFEST => {
                if !value["config"].is_object() || !value["layers"].is_array() {
                    return Err("config or layers is missing".to_owned());
                }
                digests(&Value::Array(vec![value["config"].clone()]), &mut blobs)?;
                digests(&value["layers"], &mut blobs)?;
            }
            other => return Err(format!("media type {other} is not supported")),
        }
        let config = value["config"]["mediaType"].as_str();
        Ok(Manifest {
            media_type: media_type.to_owned(),
            artifact_type: value["artifactType"].as_str().or(config).map(str::to_owned),
            blobs,
            manifests,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_manifests_are_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"schemaVersion":1}"#,
            r#"{"schemaVersion":2,"mediaType":"text/html"}"#,
            r#"{"schemaVersion":2,"config":{"digest":"sha256:../../etc/passwd","size":1},"layers":[]}"#,
            r#"{"schemaVersion":2,"config":{},"layers":[]}"#,
            r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:aa","size":1}]}"#,
        ] {
            assert!(Manifest::read(text.as_bytes(), None).is_err(), "{text}");
        }
        let lying = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        assert!(Manifest::read(lying.as_bytes(), Some(OCI_MANIFEST)).is_err());
        let silent = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(Manifest::read(silent.as_bytes(), None).is_err());
        assert!(Manifest::read(silent.as_bytes(), Some(OCI_INDEX)).is_ok());
        assert!(Manifest::read(lying.as_bytes(), Some(OCI_INDEX)).is_ok());
    }
}
