//! Attributes: keys with defaults, changed one by one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Call, Fault, refuse, text};

/// Values by key.
pub type Attributes = BTreeMap<String, String>;

fn of(pairs: &[(&str, &str)]) -> Attributes {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Those of an application load balancer.
pub fn of_balancer() -> Attributes {
    of(&[
        ("access_logs.s3.enabled", "false"),
        ("access_logs.s3.bucket", ""),
        ("access_logs.s3.prefix", ""),
        ("client_keep_alive.seconds", "3600"),
        ("connection_logs.s3.enabled", "false"),
        ("connection_logs.s3.bucket", ""),
        ("connection_logs.s3.prefix", ""),
        ("deletion_protection.enabled", "false"),
        ("idle_timeout.timeout_seconds", "60"),
        ("load_balancing.cross_zone.enabled", "true"),
        ("routing.http.desync_mitigation_mode", "defensive"),
        ("routing.http.drop_invalid_header_fields.enabled", "false"),
        ("routing.http.preserve_host_header.enabled", "false"),
        (
            "routing.http.x_amzn_tls_version_and_cipher_suite.enabled",
            "false",
        ),
        ("routing.http.xff_client_port.enabled", "false"),
        ("routing.http.xff_header_processing.mode", "append"),
        ("routing.http2.enabled", "true"),
        ("waf.fail_open.enabled", "false"),
        ("zonal_shift.config.enabled", "false"),
    ])
}

/// Those of a target group.
pub fn of_group() -> Attributes {
    of(&[
        ("deregistration_delay.timeout_seconds", "300"),
        ("load_balancing.algorithm.anomaly_mitigation", "off"),
        ("load_balancing.algorithm.type", "round_robin"),
        (
            "load_balancing.cross_zone.enabled",
            "use_load_balancer_configuration",
        ),
        ("slow_start.duration_seconds", "0"),
        ("stickiness.enabled", "false"),
        ("stickiness.type", "lb_cookie"),
        ("stickiness.app_cookie.cookie_name", ""),
        ("stickiness.app_cookie.duration_seconds", "86400"),
        ("stickiness.lb_cookie.duration_seconds", "86400"),
        (
            "target_group_health.dns_failover.minimum_healthy_targets.count",
            "1",
        ),
        (
            "target_group_health.dns_failover.minimum_healthy_targets.percentage",
            "off",
        ),
        (
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
            "1",
        ),
        (
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
            "off",
        ),
    ])
}

/// Those of an HTTP listener.
pub fn of_listener() -> Attributes {
    of(&[
        ("routing.http.response.server.enabled", "true"),
        (
            "routing.http.response.strict_transport_security.header_value",
            "",
        ),
        (
            "routing.http.response.x_content_type_options.header_value",
            "",
        ),
        ("routing.http.response.x_frame_options.header_value", ""),
        (
            "routing.http.response.content_security_policy.header_value",
            "",
        ),
    ])
}

/// What a value may be, where that is known.
fn check(key: &str, value: &str) -> Result<(), String> {
    let within = |least: u64, most: u64| match value.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(format!(
            "'{value}' must be a number between {least} and {most}"
        )),
    };
    match key {
        "deregistration_delay.timeout_seconds" => within(0, 3600),
        "idle_timeout.timeout_seconds" => within(1, 4000),
        "slow_start.duration_seconds" if value != "0" => within(30, 900),
        "client_keep_alive.seconds" => within(60, 604_800),
        "stickiness.lb_cookie.duration_seconds" => within(1, 604_800),
        _ if key.ends_with(".enabled") && key != "load_balancing.cross_zone.enabled" => match value
        {
            "true" | "false" => Ok(()),
            _ => Err(format!("'{value}' must be true or false")),
        },
        _ => Ok(()),
    }
}

/// `Describe…Attributes`, and `Modify…Attributes`.
pub fn answer(
    attributes: &mut Attributes,
    call: &Call<'_>,
    modify: bool,
    what: &str,
) -> Result<Value, Fault> {
    if modify {
        let mut changed = attributes.clone();
        for attribute in call.input["Attributes"].as_array().into_iter().flatten() {
            let (key, value) = (text(attribute, "Key"), text(attribute, "Value"));
            if !changed.contains_key(key) {
                return Err(refuse(
                    "ValidationError",
                    format!("{what} attribute key '{key}' is not recognized"),
                ));
            }
            check(key, value).map_err(|reason| {
                refuse(
                    "ValidationError",
                    format!(
                        "The value of the {} attribute '{key}' is not valid: {reason}",
                        what.to_lowercase()
                    ),
                )
            })?;
            changed.insert(key.to_owned(), value.to_owned());
        }
        *attributes = changed;
    }
    let list: Vec<Value> = attributes
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    Ok(json!({ "Attributes": list }))
}
