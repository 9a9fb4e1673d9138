//! What a Service is given, keeps and loses: addresses and the ports of nodes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::super::addresses::Addresses;
use super::super::api::Api;
use super::super::object;
use super::super::resources::Resource;
use super::super::status::Cause;
use super::super::validation;

/// Who names one address of a Service means the list of it.
pub(super) fn one_address(service: &mut Value) {
    let address = object::text(service, "spec.clusterIP");
    if !address.is_empty() && object::list(service, "spec.clusterIPs").is_empty() {
        let addresses = json!([address]);
        object::set(service, "spec.clusterIPs", addresses);
    }
}

/// An update that leaves a Service's addresses out keeps them.
pub(super) fn inherit_addresses(old: &Value, new: &mut Value) {
    if object::text(new, "spec.type") == "ExternalName"
        || object::text(old, "spec.type") == "ExternalName"
    {
        return one_address(new);
    }
    let (before, now) = (
        object::text(old, "spec.clusterIP"),
        object::text(new, "spec.clusterIP"),
    );
    if !now.is_empty()
        && before != now
        && object::at(old, "spec.clusterIPs") == object::at(new, "spec.clusterIPs")
    {
        object::remove(new, "spec.clusterIPs");
        one_address(new);
    }
    for field in ["clusterIP", "clusterIPs"] {
        let path = format!("spec.{field}");
        let missing = match object::at(new, &path) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            _ => false,
        };
        if missing && let Some(value) = object::at(old, &path) {
            object::set(new, &path, value.clone());
        }
    }
    if ported(old) && ported(new) {
        inherit_ports(old, new);
    }
}

/// Whether a Service is reached at ports of the nodes.
fn ported(service: &Value) -> bool {
    matches!(
        object::text(service, "spec.type"),
        "NodePort" | "LoadBalancer"
    )
}

/// Ports of a name keep the node's port that they have, unless another one has it now.
fn inherit_ports(old: &Value, new: &mut Value) {
    let node = |port: &Value| port["nodePort"].as_i64().unwrap_or(0);
    let known: HashMap<String, i64> = object::list(old, "spec.ports")
        .iter()
        .map(|port| (object::text(port, "name").to_owned(), node(port)))
        .collect();
    let said: HashSet<i64> = object::list(new, "spec.ports").iter().map(node).collect();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if node(port) != 0 {
            continue;
        }
        let before = known.get(object::text(port, "name")).copied().unwrap_or(0);
        if before != 0 && !said.contains(&before) {
            port["nodePort"] = before.into();
        }
    }
}

/// What keeps a new or changed Service from being given addresses.
pub fn unaddressed(resource: &Resource, old: &Value, new: &Value) -> Vec<Cause> {
    if !resource.is("", "services") {
        return Vec::new();
    }
    let mut wrong = validation::cluster_addresses(new);
    let external = object::text(new, "spec.type") == "ExternalName";
    // Without addresses and without pods of its own it may be of both families.
    let free = object::text(new, "spec.clusterIP") == "None" && !selects(new);
    if !wrong.is_empty() || external || free {
        return wrong;
    }
    let at = "spec.ipFamilyPolicy";
    let policy = match object::text(new, at) {
        "" => object::text(old, at),
        policy => policy,
    };
    if policy == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        wrong.push(Cause::invalid(at, &policy.into(), why));
    }
    for (index, family) in object::list(new, "spec.ipFamilies").iter().enumerate() {
        if family != "IPv4" {
            let at = format!("spec.ipFamilies[{index}]");
            wrong.push(Cause::invalid(at, family, "not configured on this cluster"));
        }
    }
    wrong
}

/// Whether a Service has pods of its own.
fn selects(service: &Value) -> bool {
    object::at(service, "spec.selector")
        .and_then(Value::as_object)
        .is_some_and(|selector| !selector.is_empty())
}

