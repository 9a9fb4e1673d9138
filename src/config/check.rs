//! Turns a file into an [`Environment`], or says everything that is wrong with it and where.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use super::file::{self, File};
use super::positions::Key;
use super::{Environment, Ingress, Protocol, Service, Source, Version};

/// The demo services that `demo:` may name.
pub(super) const DEMO_SERVICES: [&str; 3] = ["backend", "database", "frontend"];

/// Ports of a pod that its sidecar uses.
const SIDECAR_PORTS: [u32; 4] = [9901, 15000, 15001, 15003];

/// Where HTTP services are asked for their health.
const HEALTH_PATH: &str = "/healthz";

/// Where gRPC services are: the method of gRPC's health checking protocol.
const GRPC_HEALTH_PATH: &str = "/grpc.health.v1.Health/Check";

/// Environment variables that meshctl itself sets.
const RESERVED_VARIABLES: [&str; 3] = ["POD_IP", "PORT", "VERSION"];

const LOG_TYPES: [&str; 5] = [
    "api",
    "audit",
    "authenticator",
    "controllerManager",
    "scheduler",
];

/// Something wrong with a value of the file.
#[derive(Debug)]
pub(super) struct Problem {
    pub path: Vec<Key>,
    pub message: String,
    pub hint: Option<String>,
}

/// Collects problems on the way.
#[derive(Default)]
struct Checker {
    problems: Vec<Problem>,
}

impl Checker {
    fn problem(&mut self, path: Vec<Key>, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem {
            path,
            message: message.into(),
            hint,
        });
    }

    fn require(
        &mut self,
        holds: bool,
        path: Vec<Key>,
        message: impl FnOnce() -> String,
        hint: &str,
    ) {
        if !holds {
            self.problem(path, message(), Some(hint.into()));
        }
    }

    fn label(&mut self, what: &str, value: &str, longest: usize, path: Vec<Key>) {
        let ends = |character: Option<char>| {
            character.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let good = value.len() <= longest
            && value.starts_with(|c: char| c.is_ascii_lowercase())
            && ends(value.chars().last())
            && value.chars().all(|c| c == '-' || ends(Some(c)));
        let hint = format!(
            "1 to {longest} lower-case letters, digits and hyphens, beginning with a letter"
        );
        self.require(
            good,
            path,
            || format!("`{value}` is not a valid {what}"),
            &hint,
        );
    }
}

macro_rules! path {
    ($($key:expr),*) => { vec![$(Key::from($key)),*] };
}

/// Checks a file, whose folder is `folder`, and fills in what it leaves out.
pub(super) fn resolve(file: File, folder: &Path) -> Result<Environment, Vec<Problem>> {
    let mut checker = Checker::default();
    checker.label("environment name", &file.name, 20, path!["name"]);
    checker.label("namespace", &file.namespace, 40, path!["namespace"]);
    let reserved = [
        "default",
        "kube-system",
        "kube-public",
        "kube-node-lease",
        "appmesh-system",
    ];
    checker.require(
        !reserved.contains(&file.namespace.as_str()),
        path!["namespace"],
        || format!("the namespace `{}` is the system's", file.namespace),
        "choose one of your own, such as `demo`: it is deleted with the environment",
    );
    if let Some(region) = &file.region {
        checker.require(
            is_region(region),
            path!["region"],
            || format!("`{region}` is not an AWS region"),
            "for example `us-west-2`",
        );
    }
    check_network(&mut checker, &file);
    check_cluster(&mut checker, &file);
    check_images(&mut checker, &file);
    let rate = file.tracing.sampling_rate;
    checker.require(
        (0.0..=1.0).contains(&rate),
        path!["tracing", "samplingRate"],
        || format!("the sampling rate {rate} is not between 0 and 1"),
        "1.0 traces every request, 0.05 one in twenty",
    );
    let services = check_services(&mut checker, &file, folder);
    check_ingress(&mut checker, &file);
    if !checker.problems.is_empty() {
        return Err(checker.problems);
    }
    Ok(Environment {
        name: file.name,
        region: file.region.unwrap_or_default(),
        mesh: file.mesh,
        network: file.network,
        cluster: file.cluster,
        images: file.images,
        namespace: file.namespace,
        services: services
            .into_iter()
            .map(|service| (service.name.clone(), service))
            .collect(),
        ingress: Ingress {
            service: file.ingress.service,
            port: file.ingress.port.map(|port| port as u16),
            internal: file.ingress.internal,
        },
        tracing: file.tracing,
    })
}

