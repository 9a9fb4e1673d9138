//! How often AWS may be called, where AWS says so: token buckets of the account in each region, as the documentation of each
//! service describes them. What is not documented is not limited.
//!
//! Sources: "Request throttling for the Amazon EC2 API" (per operation: 100 tokens and 20 a second for what only looks, 50
//! and 5 for most of what changes something, more for tags and rules of security groups), "Request throttling for the Elastic
//! Load Balancing API" (40 and 10 for all that only look together), "Amazon ECR service quotas" (rates per operation, which
//! the registry's requests count towards), "CloudWatch Logs quotas" (10 a second).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A limit on calls.
struct Limit {
    /// Which calls: a name, or its beginning and `*`.
    calls: &'static str,
    /// Whether all these calls share one bucket, rather than each having its own.
    is_shared: bool,
    /// How many tokens the bucket holds.
    size: f64,
    /// How many come in each second.
    refill: f64,
}

const fn each(calls: &'static str, size: f64, refill: f64) -> Limit {
    Limit {
        calls,
        is_shared: false,
        size,
        refill,
    }
}

/// The first that fits a call counts.
const LIMITS: [Limit; 21] = [
    each("ec2:Describe*", 100.0, 20.0),
    each("ec2:CreateTags", 100.0, 10.0),
    each("ec2:DeleteTags", 100.0, 10.0),
    each("ec2:AuthorizeSecurityGroupIngress", 200.0, 10.0),
    each("ec2:RevokeSecurityGroupIngress", 200.0, 10.0),
    each("ec2:*", 50.0, 5.0),
    Limit {
        calls: "elasticloadbalancing:Describe*",
        is_shared: true,
        size: 40.0,
        refill: 10.0,
    },
    each("ecr:GetAuthorizationToken", 500.0, 500.0),
    each("ecr:BatchCheckLayerAvailability", 1000.0, 1000.0),
    each("ecr:InitiateLayerUpload", 100.0, 100.0),
    each("ecr:UploadLayerPart", 500.0, 500.0),
    each("ecr:CompleteLayerUpload", 100.0, 100.0),
    each("ecr:PutImage", 10.0, 10.0),
    each("ecr:BatchGetImage", 2000.0, 2000.0),
    each("ecr:GetDownloadUrlForLayer", 3000.0, 3000.0),
    each("logs:CreateLogGroup", 10.0, 10.0),
    each("logs:DescribeLogGroups", 10.0, 10.0),
    each("logs:DeleteLogGroup", 10.0, 10.0),
    each("logs:PutRetentionPolicy", 10.0, 10.0),
    each("logs:TagResource", 5.0, 5.0),
    each("logs:ListTagsForResource", 5.0, 5.0),
];

fn limit(call: &str) -> Option<&'static Limit> {
    LIMITS
        .iter()
        .find(|limit| match limit.calls.strip_suffix('*') {
            Some(beginning) => call.starts_with(beginning),
            None => limit.calls == call,
        })
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The buckets of a world. Cheap to clone: all clones are the same.
#[derive(Clone, Default)]
pub struct Rates(Arc<Mutex<HashMap<String, Bucket>>>);

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rates")
    }
}

impl Rates {
    /// Takes a token for a call (`ec2:DescribeVpcs`) in a region at a time; false when there is none.
    ///
    /// `speed` is how much faster than real time its caller lives. Whoever comes from outside lives in real time, however
    /// fast the sandbox's clock is; what runs in the sandbox lives by that clock, and has buckets of its own where they
    /// differ.
    pub fn take(&self, call: &str, region: &str, speed: f64, now: Instant) -> bool {
        let Some(limit) = limit(call) else {
            return true;
        };
        let calls = match limit.is_shared {
            true => limit.calls,
            false => call,
        };
        let mut buckets = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let bucket = buckets
            .entry(format!("{calls} {region} {speed}"))
            .or_insert(Bucket {
                tokens: limit.size,
                filled: now,
            });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64() * speed;
        bucket.tokens = (bucket.tokens + passed * limit.refill).min(limit.size);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_limit_is_of_calls_that_there_are() {
        let known: Vec<String> = super::super::services()
            .iter()
            .flat_map(|service| {
                let operations = service.operations().iter();
                operations.map(|operation| format!("{}:{}", service.signing_name(), operation.name))
            })
            .collect();
        for limit in &LIMITS {
            let beginning = limit.calls.trim_end_matches('*');
            let meant = |call: &String| call.starts_with(beginning);
            // Those of layers and images are made by the registry's requests, and by nobody by name.
            let is_registrys = limit.calls.contains("Layer") || limit.calls.contains("Image");
            assert!(known.iter().any(meant) || is_registrys, "{}", limit.calls);
        }
    }

    #[test]
    fn who_asks_too_often_is_told_so_and_others_are_not() {
        let rates = Rates::default();
        let now = Instant::now();
        let take = |call: &str, at: Instant| rates.take(call, "us-west-2", 1.0, at);
        let taken = (0..200).filter(|_| take("ec2:DescribeVpcs", now)).count();
        assert_eq!(taken, 100);
        assert!(take("ec2:DescribeSubnets", now), "each has its own");
        assert!(
            rates.take("ec2:DescribeVpcs", "eu-west-1", 1.0, now),
            "each region its own"
        );
        let later = now + Duration::from_secs(1);
        let taken = (0..200).filter(|_| take("ec2:DescribeVpcs", later)).count();
        assert_eq!(taken, 20);
        let shared = ["DescribeLoadBalancers", "DescribeListeners"];
        let taken = (0..100)
            .filter(|turn| take(&format!("elasticloadbalancing:{}", shared[turn % 2]), now))
            .count();
        assert_eq!(taken, 40);
        assert!((0..10_000).all(|_| take("eks:DescribeCluster", now)));
    }

    proptest! {
        #[test]
        fn no_more_pass_than_the_bucket_holds_and_gets(gaps in prop::collection::vec(0u64..400, 1..300)) {
            let rates = Rates::default();
            let began = Instant::now();
            let mut at = began;
            let mut passed = 0.0;
            for gap in gaps {
                at += Duration::from_millis(gap);
                if rates.take("ecr:PutImage", "us-west-2", 1.0, at) {
                    passed += 1.0;
                }
                prop_assert!(passed <= 10.0 + 10.0 * (at - began).as_secs_f64() + 1e-6);
            }
        }
    }
}