/// What only the old type of a Service had goes with it, unless somebody wants it otherwise.
pub fn drop_old_type(resource: &Resource, old: &Value, new: &mut Value) {
    if !resource.is("", "services") {
        return;
    }
    let reached = |service: &Value| {
        ported(service)
            || object::text(service, "spec.type") == "ClusterIP"
                && !object::list(service, "spec.externalIPs").is_empty()
    };
    let addressed = |service: &Value| object::text(service, "spec.type") != "ExternalName";
    let balanced = |service: &Value| object::text(service, "spec.type") == "LoadBalancer";
    let asked = |service: &Value| {
        balanced(service) && object::text(service, "spec.externalTrafficPolicy") == "Local"
    };
    let nameless = addressed(old) && !addressed(new);
    for (field, gone) in [
        ("clusterIP", nameless),
        ("clusterIPs", nameless),
        ("ipFamilies", nameless),
        ("ipFamilyPolicy", nameless),
        ("internalTrafficPolicy", nameless),
        ("externalTrafficPolicy", reached(old) && !reached(new)),
        (
            "allocateLoadBalancerNodePorts",
            balanced(old) && !balanced(new),
        ),
        ("healthCheckNodePort", asked(old) && !asked(new)),
    ] {
        let path = format!("spec.{field}");
        if gone && object::at(new, &path) == object::at(old, &path) {
            object::remove(new, &path);
        }
    }
    let nodes = |service: &Value| -> HashSet<i64> {
        let ports = object::list(service, "spec.ports").iter();
        ports.filter_map(|port| port["nodePort"].as_i64()).collect()
    };
    // Whoever adds none does not ask for any.
    let kept = nodes(new);
    if ported(old) && !ported(new) && !kept.is_empty() && kept.is_subset(&nodes(old)) {
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            object::remove(port, "nodePort");
        }
    }
}

/// Gives a Service its cluster IP and node ports. The caller holds the allocation lock until it has stored it.
pub fn allocate(
    api: &Api,
    resource: &Resource,
    old: Option<&Value>,
    object: &mut Value,
    dry_run: bool,
) -> Result<(), Vec<Cause>> {
    if !resource.is("", "services") {
        return Ok(());
    }
    let kind = object::text(object, "spec.type").to_owned();
    let external = kind == "ExternalName";
    let wanted = object::text(object, "spec.clusterIP").to_owned();
    let headless = wanted == "None";
    let before = old.map_or("", |old| object::text(old, "spec.clusterIP"));
    if external {
        // It has no addresses; who gives it some is told so.
    } else if wanted == "None" {
        object::set(object, "spec.clusterIPs", json!(["None"]));
    } else if wanted.is_empty() || wanted != before {
        let mut used = api
            .addresses
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        used.follow(&api.store);
        let address = if wanted.is_empty() {
            free_address(&api.options.service_cidr, &used).ok_or_else(|| {
                vec![Cause::invalid(
                    "spec.clusterIPs",
                    &Value::Null,
                    "failed to allocate IP 0.0.0.0: range is full",
                )]
            })?
        } else {
            let value = json!([wanted]);
            if !in_range(&api.options.service_cidr, &wanted) {
                // Only who would really get it is first led to the range that it belongs to.
                let why = match dry_run || is_within(&api.options.service_cidr, &wanted) {
                    true => format!(
                        "the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {}",
                        api.options.service_cidr
                    ),
                    false => "the provided network does not match the current range".to_owned(),
                };
                let why = format!("failed to allocate IP {wanted}: {why}");
                return Err(vec![Cause::invalid("spec.clusterIPs", &value, why)]);
            }
            if used.has(&wanted) {
                let why =
                    format!("failed to allocate IP {wanted}: provided IP is already allocated");
                return Err(vec![Cause::invalid("spec.clusterIPs", &value, why)]);
            }
            wanted
        };
        object::set(object, "spec.clusterIP", address.as_str());
        object::set(object, "spec.clusterIPs", json!([address]));
    } else {
        object::default(object, "spec.clusterIPs", json!([wanted]));
    }
    if !external {
        // Without addresses and without pods of its own it may be of both families.
        let both =
            headless && !selects(object) && object::at(object, "spec.ipFamilyPolicy").is_none();
        let (families, policy) = if both {
            (json!(["IPv4", "IPv6"]), "RequireDualStack")
        } else {
            (json!(["IPv4"]), "SingleStack")
        };
        object::default(object, "spec.ipFamilies", families);
        object::default(object, "spec.ipFamilyPolicy", policy);
    }
    if ported(object) {
        allocate_ports(api, object)?;
    }
    // Where a balancer asks which nodes have a pod.
    if kind == "LoadBalancer" && object::text(object, "spec.externalTrafficPolicy") == "Local" {
        let before = old.and_then(|old| object::at(old, "spec.healthCheckNodePort"));
        let port = before
            .cloned()
            .unwrap_or_else(|| fastrand::i64(30000..32768).into());
        object::default(object, "spec.healthCheckNodePort", port);
    }
    Ok(())
}

