//! What EKS offers: Kubernetes versions with their support dates, and add-ons.

use serde_json::{Value, json};

use super::{Call, Fault, invalid, page, texts};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::World;

/// A Kubernetes version of EKS.
pub struct Version {
    /// `1.35`.
    pub name: &'static str,
    patch: &'static str,
    platform: &'static str,
    released: &'static str,
    standard_until: &'static str,
    extended_until: &'static str,
}

/// Newest first; the dates are those of the EKS release calendar.
pub const VERSIONS: [Version; 6] = [
    version(
        "1.36",
        "1.36.2",
        "eks.6",
        "2026-06-02",
        "2027-08-02",
        "2028-08-02",
    ),
    version(
        "1.35",
        "1.35.4",
        "eks.12",
        "2026-01-27",
        "2027-03-27",
        "2028-03-27",
    ),
    version(
        "1.34",
        "1.34.7",
        "eks.20",
        "2025-10-02",
        "2026-12-02",
        "2027-12-02",
    ),
    version(
        "1.33",
        "1.33.11",
        "eks.27",
        "2025-05-29",
        "2026-07-29",
        "2027-07-29",
    ),
    version(
        "1.32",
        "1.32.13",
        "eks.34",
        "2025-01-23",
        "2026-03-23",
        "2027-03-23",
    ),
    version(
        "1.31",
        "1.31.14",
        "eks.50",
        "2024-09-26",
        "2025-11-26",
        "2026-11-26",
    ),
];

const fn version(
    name: &'static str,
    patch: &'static str,
    platform: &'static str,
    released: &'static str,
    standard_until: &'static str,
    extended_until: &'static str,
) -> Version {
    Version {
        name,
        patch,
        platform,
        released,
        standard_until,
        extended_until,
    }
}

fn moment(date: &str) -> Millis {
    format!("{date}T00:00:00Z")
        .parse::<jiff::Timestamp>()
        .map_or(0, |at| at.as_millisecond().max(0) as Millis)
}

impl Version {
    /// The platform version that new clusters get.
    pub fn platform(&self) -> &'static str {
        self.platform
    }

    /// What AL2023 images of it are called: `1.35.4-20261102`.
    pub fn release(&self) -> String {
        format!("{}-20261102", self.patch)
    }

    /// `STANDARD_SUPPORT`, `EXTENDED_SUPPORT` or `UNSUPPORTED` at a moment.
    pub fn support(&self, now: Millis) -> &'static str {
        if now < moment(self.released) || now >= moment(self.extended_until) {
            "UNSUPPORTED"
        } else if now < moment(self.standard_until) {
            "STANDARD_SUPPORT"
        } else {
            "EXTENDED_SUPPORT"
        }
    }

    fn describe(&self) -> Value {
        json!({
            "clusterVersion": self.name,
            "clusterType": "eks",
            "defaultPlatformVersion": self.platform,
            "defaultVersion": true,
            "releaseDate": super::seconds(moment(self.released)),
            "endOfStandardSupportDate": super::seconds(moment(self.standard_until)),
            "endOfExtendedSupportDate": super::seconds(moment(self.extended_until)),
            "status": "standard-support",
            "versionStatus": "STANDARD_SUPPORT",
            "kubernetesPatchVersion": self.patch,
        })
    }
}

/// The version of that name.
pub fn known(name: &str) -> Option<&'static Version> {
    VERSIONS.iter().find(|version| version.name == name)
}

/// The version that clusters of this sandbox have. It is the one of the API server that will serve them, so that what
/// EKS says of a cluster and what the cluster says of itself are the same; it is in standard support, whatever the date,
/// because nothing newer is there to go to.
pub fn served(world: &World) -> Option<&'static Version> {
    known(&world.kubernetes)
}

/// The version of that name for node groups, which may be older than their cluster, while EKS offers it.
pub fn find(name: &str, world: &World) -> Option<&'static Version> {
    known(name).filter(|version| {
        version.name == &*world.kubernetes || version.support(world.clock.now()) != "UNSUPPORTED"
    })
}