/// Checks an environment's name that does not come from a file.
pub(super) fn environment_name(name: &str) -> Result<(), String> {
    let mut checker = Checker::default();
    checker.label("environment name", name, 20, Vec::new());
    match checker.problems.pop() {
        None => Ok(()),
        Some(problem) => Err(format!(
            "{}: {}",
            problem.message,
            problem.hint.unwrap_or_default()
        )),
    }
}

/// Whether it looks like a region's name; whether it is one, only AWS can tell.
pub fn is_region(region: &str) -> bool {
    let parts: Vec<&str> = region.split('-').collect();
    let words = parts.len() >= 3
        && parts[..parts.len() - 1]
            .iter()
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase()));
    words && parts[parts.len() - 1].parse::<u8>().is_ok() && parts[0].len() == 2
}

/// An IPv4 range as its first address and prefix length.
fn parse_cidr(cidr: &str) -> Option<(u32, u32)> {
    let (address, prefix) = cidr.split_once('/')?;
    let (address, prefix) = (
        u32::from(address.parse::<Ipv4Addr>().ok()?),
        prefix.parse::<u32>().ok()?,
    );
    let host_bits = if prefix == 0 {
        u32::MAX
    } else {
        u32::MAX.checked_shr(prefix).unwrap_or(0)
    };
    (prefix <= 32 && address & host_bits == 0).then_some((address, prefix))
}

fn check_network(checker: &mut Checker, file: &File) {
    let cidr = &file.network.cidr;
    let path = path!["network", "cidr"];
    let Some((address, prefix)) = parse_cidr(cidr) else {
        checker.problem(
            path,
            format!("`{cidr}` is not an IPv4 range"),
            Some("for example `10.42.0.0/16`".into()),
        );
        return;
    };
    let within = |range: &str| {
        let (first, length) = parse_cidr(range).expect("a constant");
        prefix >= length && (address ^ first) >> (32 - length) == 0
    };
    checker.require(
        (16..=20).contains(&prefix),
        path.clone(),
        || format!("a /{prefix} is not between /16 and /20"),
        "six subnets with room for pods need a /20 at least; AWS allows a /16 at most",
    );
    checker.require(
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
            .into_iter()
            .any(within),
        path.clone(),
        || format!("`{cidr}` is not a private range"),
        "take one inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
    );
    checker.require(
        !["10.100.0.0/16", "172.20.0.0/16", "172.17.0.0/16"]
            .into_iter()
            .any(within),
        path,
        || format!("`{cidr}` overlaps a range that EKS uses for Services"),
        "leave out 10.100.0.0/16, 172.17.0.0/16 and 172.20.0.0/16",
    );
}