/// Ports of one number share a port of the nodes, as for TCP and UDP.
fn allocate_ports(api: &Api, object: &mut Value) -> Result<(), Vec<Cause>> {
    let allocates =
        object::at(object, "spec.allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
    let own = (
        object::namespace(object).to_owned(),
        object::name(object).to_owned(),
    );
    let node = |port: &Value| port["nodePort"].as_i64().filter(|node| *node != 0);
    let mut used: HashSet<i64> = HashSet::new();
    for stored in api.store.all("services", "") {
        let service = &stored.value;
        if (object::namespace(service), object::name(service)) != (own.0.as_str(), own.1.as_str()) {
            used.extend(object::list(service, "spec.ports").iter().filter_map(node));
        }
    }
    let mut shared: HashMap<i64, i64> = HashMap::new();
    for port in object::list(object, "spec.ports").iter().rev() {
        if let (Some(number), Some(node)) = (port["port"].as_i64(), node(port)) {
            shared.insert(number, node);
        }
    }
    let ports = object["spec"]["ports"].as_array_mut();
    for (index, port) in ports.into_iter().flatten().enumerate() {
        if let Some(node) = node(port) {
            if used.contains(&node) {
                return Err(vec![Cause::invalid(
                    format!("spec.ports[{index}].nodePort"),
                    &node.into(),
                    "provided port is already allocated",
                )]);
            }
            continue;
        }
        if !allocates {
            continue;
        }
        let number = port["port"].as_i64().unwrap_or(0);
        let start = fastrand::i64(30000..32768);
        let found = shared.get(&number).copied().or_else(|| {
            (0..2768)
                .map(|step| 30000 + (start - 30000 + step) % 2768)
                .find(|number| !used.contains(number))
        });
        if let Some(found) = found {
            used.insert(found);
            shared.insert(number, found);
            port["nodePort"] = found.into();
        }
    }
    Ok(())
}

/// A new object as it will be checked: with what a Service is given, or why it is given nothing.
pub fn tried<'a>(
    api: &Api,
    resource: &Resource,
    object: &'a Value,
    dry_run: bool,
) -> Result<Cow<'a, Value>, Vec<Cause>> {
    if !resource.is("", "services") {
        return Ok(Cow::Borrowed(object));
    }
    let wrong = unaddressed(resource, &Value::Null, object);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut service = object.clone();
    allocate(api, resource, None, &mut service, dry_run)?;
    let address = object::text(&service, "spec.clusterIP");
    // An address is given to a name.
    if object::name(&service).is_empty() && !matches!(address, "" | "None") {
        let why = format!(
            "failed to allocate IP: IPAddress.networking.k8s.io {address:?} is invalid: spec.parentRef.name: Required value"
        );
        let given = json!([object::text(object, "spec.clusterIP")]);
        return Err(vec![Cause::invalid("spec.clusterIPs", &given, why)]);
    }
    Ok(Cow::Owned(service))
}

/// The range of a CIDR: first address and how many there are.
pub fn range(cidr: &str) -> Option<(u32, u32)> {
    let (address, bits) = cidr.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok().filter(|bits| (8..=30).contains(bits))?;
    let size = 1u32 << (32 - bits);
    Some((u32::from(address) & !(size - 1), size))
}

/// Whether an address is one of a network, the first and the last one too.
fn is_within(cidr: &str, address: &str) -> bool {
    let address = address.parse::<Ipv4Addr>().map(u32::from);
    matches!((range(cidr), address), (Some((first, size)), Ok(address)) if (first..=first + (size - 1)).contains(&address))
}

fn in_range(cidr: &str, address: &str) -> bool {
    let (Some((first, size)), Ok(address)) = (range(cidr), address.parse::<Ipv4Addr>()) else {
        return false;
    };
    let address = u32::from(address);
    address > first && address < first + size - 1
}

/// A free address, above the low ones that are left for those who ask for a certain one.
fn free_address(cidr: &str, used: &Addresses) -> Option<String> {
    let (first, size) = range(cidr)?;
    let low = 16.min(size / 16).max(1);
    let start = fastrand::u32(low..size - 1);
    (0..size - 2)
        .map(|step| {
            let offset = low + (start - low + step) % (size - 1 - low);
            Ipv4Addr::from(first + offset).to_string()
        })
        .find(|address| !used.has(address))
}