/// `v1.35.4-eks-…`, as the nodes of a Kubernetes version show it.
pub fn kubelet_version(name: &str) -> String {
    let patch = known(name).map_or(name, |version| version.patch);
    format!("v{patch}-eks-113cf36")
}

/// `DescribeClusterVersions`.
pub fn cluster_versions(call: &Call<'_>) -> Result<Value, Fault> {
    let names = texts(&call.input["clusterVersions"]);
    let wanted = call.input["versionStatus"]
        .as_str()
        .map(str::to_owned)
        .or_else(|| {
            let status = call.input["status"].as_str()?;
            Some(status.to_uppercase().replace('-', "_"))
        });
    if let Some(kind) = call.input["clusterType"].as_str()
        && kind != "eks"
        && kind != "eks-local-outposts"
    {
        return Err(invalid("", format!("Unsupported cluster type: {kind}")));
    }
    let shown: Vec<Value> = served(call.world)
        .filter(|version| names.is_empty() || names.iter().any(|name| name == version.name))
        .filter(|_| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted == "STANDARD_SUPPORT")
        })
        .map(Version::describe)
        .into_iter()
        .collect();
    Ok(json!({ "clusterVersions": shown }))
}

/// An add-on that EKS offers.
pub struct Offer {
    /// `vpc-cni`.
    pub name: &'static str,
    kind: &'static str,
    namespace: &'static str,
    /// Per Kubernetes version, newest add-on first; the second is the default.
    versions: &'static [(&'static str, &'static [&'static str])],
    permissions: Option<(&'static str, &'static str)>,
}

/// The add-ons. Names and namespaces are EKS's; the build numbers are of the right form, not a record of releases.
pub const OFFERS: [Offer; 4] = [
    Offer {
        name: "vpc-cni",
        kind: "networking",
        namespace: "kube-system",
        versions: &[(
            "*",
            &[
                "v1.21.2-eksbuild.3",
                "v1.21.1-eksbuild.7",
                "v1.20.5-eksbuild.1",
            ],
        )],
        permissions: Some(("aws-node", "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy")),
    },
    Offer {
        name: "kube-proxy",
        kind: "networking",
        namespace: "kube-system",
        versions: &[
            ("1.36", &["v1.36.2-eksbuild.3", "v1.36.1-eksbuild.2"]),
            ("1.35", &["v1.35.4-eksbuild.5", "v1.35.3-eksbuild.2"]),
            ("1.34", &["v1.34.6-eksbuild.2", "v1.34.5-eksbuild.2"]),
            ("1.33", &["v1.33.10-eksbuild.2", "v1.33.8-eksbuild.4"]),
            ("1.32", &["v1.32.13-eksbuild.2", "v1.32.11-eksbuild.5"]),
            ("1.31", &["v1.31.14-eksbuild.9", "v1.31.14-eksbuild.2"]),
        ],
        permissions: None,
    },
    Offer {
        name: "coredns",
        kind: "networking",
        namespace: "kube-system",
        versions: &[(
            "*",
            &[
                "v1.13.2-eksbuild.4",
                "v1.13.1-eksbuild.1",
                "v1.12.4-eksbuild.10",
            ],
        )],
        permissions: None,
    },
    Offer {
        name: "eks-pod-identity-agent",
        kind: "security",
        namespace: "kube-system",
        versions: &[("*", &["v1.3.10-eksbuild.2", "v1.3.9-eksbuild.5"])],
        permissions: None,
    },
];

impl Offer {
    /// The add-on's versions for a Kubernetes version, newest first.
    pub fn versions(&self, kubernetes: &str) -> &'static [&'static str] {
        self.versions
            .iter()
            .find(|(version, _)| *version == "*" || *version == kubernetes)
            .map_or(&[], |(_, list)| list)
    }

    /// The version that a cluster gets when its owner names none.
    pub fn default_version(&self, kubernetes: &str) -> Option<&'static str> {
        let list = self.versions(kubernetes);
        list.get(1).or(list.first()).copied()
    }
}

/// The add-on of that name.
pub fn offer(name: &str) -> Option<&'static Offer> {
    OFFERS.iter().find(|offer| offer.name == name)
}

