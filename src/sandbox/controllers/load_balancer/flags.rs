//! The controller's command line.

use super::super::program::flags::{Flag, Flags, Kind};

/// The flags of v3.5.0.
pub const KNOWN: &[Flag] = &[
    ("log-level", Kind::Text, "info"),
    ("cluster-name", Kind::Text, ""),
    ("default-tags", Kind::Text, ""),
    ("default-target-type", Kind::Text, "instance"),
    ("default-load-balancer-scheme", Kind::Text, "internal"),
    ("external-managed-tags", Kind::Text, ""),
    ("service-target-eni-security-group-tags", Kind::Text, ""),
    ("service-max-concurrent-reconciles", Kind::Int, "3"),
    (
        "targetgroupbinding-max-concurrent-reconciles",
        Kind::Int,
        "3",
    ),
    ("gateway-class-max-concurrent-reconciles", Kind::Int, "3"),
    ("alb-gateway-max-concurrent-reconciles", Kind::Int, "3"),
    ("nlb-gateway-max-concurrent-reconciles", Kind::Int, "3"),
    (
        "globalaccelerator-max-concurrent-reconciles",
        Kind::Int,
        "1",
    ),
    (
        "globalaccelerator-max-exponential-backoff-delay",
        Kind::Duration,
        "16m40s",
    ),
    (
        "targetgroupbinding-max-exponential-backoff-delay",
        Kind::Duration,
        "16m40s",
    ),
    ("lb-stabilization-monitor-interval", Kind::Duration, "2m"),
    (
        "default-ssl-policy",
        Kind::Text,
        "ELBSecurityPolicy-2016-08",
    ),
    ("enable-backend-security-group", Kind::Bool, "true"),
    (
        "enable-manage-backend-security-group-rules",
        Kind::Bool,
        "false",
    ),
    ("backend-security-group", Kind::Text, ""),
    ("enable-endpoint-slices", Kind::Bool, "true"),
    ("disable-restricted-sg-rules", Kind::Bool, "false"),
    ("max-targets-per-target-group", Kind::Int, "0"),
    ("targetgroupbinding-requeue-duration", Kind::Duration, "15s"),
    ("required-secrets-label", Kind::Text, ""),
    ("feature-gates", Kind::Text, ""),
    ("metrics-bind-addr", Kind::Text, ":8080"),
    ("health-probe-bind-addr", Kind::Text, ":61779"),
    ("webhook-bind-port", Kind::Int, "9443"),
    ("enable-leader-election", Kind::Bool, "true"),
    (
        "leader-election-id",
        Kind::Text,
        "aws-load-balancer-controller-leader",
    ),
    ("leader-election-namespace", Kind::Text, ""),
    ("watch-namespace", Kind::Text, ""),
    ("sync-period", Kind::Duration, "10h"),
    ("kubeconfig", Kind::Text, ""),
    ("webhook-cert-dir", Kind::Text, ""),
    ("webhook-cert-file", Kind::Text, ""),
    ("webhook-key-file", Kind::Text, ""),
    ("kube-ca-pem-filepath", Kind::Text, ""),
    ("ingress-class", Kind::Text, "alb"),
    ("disable-ingress-class-annotation", Kind::Bool, "false"),
    ("disable-ingress-group-name-annotation", Kind::Bool, "false"),
    ("ingress-max-concurrent-reconciles", Kind::Int, "3"),
    ("tolerate-non-existent-backend-service", Kind::Bool, "true"),
    ("tolerate-non-existent-backend-action", Kind::Bool, "true"),
    ("allowed-certificate-authority-arns", Kind::Text, ""),
    ("enable-acm-certificates", Kind::Bool, "false"),
    ("default-pca-arn", Kind::Text, ""),
    ("aws-region", Kind::Text, ""),
    ("aws-api-endpoints", Kind::Text, ""),
    ("aws-api-throttle", Kind::Text, ""),
    ("aws-vpc-id", Kind::Text, ""),
    ("aws-vpc-tags", Kind::Text, ""),
    ("aws-vpc-cache-ttl", Kind::Duration, "5m"),
    ("aws-max-retries", Kind::Int, "10"),
    ("aws-vpc-tag-key", Kind::Text, "Name"),
    ("enable-waf", Kind::Bool, "true"),
    ("enable-wafv2", Kind::Bool, "true"),
    ("enable-shield", Kind::Bool, "true"),
    ("load-balancer-class", Kind::Text, "service.k8s.aws/nlb"),
    ("enable-pod-readiness-gate-inject", Kind::Bool, "true"),
    ("enable-service-mutator-webhook", Kind::Bool, "true"),
];

/// What has to be given and what is of use.
pub fn validate(flags: &Flags) -> Result<(), String> {
    if flags.text("cluster-name").is_empty() {
        return Err("kubernetes cluster name must be specified".into());
    }
    match flags.text("default-target-type") {
        "instance" | "ip" => {}
        other => return Err(format!("invalid value {other} for default target type")),
    }
    match flags.text("default-load-balancer-scheme") {
        "internal" | "internet-facing" => Ok(()),
        other => Err(format!(
            "invalid value {other} for default load balancer scheme"
        )),
    }
}

/// `a=b,c=d`.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}
