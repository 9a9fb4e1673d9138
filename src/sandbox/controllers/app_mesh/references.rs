//! Finds what custom resources refer to, with the controller's words for what is missing.

use std::sync::Arc;

use serde_json::Value;

use super::super::runtime::object::{Meta, text};
use super::super::runtime::{Key, Resource};
use super::reconcile::Trouble;
use super::spec::namespace_of;
use super::{Controller, MESHES, active};

/// The name of a kind as it stands in messages: `virtualNode`.
pub fn lower(kind: &str) -> String {
    let mut letters = kind.chars();
    letters
        .next()
        .map(|first| first.to_ascii_lowercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

impl Controller {
    /// The mesh of a resource, whether or not it is active.
    pub fn mesh_of(&self, object: &Value) -> Result<Arc<Value>, Trouble> {
        let reference = &object["spec"]["meshRef"];
        if reference.is_null() {
            return Err("meshRef shouldn't be nil, please check webhook setup".into());
        }
        self.resolve_mesh(reference)
            .map_err(|error| format!("failed to resolve meshRef: {error}").into())
    }

    /// The mesh behind a reference.
    pub fn resolve_mesh(&self, reference: &Value) -> Result<Arc<Value>, String> {
        let name = text(&reference["name"]);
        let mesh = self
            .cluster
            .cache(&MESHES)
            .get(&Key::new("", name))
            .ok_or_else(|| {
                format!("unable to fetch mesh: {name}: Mesh.appmesh.k8s.aws \"{name}\" not found")
            })?;
        if mesh["metadata"]["uid"] != reference["uid"] {
            return Err(format!("mesh UID mismatch: {name}"));
        }
        Ok(mesh)
    }

    /// The mesh of a resource, which has to be active.
    pub fn active_mesh_of(&self, object: &Value) -> Result<Arc<Value>, Trouble> {
        let mesh = self.mesh_of(object)?;
        if active(&mesh, "Mesh") {
            Ok(mesh)
        } else {
            Err(Trouble::Wait("mesh is not active yet".into()))
        }
    }

    /// The resource behind a reference in another one's spec.
    pub fn resolve(
        &self,
        kind: &Resource,
        reference: &Value,
        holder: &str,
    ) -> Result<Arc<Value>, String> {
        let name = text(&reference["name"]);
        let key = Key::new(namespace_of(reference, holder), name);
        self.cluster.cache(kind).get(&key).ok_or_else(|| {
            format!(
                "unable to fetch {}: {key}: {}.appmesh.k8s.aws \"{name}\" not found",
                lower(&kind.kind),
                kind.kind
            )
        })
    }

    /// The resources behind references: of the same mesh and, where asked for, active.
    pub fn dependencies(
        &self,
        kind: &Resource,
        references: &[&Value],
        holder: &str,
        mesh: &Value,
        must_be_active: bool,
    ) -> Result<Vec<Arc<Value>>, Trouble> {
        let word = lower(&kind.kind);
        let mut found = Vec::new();
        for reference in references {
            let object = self
                .resolve(kind, reference, holder)
                .map_err(|error| format!("failed to resolve {word}Ref: {error}"))?;
            found.push(object);
        }
        for object in &found {
            let theirs = &object["spec"]["meshRef"];
            if theirs["name"] != mesh.name() || theirs["uid"] != mesh.uid() {
                return Err(format!(
                    "{word} {} didn't belong to mesh /{}",
                    object.key(),
                    mesh.name()
                )
                .into());
            }
        }
        for object in &found {
            if must_be_active && !active(object, &kind.kind) {
                return Err(Trouble::Wait(format!("{word} is not active yet")));
            }
        }
        Ok(found)
    }
}
