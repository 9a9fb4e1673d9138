//! The policies that AWS manages, as far as a mesh environment on EKS uses them.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::show_document;

/// One of AWS's policies.
pub(super) struct Managed {
    /// The ARN after `arn:aws:iam::aws:policy`: `/AdministratorAccess`.
    location: &'static str,
    id: String,
    /// What it allows.
    pub document: Value,
}

/// Statements: the service and its actions, the resource, and a condition.
type Statements = &'static [(
    &'static str,
    &'static [&'static str],
    &'static str,
    Condition,
)];
/// `StringEquals` on one key.
type Condition = Option<(&'static str, &'static str)>;

const POLICIES: &[(&str, Statements)] = &[
    ("/AdministratorAccess", &[("*", &["*"], "*", None)]),
    (
        "/ReadOnlyAccess",
        &[
            ("appmesh", &["Describe*", "List*"], "*", None),
            (
                "cloudformation",
                &["Describe*", "Get*", "List*", "Validate*"],
                "*",
                None,
            ),
            ("ec2", &["Describe*", "Get*"], "*", None),
            (
                "ecr",
                &["BatchCheck*", "BatchGet*", "Describe*", "Get*", "List*"],
                "*",
                None,
            ),
            ("eks", &["Describe*", "List*"], "*", None),
            ("elasticloadbalancing", &["Describe*"], "*", None),
            ("iam", &["Get*", "List*", "Simulate*"], "*", None),
            ("logs", &["Describe*", "Get*", "List*"], "*", None),
            ("sts", &["GetCallerIdentity"], "*", None),
            ("xray", &["BatchGet*", "Get*"], "*", None),
        ],
    ),
    (
        "/AmazonEKSClusterPolicy",
        &[
            (
                "autoscaling",
                &["DescribeAutoScalingGroups", "UpdateAutoScalingGroup"],
                "*",
                None,
            ),
            (
                "ec2",
                &[
                    "AttachVolume",
                    "AuthorizeSecurityGroupIngress",
                    "CreateRoute",
                    "CreateSecurityGroup",
                    "CreateTags",
                    "CreateVolume",
                    "DeleteRoute",
                    "DeleteSecurityGroup",
                    "DeleteVolume",
                    "DescribeAccountAttributes",
                    "DescribeAddresses",
                    "DescribeAvailabilityZones",
                    "DescribeDhcpOptions",
                    "DescribeInstanceTopology",
                    "DescribeInstances",
                    "DescribeInternetGateways",
                    "DescribeNetworkInterfaces",
                    "DescribeRouteTables",
                    "DescribeSecurityGroups",
                    "DescribeSubnets",
                    "DescribeVolumes",
                    "DescribeVolumesModifications",
                    "DescribeVpcs",
                    "DetachVolume",
                    "ModifyInstanceAttribute",
                    "ModifyVolume",
                    "RevokeSecurityGroupIngress",
                ],
                "*",
                None,
            ),
            (
                "elasticloadbalancing",
                &[
                    "AddTags",
                    "ApplySecurityGroupsToLoadBalancer",
                    "AttachLoadBalancerToSubnets",
                    "ConfigureHealthCheck",
                    "CreateListener",
                    "CreateLoadBalancer",
                    "CreateLoadBalancerListeners",
                    "CreateLoadBalancerPolicy",
                    "CreateTargetGroup",
                    "DeleteListener",
                    "DeleteLoadBalancer",
                    "DeleteLoadBalancerListeners",
                    "DeleteTargetGroup",
                    "DeregisterInstancesFromLoadBalancer",
                    "DeregisterTargets",
                    "DescribeListeners",
                    "DescribeLoadBalancerAttributes",
                    "DescribeLoadBalancerPolicies",
                    "DescribeLoadBalancers",
                    "DescribeTargetGroupAttributes",
                    "DescribeTargetGroups",
                    "DescribeTargetHealth",
                    "DetachLoadBalancerFromSubnets",
                    "ModifyListener",
                    "ModifyLoadBalancerAttributes",
                    "ModifyTargetGroup",
                    "ModifyTargetGroupAttributes",
                    "RegisterInstancesWithLoadBalancer",
                    "RegisterTargets",
                    "SetLoadBalancerPoliciesForBackendServer",
                    "SetLoadBalancerPoliciesOfListener",
                ],
                "*",
                None,
            ),
            ("kms", &["DescribeKey"], "*", None),
            (
                "iam",
                &["CreateServiceLinkedRole"],
                "*",
                Some(("iam:AWSServiceName", "elasticloadbalancing.amazonaws.com")),
            ),
            (
                "ec2",
                &["DeleteNetworkInterface"],
                "*",
                Some(("ec2:ResourceTag/eks:eni:owner", "amazon-vpc-cni")),
            ),
        ],
    ),
    (
        "/AmazonEKSVPCResourceController",
        &[
            (
                "ec2",
                &[
                    "UpdateNetworkInterfaceAttributes",
                    "CreateNetworkInterfacePermission",
                ],
                "*",
                Some((
                    "ec2:ResourceTag/eks:eni:owner",
                    "eks-vpc-resource-controller",
                )),
            ),
            (
                "ec2",
                &[
                    "AssignPrivateIpAddresses",
                    "AttachNetworkInterface",
                    "CreateNetworkInterface",
                    "CreateTags",
                    "DeleteNetworkInterface",
                    "DescribeInstances",
                    "DescribeInstanceTypes",
                    "DescribeNetworkInterfaces",
                    "DescribeSecurityGroups",
                    "DescribeSubnets",
                    "DescribeVpcs",
                    "DetachNetworkInterface",
                    "ModifyNetworkInterfaceAttribute",
                    "UnassignPrivateIpAddresses",
                ],
                "*",
                None,
            ),
        ],
    ),
    (
        "/AmazonEKSWorkerNodePolicy",
        &[
            (
                "ec2",
                &[
                    "DescribeInstanceTypes",
                    "DescribeInstances",
                    "DescribeRouteTables",
                    "DescribeSecurityGroups",
                    "DescribeSubnets",
                    "DescribeVolumes",
                    "DescribeVolumesModifications",
                    "DescribeVpcs",
                ],
                "*",
                None,
            ),
            ("eks", &["DescribeCluster"], "*", None),
            ("eks-auth", &["AssumeRoleForPodIdentity"], "*", None),
        ],
    ),
    (
        "/AmazonEKSWorkerNodeMinimalPolicy",
        &[("eks-auth", &["AssumeRoleForPodIdentity"], "*", None)],
    ),
    (
        "/AmazonEKS_CNI_Policy",
        &[
            (
                "ec2",
                &[
                    "AssignPrivateIpAddresses",
                    "AttachNetworkInterface",
                    "CreateNetworkInterface",
                    "DeleteNetworkInterface",
                    "DescribeInstanceTypes",
                    "DescribeInstances",
                    "DescribeNetworkInterfaces",
                    "DescribeSubnets",
                    "DescribeTags",
                    "DetachNetworkInterface",
                    "ModifyNetworkInterfaceAttribute",
                    "UnassignPrivateIpAddresses",
                ],
                "*",
                None,
            ),
            (
                "ec2",
                &["CreateTags"],
                "arn:aws:ec2:*:*:network-interface/*",
                None,
            ),
        ],
    ),
    (
        "/AmazonEC2ContainerRegistryPullOnly",
        &[(
            "ecr",
            &[
                "BatchGetImage",
                "BatchImportUpstreamImage",
                "GetAuthorizationToken",
                "GetDownloadUrlForLayer",
            ],
            "*",
            None,
        )],
    ),
    (
        "/AmazonEC2ContainerRegistryReadOnly",
        &[(
            "ecr",
            &[
                "BatchCheckLayerAvailability",
                "BatchGetImage",
                "DescribeImageScanFindings",
                "DescribeImages",
                "DescribeRepositories",
                "GetAuthorizationToken",
                "GetDownloadUrlForLayer",
                "GetLifecyclePolicy",
                "GetLifecyclePolicyPreview",
                "GetRepositoryPolicy",
                "ListImages",
                "ListTagsForResource",
            ],
            "*",
            None,
        )],
    ),
    (
        "/AmazonEC2ContainerRegistryPowerUser",
        &[(
            "ecr",
            &[
                "BatchCheckLayerAvailability",
                "BatchGetImage",
                "CompleteLayerUpload",
                "DescribeImageScanFindings",
                "DescribeImages",
                "DescribeRepositories",
                "GetAuthorizationToken",
                "GetDownloadUrlForLayer",
                "GetLifecyclePolicy",
                "GetLifecyclePolicyPreview",
                "GetRepositoryPolicy",
                "InitiateLayerUpload",
                "ListImages",
                "ListTagsForResource",
                "PutImage",
                "UploadLayerPart",
            ],
            "*",
            None,
        )],
    ),
    (
        "/AmazonSSMManagedInstanceCore",
        &[
            (
                "ssm",
                &[
                    "DescribeAssociation",
                    "DescribeDocument",
                    "GetDeployablePatchSnapshotForInstance",
                    "GetDocument",
                    "GetManifest",
                    "GetParameter",
                    "GetParameters",
                    "ListAssociations",
                    "ListInstanceAssociations",
                    "PutComplianceItems",
                    "PutConfigurePackageResult",
                    "PutInventory",
                    "UpdateAssociationStatus",
                    "UpdateInstanceAssociationStatus",
                    "UpdateInstanceInformation",
                ],
                "*",
                None,
            ),
            (
                "ssmmessages",
                &[
                    "CreateControlChannel",
                    "CreateDataChannel",
                    "OpenControlChannel",
                    "OpenDataChannel",
                ],
                "*",
                None,
            ),
            (
                "ec2messages",
                &[
                    "AcknowledgeMessage",
                    "DeleteMessage",
                    "FailMessage",
                    "GetEndpoint",
                    "GetMessages",
                    "SendReply",
                ],
                "*",
                None,
            ),
        ],
    ),
    (
        "/AWSAppMeshEnvoyAccess",
        &[("appmesh", &["StreamAggregatedResources"], "*", None)],
    ),
    (
        "/AWSXRayDaemonWriteAccess",
        &[(
            "xray",
            &[
                "GetSamplingRules",
                "GetSamplingStatisticSummaries",
                "GetSamplingTargets",
                "PutTelemetryRecords",
                "PutTraceSegments",
            ],
            "*",
            None,
        )],
    ),
    (
        "/AWSXrayReadOnlyAccess",
        &[("xray", &["BatchGetTraces", "Get*"], "*", None)],
    ),
    (
        "/CloudWatchAgentServerPolicy",
        &[
            ("cloudwatch", &["PutMetricData"], "*", None),
            (
                "logs",
                &[
                    "CreateLogGroup",
                    "CreateLogStream",
                    "DescribeLogGroups",
                    "DescribeLogStreams",
                    "PutLogEvents",
                    "PutRetentionPolicy",
                ],
                "*",
                None,
            ),
            (
                "xray",
                &[
                    "GetSamplingRules",
                    "GetSamplingTargets",
                    "PutTelemetryRecords",
                    "PutTraceSegments",
                ],
                "*",
                None,
            ),
        ],
    ),
    // What service-linked roles carry. Nothing evaluates these here: see `Caller::is_service_linked`.
    (
        "/aws-service-role/AWSAppMeshServiceRolePolicy",
        &[("servicediscovery", &["DiscoverInstances"], "*", None)],
    ),
    (
        "/aws-service-role/AmazonEKSServiceRolePolicy",
        &[(
            "ec2",
            &[
                "CreateNetworkInterface",
                "DeleteNetworkInterface",
                "Describe*",
            ],
            "*",
            None,
        )],
    ),
    (
        "/aws-service-role/AWSServiceRoleForAmazonEKSNodegroup",
        &[
            ("autoscaling", &["*"], "*", None),
            (
                "ec2",
                &[
                    "CreateLaunchTemplate",
                    "CreateTags",
                    "Describe*",
                    "RunInstances",
                ],
                "*",
                None,
            ),
        ],
    ),
    (
        "/aws-service-role/AWSElasticLoadBalancingServiceRolePolicy",
        &[(
            "ec2",
            &[
                "AssociateAddress",
                "CreateNetworkInterface",
                "DeleteNetworkInterface",
                "Describe*",
            ],
            "*",
            None,
        )],
    ),
    (
        "/aws-service-role/AutoScalingServiceRolePolicy",
        &[(
            "ec2",
            &[
                "CreateTags",
                "Describe*",
                "RunInstances",
                "TerminateInstances",
            ],
            "*",
            None,
        )],
    ),
    (
        "/aws-service-role/AWSEC2SpotServiceRolePolicy",
        &[(
            "ec2",
            &[
                "Describe*",
                "RunInstances",
                "StartInstances",
                "StopInstances",
            ],
            "*",
            None,
        )],
    ),
];

