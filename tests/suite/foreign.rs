//! What belongs to somebody else survives everything untouched, whatever it is called.

use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::discovery::{Discovery, verbs};
use serde_json::{Value, json};

use crate::faults::state::Everything;
use crate::harness::World;

const OWNER_TAG: &str = "meshctl:environment";

/// Waits until the state is that one.
#[track_caller]
fn becomes(world: &World, wanted: &Everything) {
    let began = Instant::now();
    loop {
        let now = Everything::of(world);
        if now.as_ref() == Some(wanted) {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{}",
            now.map_or_else(|| "no state".into(), |now| wanted.difference(&now))
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The state once it stays as it is.
fn settled(world: &World) -> Everything {
    let mut last = Everything::of(world);
    let mut since = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = Everything::of(world);
        if now.is_none() || now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > Duration::from_secs(1) {
            return last.unwrap();
        }
    }
}

#[test]
fn a_neighbour_of_every_kind_survives_a_whole_life_untouched() {
    let world = World::without_data_plane();
    world.start_sandbox();
    // Each of its names begins as ours do.
    let neighbour = ["--env", "demo-two"];
    let of_neighbour =
        |command: &[&str]| world.run(&[command, &["--sandbox"], &neighbour].concat());
    of_neighbour(&["up"]).succeeds();
    let before = settled(&world);
    world.run(&["audit", "--sandbox"]).succeeds();
    world.run(&["plan", "--sandbox", "--destroy"]).succeeds();

    world.run(&["up", "--sandbox"]).succeeds();
    of_neighbour(&["plan"]).succeeds();
    world.run(&["down", "--sandbox", "--yes"]).succeeds();
    becomes(&world, &before);
    of_neighbour(&["plan"]).succeeds();
    of_neighbour(&["down", "--yes"]).succeeds();
    world.run(&["audit", "--sandbox"]).succeeds();
}

/// Gives everything in AWS that carries the owner's tag another owner.
fn give_away(value: &mut Value) -> usize {
    match value {
        Value::Object(members) => {
            let mut given = 0;
            if let Some(owner) = members.get_mut(OWNER_TAG) {
                *owner = json!("other");
                given += 1;
            }
            given + members.values_mut().map(give_away).sum::<usize>()
        }
        Value::Array(items) if items.len() == 2 && items[0] == OWNER_TAG => {
            items[1] = json!("other");
            1
        }
        Value::Array(items) => items.iter_mut().map(give_away).sum(),
        _ => 0,
    }
}

#[test]
fn what_others_took_over_is_refused_and_left_alone() {
    let world = World::without_data_plane();
    world.start_sandbox();
    world.run(&["up", "--sandbox"]).succeeds();

    // In the cluster.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let kinds = runtime.block_on(take_over(&world));
    assert!(kinds.len() > 12, "objects of every kind: {kinds:?}");
    let before = settled(&world);
    let up = world.run(&["up", "--sandbox"]).exits_with(6);
    assert!(up.stderr().contains("belongs to Helm"), "{}", up.stderr());
    becomes(&world, &before);

    // In AWS.
    world.run(&["sandbox", "stop"]).succeeds();
    let file = world.sandbox_directory().join("state.json");
    let ours = std::fs::read(&file).unwrap();
    let mut state: Value = serde_json::from_slice(&ours).unwrap();
    assert!(give_away(&mut state) > 20, "everything carries the tag");
    std::fs::write(&file, state.to_string()).unwrap();
    world.start_sandbox();
    let before = settled(&world);
    let up = world.run(&["up", "--sandbox"]).exits_with(6);
    let said = up.stderr();
    assert!(said.contains("belongs to environment other"), "{said}");
    let down = world.run(&["down", "--sandbox", "--yes"]);
    let said = down.stderr();
    assert!(
        said.contains("environment other"),
        "it says whose they are: {said}"
    );
    becomes(&world, &before);

    // The cluster is ours again, and what is in it goes with it.
    world.run(&["sandbox", "stop"]).succeeds();
    std::fs::write(&file, ours).unwrap();
    world.start_sandbox();
    world.run(&["down", "--sandbox", "--yes"]).succeeds();
    world.run(&["audit", "--sandbox"]).succeeds();
}

/// Makes every object of ours another manager's; returns their kinds.
async fn take_over(world: &World) -> Vec<String> {
    let client = world.kubernetes().await;
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    let label = Patch::Merge(json!({
        "metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}},
    }));
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=meshctl");
    let mut kinds = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let can = |verb| capabilities.supports_operation(verb);
            // Pods and the like are their controllers'.
            if !can(verbs::LIST) || !can(verbs::PATCH) || resource.kind == "Pod" {
                continue;
            }
            let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let found = all.list(&ours).await.unwrap();
            for object in found.items.iter() {
                let api: Api<DynamicObject> = match &object.metadata.namespace {
                    Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                    None => Api::all_with(client.clone(), &resource),
                };
                if object.metadata.owner_references.is_some() {
                    continue;
                }
                let name = object.metadata.name.as_deref().unwrap();
                api.patch(name, &PatchParams::default(), &label)
                    .await
                    .unwrap();
            }
            if !found.items.is_empty() {
                kinds.push(resource.kind.clone());
            }
        }
    }
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    assert!(
        !crds
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    kinds
}
