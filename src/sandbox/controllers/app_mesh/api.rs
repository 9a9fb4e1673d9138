//! App Mesh's API as the controller uses it.

use aws_config::SdkConfig;
use serde_json::{Value, json};

use super::super::program::aws::{AwsError, RestJson};
use super::super::runtime::object::{items, text};

/// A resource of App Mesh: where its collection is, how its name is called, its name, and its mesh's owner.
#[derive(Clone, Debug)]
pub struct Address {
    /// `/v20190125/meshes/m/virtualNodes`.
    pub collection: String,
    /// `virtualNodeName`.
    pub field: &'static str,
    /// Its name.
    pub name: String,
    /// The account that owns the mesh, if the Mesh says one.
    pub owner: Option<String>,
}

impl Address {
    fn query(&self) -> String {
        self.owner
            .as_ref()
            .map(|owner| format!("?meshOwner={owner}"))
            .unwrap_or_default()
    }

    fn path(&self) -> String {
        format!("{}/{}{}", self.collection, self.name, self.query())
    }
}

/// A client of App Mesh.
#[derive(Clone, Debug)]
pub struct AppMesh(RestJson);

impl AppMesh {
    /// A client with a pod's credentials.
    pub fn new(config: &SdkConfig) -> Self {
        AppMesh(RestJson::new(config, "appmesh"))
    }

    /// Reads a resource; `None` when there is none.
    pub async fn describe(&self, address: &Address) -> Result<Option<Value>, AwsError> {
        match self.0.call("GET", &address.path(), None).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.code() == "NotFoundException" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a resource.
    pub async fn create(&self, address: &Address, spec: &Value) -> Result<Value, AwsError> {
        let mut body = json!({ "clientToken": token(), "spec": spec });
        body[address.field] = address.name.as_str().into();
        let path = format!("{}{}", address.collection, address.query());
        self.0.call("PUT", &path, Some(&body)).await
    }

    /// Changes a resource.
    pub async fn update(&self, address: &Address, spec: &Value) -> Result<Value, AwsError> {
        let body = json!({ "clientToken": token(), "spec": spec });
        self.0.call("PUT", &address.path(), Some(&body)).await
    }

    /// Deletes a resource; gone already is fine.
    pub async fn delete(&self, address: &Address) -> Result<(), AwsError> {
        match self.0.call("DELETE", &address.path(), None).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == "NotFoundException" => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The names of the routes in a collection.
    pub async fn routes(
        &self,
        collection: &str,
        owner: Option<&str>,
    ) -> Result<Vec<String>, AwsError> {
        let mut names = Vec::new();
        let mut next = String::new();
        loop {
            let mut query: Vec<String> = Vec::new();
            if let Some(owner) = owner {
                query.push(format!("meshOwner={owner}"));
            }
            if !next.is_empty() {
                query.push(format!("nextToken={next}"));
            }
            let path = if query.is_empty() {
                collection.to_owned()
            } else {
                format!("{collection}?{}", query.join("&"))
            };
            let page = self.0.call("GET", &path, None).await?;
            names.extend(
                items(&page["routes"])
                    .iter()
                    .map(|route| text(&route["routeName"]).to_owned()),
            );
            match text(&page["nextToken"]) {
                "" => return Ok(names),
                token => next = token.to_owned(),
            }
        }
    }
}

fn token() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}
