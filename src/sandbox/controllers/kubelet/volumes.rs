//! Volumes of a pod as folders of this machine: secrets, config maps, projected tokens, downward API, empty folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret,
    ServiceAccount, ServiceAccountTokenProjection,
};
use kube::Api;
use kube::api::PostParams;

use super::Kubelet;
use super::environment::{Seen, field_value};

/// The files of one volume by their path within it.
type Files = BTreeMap<String, Vec<u8>>;

/// Makes all volumes of a pod, or says what is missing in the words of `FailedMount`.
pub async fn make(kubelet: &Kubelet, pod: &Pod, folder: &Path, seen: &Seen) -> Result<(), String> {
    let maker = Maker::new(kubelet, pod, seen);
    for volume in pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
    {
        let target = folder.join(&volume.name);
        let files = maker.files(volume).await.map_err(|why| {
            format!(
                "MountVolume.SetUp failed for volume \"{}\" : {why}",
                volume.name
            )
        })?;
        write(&target, &files).map_err(|error| format!("volume \"{}\": {error}", volume.name))?;
    }
    Ok(())
}

/// Whether a pod has projected tokens, which are to be renewed.
pub fn has_tokens(pod: &Pod) -> bool {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| projected.sources.iter().flatten())
        .any(|source| source.service_account_token.is_some())
}

/// Mount paths of a container and the host's path behind each.
pub fn mounts(container: &Container, folder: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts
        .map(|mount| {
            let volume = folder.join(&mount.name);
            let host = match mount
                .sub_path
                .as_deref()
                .filter(|path| !path.is_empty() && !path.contains(".."))
            {
                Some(path) => volume.join(path),
                None => volume,
            };
            (PathBuf::from(&mount.mount_path), host)
        })
        .collect()
}

struct Maker<'a> {
    kubelet: &'a Kubelet,
    pod: &'a Pod,
    seen: &'a Seen,
    namespace: &'a str,
}

impl<'a> Maker<'a> {
    fn new(kubelet: &'a Kubelet, pod: &'a Pod, seen: &'a Seen) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        Maker {
            kubelet,
            pod,
            seen,
            namespace,
        }
    }

    async fn files(&self, volume: &k8s_openapi::api::core::v1::Volume) -> Result<Files, String> {
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let files = self.secret(name, source.optional).await?;
            return pick(files, source.items.as_deref(), source.optional, name);
        }
        if let Some(source) = &volume.config_map {
            let files = self.config_map(&source.name, source.optional).await?;
            return pick(
                files,
                source.items.as_deref(),
                source.optional,
                &source.name,
            );
        }
        if let Some(source) = &volume.downward_api {
            return self.downward(source.items.as_deref().unwrap_or_default());
        }
        if let Some(source) = &volume.projected {
            return self.projected(source).await;
        }
        // An empty folder; a host path too gets one of its own, since a pod has no business in this machine's files.
        Ok(Files::new())
    }

    async fn projected(&self, volume: &ProjectedVolumeSource) -> Result<Files, String> {
        let mut all = Files::new();
        for source in volume.sources.iter().flatten() {
            if let Some(token) = &source.service_account_token {
                all.insert(token.path.clone(), self.token(token).await?);
            }
            if let Some(secret) = &source.secret {
                let files = self.secret(&secret.name, secret.optional).await?;
                all.extend(pick(
                    files,
                    secret.items.as_deref(),
                    secret.optional,
                    &secret.name,
                )?);
            }
            if let Some(map) = &source.config_map {
                let files = self.config_map(&map.name, map.optional).await?;
                all.extend(pick(files, map.items.as_deref(), map.optional, &map.name)?);
            }
            if let Some(downward) = &source.downward_api {
                all.extend(self.downward(downward.items.as_deref().unwrap_or_default())?);
            }
        }
        Ok(all)
    }

    async fn token(&self, projection: &ServiceAccountTokenProjection) -> Result<Vec<u8>, String> {
        let account = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or("default");
        let reference = k8s_openapi::api::authentication::v1::BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: self.pod.metadata.name.clone(),
            uid: self.pod.metadata.uid.clone(),
        };
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(projection.audience.iter().cloned().collect()),
                expiration_seconds: projection.expiration_seconds,
                bound_object_ref: Some(reference),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.kubelet.client.clone(), self.namespace);
        let answer = api
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .map_err(|error| format!("failed to fetch token: {error}"))?;
        let token = answer
            .status
            .and_then(|status| status.token)
            .unwrap_or_default();
        Ok(token.into_bytes())
    }

    fn downward(&self, items: &[DownwardAPIVolumeFile]) -> Result<Files, String> {
        let fields = items
            .iter()
            .filter_map(|item| Some((&item.path, item.field_ref.as_ref()?)));
        fields
            .map(|(path, field)| {
                Ok((
                    path.clone(),
                    field_value(self.pod, field, self.seen)?.into_bytes(),
                ))
            })
            .collect()
    }

    async fn secret(&self, name: &str, optional: Option<bool>) -> Result<Files, String> {
        let api: Api<Secret> = Api::namespaced(self.kubelet.client.clone(), self.namespace);
        match api.get_opt(name).await.map_err(|error| error.to_string())? {
            Some(secret) => {
                let data = secret.data.unwrap_or_default().into_iter();
                Ok(data.map(|(key, value)| (key, value.0)).collect())
            }
            None if optional == Some(true) => Ok(Files::new()),
            None => Err(format!("secret \"{name}\" not found")),
        }
    }

    async fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Files, String> {
        let api: Api<ConfigMap> = Api::namespaced(self.kubelet.client.clone(), self.namespace);
        match api.get_opt(name).await.map_err(|error| error.to_string())? {
            Some(map) => {
                let text = map.data.unwrap_or_default().into_iter();
                let mut files: Files = text.map(|(key, value)| (key, value.into_bytes())).collect();
                let binary = map.binary_data.unwrap_or_default().into_iter();
                files.extend(binary.map(|(key, value)| (key, value.0)));
                Ok(files)
            }
            None if optional == Some(true) => Ok(Files::new()),
            None => Err(format!("configmap \"{name}\" not found")),
        }
    }
}

fn pick(
    mut files: Files,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    name: &str,
) -> Result<Files, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(files);
    };
    let mut picked = Files::new();
    for item in items {
        match files.remove(&item.key) {
            Some(content) => drop(picked.insert(item.path.clone(), content)),
            None if optional == Some(true) => {}
            None => return Err(format!("references non-existent {name} key: {}", item.key)),
        }
    }
    Ok(picked)
}

/// Writes what changed, each file renamed into place. Only the user can read them: there are keys among them.
fn write(folder: &Path, files: &Files) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let make = |path: &Path| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
    };
    make(folder)?;
    for (path, content) in files {
        let relative = Path::new(path);
        let climbs = relative
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_)));
        if climbs {
            return Err(std::io::Error::other(format!(
                "{path} leads out of the volume"
            )));
        }
        let target = folder.join(relative);
        if std::fs::read(&target).is_ok_and(|present| present == *content) {
            continue;
        }
        if let Some(parent) = target.parent() {
            make(parent)?;
        }
        let temporary = folder.join(format!(".{:016x}", fastrand::u64(..)));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        std::io::Write::write_all(&mut file, content)?;
        std::fs::rename(&temporary, &target)?;
    }
    Ok(())
}