/// `DescribeAddonVersions`.
pub fn addon_versions(call: &Call<'_>) -> Result<Value, Fault> {
    let wanted = call.input["addonName"].as_str();
    let kubernetes = call.input["kubernetesVersion"].as_str();
    let now = call.world.clock.now();
    if let Some(version) = kubernetes
        && find(version, call.world).is_none()
    {
        return Err(invalid(
            "",
            format!("Kubernetes version {version} is not supported"),
        ));
    }
    if let Some(name) = wanted
        && offer(name).is_none()
    {
        return Err(super::fault(
            404,
            "ResourceNotFoundException",
            "",
            format!("Addon {name} specified is not supported"),
        ));
    }
    let (types, publishers, owners) = (
        texts(&call.input["types"]),
        texts(&call.input["publishers"]),
        texts(&call.input["owners"]),
    );
    let allowed = |list: &[String], value: &str| list.is_empty() || list.iter().any(|v| v == value);
    let mut shown: Vec<&Offer> = OFFERS
        .iter()
        .filter(|offer| wanted.is_none_or(|name| name == offer.name))
        .filter(|offer| {
            allowed(&types, offer.kind) && allowed(&publishers, "eks") && allowed(&owners, "aws")
        })
        .collect();
    shown.sort_by_key(|offer| offer.name);
    let mut answer = page(
        call,
        "names",
        shown.iter().map(|offer| offer.name.to_owned()),
    );
    let names = texts(&answer["names"]);
    let addons: Vec<Value> = shown
        .iter()
        .filter(|offer| names.iter().any(|name| name == offer.name))
        .map(|offer| describe_offer(offer, kubernetes, now))
        .collect();
    Ok(json!({ "addons": addons, "nextToken": answer["nextToken"].take() }))
}

fn describe_offer(offer: &Offer, kubernetes: Option<&str>, now: Millis) -> Value {
    let offered: Vec<&Version> = VERSIONS
        .iter()
        .filter(|version| version.support(now) != "UNSUPPORTED")
        .filter(|version| kubernetes.is_none_or(|name| name == version.name))
        .collect();
    let mut builds: Vec<&str> = Vec::new();
    for version in &offered {
        for build in offer.versions(version.name) {
            if !builds.contains(build) {
                builds.push(build);
            }
        }
    }
    let versions: Vec<Value> = builds
        .iter()
        .map(|build| {
            let compatible: Vec<Value> = offered
                .iter()
                .filter(|version| offer.versions(version.name).contains(build))
                .map(|version| {
                    json!({
                        "clusterVersion": version.name,
                        "platformVersions": ["*"],
                        "defaultVersion": offer.default_version(version.name) == Some(build),
                    })
                })
                .collect();
            json!({
                "addonVersion": build,
                "architecture": ["amd64", "arm64"],
                "computeTypes": ["ec2", "auto", "hybrid"],
                "compatibilities": compatible,
                "requiresConfiguration": false,
                "requiresIamPermissions": offer.permissions.is_some(),
            })
        })
        .collect();
    json!({
        "addonName": offer.name,
        "type": offer.kind,
        "addonVersions": versions,
        "publisher": "eks",
        "owner": "aws",
        "defaultNamespace": offer.namespace,
    })
}

/// `DescribeAddonConfiguration`: the sandbox takes any JSON object as configuration.
pub fn addon_configuration(call: &Call<'_>) -> Result<Value, Fault> {
    let name = call.input["addonName"].as_str().unwrap_or_default();
    let version = call.input["addonVersion"].as_str().unwrap_or_default();
    let known = offer(name).filter(|offer| {
        offer
            .versions
            .iter()
            .any(|(_, list)| list.contains(&version))
    });
    let Some(offer) = known else {
        return Err(super::fault(
            404,
            "ResourceNotFoundException",
            "",
            format!("Addon {name} with version {version} is not supported"),
        ));
    };
    let identities: Vec<Value> = offer
        .permissions
        .iter()
        .map(|(account, policy)| {
            json!({ "serviceAccount": account, "recommendedManagedPolicies": [policy] })
        })
        .collect();
    Ok(json!({
        "addonName": name,
        "addonVersion": version,
        "configurationSchema": json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "object" }).to_string(),
        "podIdentityConfiguration": identities,
    }))
}