fn check_cluster(checker: &mut Checker, file: &File) {
    let cluster = &file.cluster;
    if let Some(version) = &cluster.version {
        let good = version
            .split_once('.')
            .is_some_and(|(major, minor)| major == "1" && minor.parse::<u8>().is_ok());
        checker.require(
            good,
            path!["cluster", "version"],
            || format!("`{version}` is not a Kubernetes version"),
            "for example \"1.35\", in quotes; leave it out for the newest in standard support",
        );
    }
    for (index, name) in cluster.logging.iter().enumerate() {
        checker.require(
            LOG_TYPES.contains(&name.as_str()),
            path!["cluster", "logging", index],
            || format!("`{name}` is not a log type"),
            &format!("one of {}", LOG_TYPES.join(", ")),
        );
    }
    for (index, cidr) in cluster.public_access_cidrs.iter().enumerate() {
        checker.require(
            parse_cidr(cidr).is_some(),
            path!["cluster", "publicAccessCidrs", index],
            || format!("`{cidr}` is not an IPv4 range"),
            "for example `203.0.113.0/24`",
        );
    }
    const RETENTION: [i32; 12] = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365];
    checker.require(
        RETENTION.contains(&cluster.log_retention_days),
        path!["cluster", "logRetentionDays"],
        || {
            format!(
                "CloudWatch cannot keep logs for {} days",
                cluster.log_retention_days
            )
        },
        "one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365",
    );
    let nodes = &cluster.nodes;
    checker.require(
        0 <= nodes.min
            && nodes.min <= nodes.desired
            && nodes.desired <= nodes.max
            && nodes.max >= 1,
        path!["cluster", "nodes"],
        || {
            format!(
                "min {} ≤ desired {} ≤ max {} does not hold",
                nodes.min, nodes.desired, nodes.max
            )
        },
        "min may be 0, max must be 1 at least",
    );
    checker.require(
        !nodes.instance_types.is_empty(),
        path!["cluster", "nodes", "instanceTypes"],
        || "no instance type is given".into(),
        "for example [m5.large]",
    );
    checker.require(
        (20..=16_384).contains(&nodes.disk_gib),
        path!["cluster", "nodes", "diskGib"],
        || {
            format!(
                "a root volume of {} GiB is not between 20 and 16384",
                nodes.disk_gib
            )
        },
        "the AL2023 image needs 20 GiB",
    );
}

fn check_images(checker: &mut Checker, file: &File) {
    checker.require(
        !file.images.base.trim().is_empty() && !file.images.base.contains(char::is_whitespace),
        path!["images", "base"],
        || format!("`{}` is not an image reference", file.images.base),
        "for example `public.ecr.aws/docker/library/python:3.13-slim`",
    );
    for (host, url) in &file.images.mirrors {
        checker.require(
            url.starts_with("https://") || url.starts_with("http://"),
            path!["images", "mirrors", host.as_str()],
            || format!("the mirror `{url}` is not a URL"),
            "for example `https://mirror.example.com`",
        );
    }
}

fn check_services(checker: &mut Checker, file: &File, folder: &Path) -> Vec<Service> {
    if file.services.is_empty() {
        checker.problem(
            path!["services"],
            "there is no service",
            Some("add one, or run without a file".into()),
        );
    }
    let names: BTreeSet<&str> = file
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    let mut seen = BTreeSet::new();
    let mut services = Vec::new();
    for (index, service) in file.services.iter().enumerate() {
        let at = |field: &str| path!["services", index, field];
        checker.label("service name", &service.name, 40, at("name"));
        if !seen.insert(service.name.as_str()) {
            checker.problem(
                at("name"),
                format!("there are two services named `{}`", service.name),
                None,
            );
        }
        checker.require(
            (1..=65535).contains(&service.port) && !SIDECAR_PORTS.contains(&service.port),
            at("port"),
            || format!("{} is not a port a service can have", service.port),
            "1 to 65535, without 9901, 15000, 15001 and 15003, which the sidecar uses",
        );
        checker.require(
            service.retries <= 10,
            at("retries"),
            || format!("{} retries are too many", service.retries),
            "0 to 10",
        );
        checker.require(
            (100..=300_000).contains(&service.timeout_millis),
            at("timeoutMillis"),
            || {
                format!(
                    "a time-out of {} ms is not between 100 and 300000",
                    service.timeout_millis
                )
            },
            "15000 is the default",
        );
        let health_path = check_health(checker, service, index);
        check_backends(checker, service, &names, index);
        let source = check_source(checker, service, folder, index);
        let versions = check_versions(checker, service, index);
        services.push(Service {
            name: service.name.clone(),
            port: service.port as u16,
            protocol: service.protocol,
            backends: service.backends.clone(),
            source,
            versions,
            retries: service.retries as u8,
            timeout_millis: service.timeout_millis,
            health_path,
        });
    }
    services
}

