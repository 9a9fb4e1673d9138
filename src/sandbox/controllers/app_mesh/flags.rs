//! The controller's command line.

use super::super::program::flags::{Flag, Flags, Kind};

/// All flags of v1.13.3.
pub const KNOWN: &[Flag] = &[
    ("sync-period", Kind::Duration, "10h"),
    ("metrics-addr", Kind::Text, "0.0.0.0:8080"),
    ("enable-leader-election", Kind::Bool, "false"),
    ("enable-custom-health-check", Kind::Bool, "false"),
    ("log-level", Kind::Text, "info"),
    ("page-limit", Kind::Int, "100"),
    ("health-probe-port", Kind::Int, "61779"),
    ("aws-region", Kind::Text, ""),
    ("aws-account-id", Kind::Text, ""),
    ("aws-api-throttle", Kind::Text, ""),
    ("use-aws-fips-endpoint", Kind::Bool, "false"),
    ("use-aws-dual-stack-endpoint", Kind::Bool, "false"),
    ("cloudmap-service-ttl", Kind::Int, "300"),
    ("enable-iam-for-service-accounts", Kind::Bool, "true"),
    ("enable-ecr-secret", Kind::Bool, "false"),
    ("enable-sds", Kind::Bool, "false"),
    ("sds-uds-path", Kind::Text, "/run/spire/sockets/agent.sock"),
    ("enable-backend-groups", Kind::Bool, "false"),
    (
        "sidecar-image-repository",
        Kind::Text,
        "public.ecr.aws/appmesh/aws-appmesh-envoy",
    ),
    ("sidecar-image-tag", Kind::Text, "v1.34.13.3-prod"),
    ("sidecar-cpu-requests", Kind::Text, "10m"),
    ("sidecar-memory-requests", Kind::Text, "32Mi"),
    ("sidecar-cpu-limits", Kind::Text, ""),
    ("sidecar-memory-limits", Kind::Text, ""),
    ("preview", Kind::Bool, "false"),
    ("sidecar-log-level", Kind::Text, "info"),
    ("prestop-delay", Kind::Text, "20"),
    ("poststart-timeout", Kind::Int, "180"),
    ("poststart-interval", Kind::Int, "5"),
    ("readiness-probe-initial-delay", Kind::Int, "1"),
    ("readiness-probe-period", Kind::Int, "10"),
    ("envoy-admin-access-port", Kind::Int, "9901"),
    (
        "envoy-admin-access-log-file",
        Kind::Text,
        "/tmp/envoy_admin_access.log",
    ),
    ("envoy-admin-access-enable-ipv6", Kind::Bool, "false"),
    ("dual-stack-endpoint", Kind::Bool, "false"),
    ("wait-until-proxy-ready", Kind::Bool, "false"),
    ("fips-endpoint", Kind::Bool, "false"),
    ("envoy-aws-access-key-id", Kind::Text, ""),
    ("envoy-aws-secret-access-key", Kind::Text, ""),
    ("envoy-aws-session-token", Kind::Text, ""),
    (
        "init-image",
        Kind::Text,
        "840364872350.dkr.ecr.us-west-2.amazonaws.com/aws-appmesh-proxy-route-manager:v7-prod",
    ),
    ("ignored-ips", Kind::Text, "169.254.169.254"),
    ("enable-jaeger-tracing", Kind::Bool, "false"),
    (
        "jaeger-address",
        Kind::Text,
        "appmesh-jaeger.appmesh-system",
    ),
    ("jaeger-port", Kind::Text, "9411"),
    ("enable-datadog-tracing", Kind::Bool, "false"),
    ("datadog-address", Kind::Text, "datadog.appmesh-system"),
    ("datadog-port", Kind::Int, "8126"),
    ("enable-xray-tracing", Kind::Bool, "false"),
    ("xray-daemon-port", Kind::Int, "2000"),
    ("xray-sampling-rate", Kind::Text, "0.05"),
    ("xray-log-level", Kind::Text, "prod"),
    ("xray-config-roleArn", Kind::Text, ""),
    (
        "xray-image",
        Kind::Text,
        "public.ecr.aws/xray/aws-xray-daemon",
    ),
    ("enable-stats-tags", Kind::Bool, "false"),
    ("enable-statsd", Kind::Bool, "false"),
    ("statsd-address", Kind::Text, "127.0.0.1"),
    ("statsd-port", Kind::Int, "8125"),
    ("statsd-socket-path", Kind::Text, ""),
    ("cluster-name", Kind::Text, ""),
    ("tls-min-version", Kind::Text, "VersionTLS12"),
    ("tls-cipher-suite", Kind::Text, ""),
];

/// What cannot go together.
pub fn validate(flags: &Flags) -> Result<(), String> {
    let tracers = [
        "enable-jaeger-tracing",
        "enable-datadog-tracing",
        "enable-xray-tracing",
    ];
    if tracers.iter().filter(|flag| flags.is(flag)).count() > 1 {
        return Err("Envoy only supports a single tracer instance. Please choose between Jaeger, Datadog or X-Ray.".into());
    }
    Ok(())
}