static CATALOGUE: LazyLock<Vec<Managed>> = LazyLock::new(|| {
    POLICIES
        .iter()
        .map(|(location, statements)| Managed {
            location,
            id: id(location),
            document: json!({
                "Version": "2012-10-17",
                "Statement": statements.iter().map(statement).collect::<Vec<_>>(),
            }),
        })
        .collect()
});

fn statement((service, actions, resource, condition): &(&str, &[&str], &str, Condition)) -> Value {
    let actions: Vec<String> = match *service {
        "*" => vec!["*".into()],
        service => actions
            .iter()
            .map(|action| format!("{service}:{action}"))
            .collect(),
    };
    let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": resource});
    if let Some((key, value)) = condition {
        statement["Condition"] = json!({"StringEquals": {*key: value}});
    }
    statement
}

/// `ANPA…`, the same for the same policy.
fn id(location: &str) -> String {
    let seed = location.bytes().fold(7, |hash: u64, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut generator = fastrand::Rng::with_seed(seed);
    let rest = (0..17).map(|_| super::BASE32[generator.usize(..super::BASE32.len())] as char);
    "ANPA".chars().chain(rest).collect()
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Managed> {
    CATALOGUE.iter()
}

/// The one with this ARN.
pub(super) fn find(arn: &str) -> Option<&'static Managed> {
    let location = arn.strip_prefix("arn:aws:iam::aws:policy")?;
    all().find(|policy| policy.location == location)
}

/// AWS published them long before any sandbox began.
const PUBLISHED: &str = "2024-01-01T00:00:00Z";

impl Managed {
    /// Its ARN.
    pub(super) fn arn(&self) -> String {
        format!("arn:aws:iam::aws:policy{}", self.location)
    }

    fn split(&self) -> (&'static str, &'static str) {
        self.location
            .rsplit_once('/')
            .unwrap_or(("", self.location))
    }

    /// Its path: `/` or `/aws-service-role/`.
    pub(super) fn path(&self) -> String {
        format!("{}/", self.split().0)
    }

    /// As `GetPolicy` shows it.
    pub(super) fn show(&self, attachments: usize) -> Value {
        json!({
            "PolicyName": self.split().1,
            "PolicyId": self.id,
            "Arn": self.arn(),
            "Path": self.path(),
            "DefaultVersionId": "v1",
            "AttachmentCount": attachments,
            "PermissionsBoundaryUsageCount": 0,
            "IsAttachable": true,
            "CreateDate": PUBLISHED,
            "UpdateDate": PUBLISHED,
        })
    }

    /// As `GetPolicyVersion` shows its only version.
    pub(super) fn show_version(&self) -> Value {
        json!({
            "Document": show_document(&self.document.to_string()),
            "VersionId": "v1",
            "IsDefaultVersion": true,
            "CreateDate": PUBLISHED,
        })
    }
}