/// Where it is asked for its health.
fn check_health(checker: &mut Checker, service: &file::Service, index: usize) -> String {
    let at = |field: &str| path!["services", index, field];
    if service.protocol == Protocol::Grpc {
        if let Some(demo) = &service.demo {
            checker.problem(
                at("protocol"),
                format!("the demo service `{demo}` does not speak gRPC"),
                Some("leave `protocol` out, or run your own with `path` or `image`".into()),
            );
        }
        checker.require(
            service.health_path.is_none(),
            at("healthPath"),
            || {
                format!(
                    "`{}` speaks gRPC, whose health checks have no path",
                    service.name
                )
            },
            "leave it out: the service is asked for grpc.health.v1.Health/Check",
        );
        return GRPC_HEALTH_PATH.into();
    }
    let path = service.health_path.as_deref().unwrap_or(HEALTH_PATH);
    checker.require(
        path.starts_with('/'),
        at("healthPath"),
        || format!("`{path}` is not a path"),
        "it begins with `/`, such as `/healthz`",
    );
    path.into()
}

fn check_backends(
    checker: &mut Checker,
    service: &file::Service,
    names: &BTreeSet<&str>,
    index: usize,
) {
    let mut seen = BTreeSet::new();
    for (position, backend) in service.backends.iter().enumerate() {
        let path = path!["services", index, "backends", position];
        if !names.contains(backend.as_str()) {
            let hint = nearest(backend, names.iter().copied());
            checker.problem(
                path,
                format!(
                    "`{}` calls `{backend}`, which is not a service here",
                    service.name
                ),
                hint,
            );
        } else if backend == &service.name {
            checker.problem(path, format!("`{backend}` calls itself"), None);
        } else if !seen.insert(backend) {
            checker.problem(path, format!("`{backend}` is listed twice"), None);
        }
    }
}

fn check_source(
    checker: &mut Checker,
    service: &file::Service,
    folder: &Path,
    index: usize,
) -> Source {
    let at = |field: &str| path!["services", index, field];
    let hint = "give one of `demo`, `path` and `image`";
    match (&service.demo, &service.path, &service.image) {
        (Some(demo), None, None) => {
            if !DEMO_SERVICES.contains(&demo.as_str()) {
                let hint = format!("one of {}", DEMO_SERVICES.join(", "));
                checker.problem(
                    at("demo"),
                    format!("there is no demo service `{demo}`"),
                    Some(hint),
                );
            }
            Source::Demo(demo.clone())
        }
        (None, Some(path), None) => {
            let path = folder.join(path);
            checker.require(
                path.join("main.py").is_file(),
                at("path"),
                || format!("there is no main.py in `{}`", path.display()),
                "the path is relative to this file",
            );
            Source::Folder(path)
        }
        (None, None, Some(image)) => {
            let good = !image.is_empty() && !image.contains(char::is_whitespace);
            checker.require(
                good,
                at("image"),
                || format!("`{image}` is not an image reference"),
                hint,
            );
            Source::Image(image.clone())
        }
        (None, None, None) => {
            checker.problem(
                path!["services", index],
                format!("nothing says what `{}` runs", service.name),
                Some(hint.into()),
            );
            Source::Demo(String::new())
        }
        _ => {
            let message = format!("more than one field says what `{}` runs", service.name);
            checker.problem(path!["services", index], message, Some(hint.into()));
            Source::Demo(String::new())
        }
    }
}

