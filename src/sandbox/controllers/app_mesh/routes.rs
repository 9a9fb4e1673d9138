//! A virtual router and its routes: routes that are in the way go first, then the router, then the routes.

use serde_json::{Map, Value};

use super::super::runtime::object::{Meta, items, text};
use super::api::Address;
use super::reconcile::Trouble;
use super::{Controller, VIRTUAL_NODES, spec};

/// Where the routes of a router are.
fn collection(router: &Address) -> String {
    // The routes' path has `virtualRouter`, without the s of the routers' own.
    let base = router
        .collection
        .strip_suffix('s')
        .unwrap_or(&router.collection);
    format!("{base}/{}/routes", router.name)
}

fn route_address(router: &Address, name: &str) -> Address {
    Address {
        collection: collection(router),
        field: "routeName",
        name: name.to_owned(),
        owner: router.owner.clone(),
    }
}

/// Writes a router and its routes; the answer is the router and its routes' ARNs by name.
pub async fn write(
    controller: &Controller,
    address: &Address,
    object: &Value,
) -> Result<(Value, Value), Trouble> {
    let api = &controller.api;
    let wanted = items(&object["spec"]["routes"]);
    let router_spec = spec::virtual_router(&object["spec"]);
    let present = match api.describe(address).await? {
        None => {
            let router = api.create(address, &router_spec).await?;
            return finish(controller, address, object, router, &[]).await;
        }
        Some(router) => router,
    };
    let names = api
        .routes(&collection(address), address.owner.as_deref())
        .await?;
    for name in &names {
        let route = wanted.iter().find(|route| route["name"] == name.as_str());
        if route.is_none_or(|route| changes_protocol(route, &present)) {
            api.delete(&route_address(address, name)).await?;
        }
    }
    let router = if spec::same(&router_spec, &present["spec"])
        || present["metadata"]["resourceOwner"] != controller.account.as_str()
    {
        present
    } else {
        api.update(address, &router_spec).await?
    };
    let names = api
        .routes(&collection(address), address.owner.as_deref())
        .await?;
    finish(controller, address, object, router, &names).await
}

/// A route that matches a port whose listener speaks another protocol blocks that listener's change.
fn changes_protocol(route: &Value, router: &Value) -> bool {
    let listeners = items(&router["spec"]["listeners"]);
    [
        ("tcpRoute", "tcp"),
        ("grpcRoute", "grpc"),
        ("http2Route", "http2"),
        ("httpRoute", "http"),
    ]
    .iter()
    .any(|(kind, protocol)| {
        let port = &route[kind]["match"]["port"];
        !port.is_null()
            && !listeners.iter().any(|listener| {
                listener["portMapping"]["port"] == *port
                    && listener["portMapping"]["protocol"] == *protocol
            })
    })
}

async fn finish(
    controller: &Controller,
    address: &Address,
    object: &Value,
    router: Value,
    present: &[String],
) -> Result<(Value, Value), Trouble> {
    let namespace = object.namespace();
    let mut arns = Map::new();
    let routes = items(&object["spec"]["routes"]);
    // New routes come before changed ones, each in the order of their names.
    let mut ordered: Vec<&Value> = routes.iter().collect();
    ordered.sort_by_key(|route| {
        let name = text(&route["name"]);
        (present.iter().any(|known| known == name), name.to_owned())
    });
    for route in ordered {
        let name = text(&route["name"]);
        let wanted = spec::route(route, &|_, reference| {
            controller.aws_name(&VIRTUAL_NODES, reference, namespace)
        })?;
        let written = controller
            .write(&route_address(address, name), &wanted)
            .await?;
        arns.insert(name.to_owned(), written["metadata"]["arn"].clone());
    }
    for name in present {
        if !routes.iter().any(|route| route["name"] == name.as_str()) {
            controller.api.delete(&route_address(address, name)).await?;
        }
    }
    Ok((router, Value::Object(arns)))
}

/// Deletes all routes of a router.
pub async fn remove_all(controller: &Controller, address: &Address) -> Result<(), Trouble> {
    let names = controller
        .api
        .routes(&collection(address), address.owner.as_deref())
        .await?;
    for name in names {
        controller
            .api
            .delete(&route_address(address, &name))
            .await?;
    }
    Ok(())
}