fn check_versions(checker: &mut Checker, service: &file::Service, index: usize) -> Vec<Version> {
    let at = |version: usize, field: &str| path!["services", index, "versions", version, field];
    if service.versions.is_empty() || service.versions.len() > 10 {
        let message = format!("`{}` has {} versions", service.name, service.versions.len());
        checker.problem(
            path!["services", index, "versions"],
            message,
            Some("1 to 10, the stable one first".into()),
        );
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut sum = 0.0;
    for (position, version) in service.versions.iter().enumerate() {
        checker.label("version name", &version.name, 20, at(position, "name"));
        if !seen.insert(&version.name) {
            checker.problem(
                at(position, "name"),
                format!("there are two versions named `{}`", version.name),
                None,
            );
        }
        checker.require(
            (0..=1000).contains(&version.replicas),
            at(position, "replicas"),
            || format!("{} replicas are not between 0 and 1000", version.replicas),
            "2 is the default",
        );
        if let Some(weight) = version.weight {
            checker.require(
                (0.0..=100.0).contains(&weight) && weight.fract() == 0.0,
                at(position, "weight"),
                || format!("the weight {weight} is not a whole number from 0 to 100"),
                "weights are percentages, and those of a service add up to 100",
            );
            sum += weight;
        }
        for name in version.env.keys() {
            let path = path![
                "services",
                index,
                "versions",
                position,
                "env",
                name.as_str()
            ];
            let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !valid {
                checker.problem(
                    path,
                    format!("`{name}` is not the name of an environment variable"),
                    None,
                );
            } else if RESERVED_VARIABLES.contains(&name.as_str()) {
                checker.problem(path, format!("meshctl sets `{name}` itself"), None);
            }
        }
    }
    let mut weights = service.versions.iter().filter_map(|version| version.weight);
    let known = weights.all(|weight| (0.0..=100.0).contains(&weight) && weight.fract() == 0.0);
    let open = service
        .versions
        .iter()
        .filter(|version| version.weight.is_none())
        .count();
    let first_open = service.versions[0].weight.is_none();
    let good = match open {
        0 => sum == 100.0,
        _ => sum <= 100.0 && (first_open || sum == 100.0),
    };
    checker.require(
        good || !known,
        path!["services", index, "versions"],
        || {
            format!(
                "the weights of `{}` add up to {sum}, not to 100",
                service.name
            )
        },
        "left out, a weight is 0, and the first version's is what the others leave",
    );
    let version = |(position, version): (usize, &file::Version)| Version {
        name: version.name.clone(),
        replicas: version.replicas,
        weight: version
            .weight
            .unwrap_or(if position == 0 { 100.0 - sum } else { 0.0 })
            .clamp(0.0, 100.0) as u8,
        env: version.env.clone(),
    };
    service.versions.iter().enumerate().map(version).collect()
}

fn check_ingress(checker: &mut Checker, file: &File) {
    let names: BTreeSet<&str> = file
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    if !names.contains(file.ingress.service.as_str()) {
        let hint = nearest(&file.ingress.service, names.iter().copied());
        let message = format!(
            "the ingress leads to `{}`, which is not a service here",
            file.ingress.service
        );
        checker.problem(path!["ingress", "service"], message, hint);
    }
    let behind = |service: &&file::Service| service.name == file.ingress.service;
    if file
        .services
        .iter()
        .find(behind)
        .is_some_and(|service| service.protocol == Protocol::Grpc)
    {
        // "The only supported listener protocol is HTTPS": the target groups of Application Load Balancers, version gRPC.
        checker.problem(
            path!["ingress", "service"],
            format!(
                "the ingress leads to `{}`, which speaks gRPC",
                file.ingress.service
            ),
            Some("an Application Load Balancer takes gRPC over HTTPS alone, and this one listens for HTTP: put a service that speaks HTTP in front".into()),
        );
    }
    if let Some(port) = file.ingress.port {
        checker.require(
            (1..=65535).contains(&port),
            path!["ingress", "port"],
            || format!("{port} is not a port"),
            "80 is the default",
        );
    }
}

/// `did you mean …?` for the nearest of the candidates, when one is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3 + 1)
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
