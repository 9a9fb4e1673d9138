//! What a run can find out, and when, before it starts.
//!
//! The expected number of the canary's requests is Wald's (1945) for a test of one rate against the other, times what
//! it costs that stable's rate is not given but measured beside it, which depends on the share: the less the canary
//! gets, the better stable is known.

use serde::Serialize;

use super::plan::Plan;

/// What can be told beforehand of one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// The canary's share, in percent.
    pub share: u8,
    /// The canary's requests until a healthy one has passed, on average.
    pub pass_requests: f64,
    /// The canary's requests until one that is worse by the effect is out, on average.
    pub out_requests: f64,
    /// How long that takes at the given rate, in seconds.
    pub pass_seconds: f64,
    /// See `pass_seconds`.
    pub out_seconds: f64,
}

/// The divergence of two probabilities (Kullback and Leibler), in nats.
pub fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p == 0.0 { 0.0 } else { p * (p / q).ln() };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

/// Wald's numbers of requests to accept a rate of `healthy` and to reject one of `bad`, both known beforehand.
pub fn wald(healthy: f64, bad: f64, alpha: f64, beta: f64) -> (f64, f64) {
    let (out, pass) = (((1.0 - beta) / alpha).ln(), (beta / (1.0 - alpha)).ln());
    let accept = ((1.0 - alpha) * -pass - alpha * out) / divergence(healthy, bad);
    let reject = ((1.0 - beta) * out + beta * pass) / divergence(bad, healthy);
    (accept, reject)
}

/// What is left of the divergence when stable's rate has to be learnt beside the canary's, for either truth.
fn concurrent(healthy: f64, effect: f64, share: f64) -> (f64, f64) {
    let ratio = (1.0 - share) / share;
    let bad = healthy + effect;
    // The common rate that explains a bad canary best.
    let pooled = share * bad + (1.0 - share) * healthy;
    let out = divergence(bad, pooled) + ratio * divergence(healthy, pooled);
    // The pair, apart by the effect, that explains a healthy canary best: a search over stable's rate.
    let pass = (1..400)
        .map(|part| healthy * f64::from(part) / 400.0)
        .map(|rate| divergence(healthy, rate + effect) + ratio * divergence(healthy, rate))
        .fold(divergence(healthy, bad), f64::min);
    (pass, out)
}

/// The forecast of every step that is judged, at a rate of requests per second to both versions together.
pub fn forecast(plan: &Plan, stable_errors: f64, rate: f64) -> Vec<Forecast> {
    let healthy = stable_errors.clamp(1e-5, 0.99 - plan.error_effect.min(0.98));
    let (wald_accept, wald_reject) =
        wald(healthy, healthy + plan.error_effect, plan.alpha, plan.beta);
    let steps = plan.steps.iter().take(plan.judged()).enumerate();
    steps
        .map(|(step, &percent)| {
            let share = f64::from(percent) / 100.0;
            let (pass, out) = concurrent(healthy, plan.error_effect, share);
            let bad = healthy + plan.error_effect;
            // Half the evidence is asked for before the last step.
            let part = plan.pass(step) / -plan.beta.ln();
            let pass_requests = wald_accept * divergence(healthy, bad) / pass * part;
            let out_requests = wald_reject * divergence(bad, healthy) / out;
            let per_second = (rate * share).max(1e-9);
            Forecast {
                share: percent,
                pass_requests,
                out_requests,
                pass_seconds: pass_requests / per_second,
                out_seconds: out_requests / per_second,
            }
        })
        .collect()
}

/// The forecast in words, and a warning for what cannot be decided in the time allowed.
pub fn words(plan: &Plan, stable_errors: f64, rate: f64) -> (Vec<String>, Option<String>) {
    let forecasts = forecast(plan, stable_errors, rate);
    let lines = forecasts.iter().map(|step| {
        format!(
            "at {rate:.1} requests/s × {} % this detects {:.1} % errors against {:.1} % in about {}; a healthy canary passes in about {}",
            step.share,
            (stable_errors + plan.error_effect) * 100.0,
            stable_errors * 100.0,
            time(step.out_seconds),
            time(step.pass_seconds),
        )
    });
    let lines = lines.collect();
    let limit = plan.step_limit.as_secs_f64();
    let slow = forecasts
        .iter()
        .filter(|step| step.pass_seconds.max(step.out_seconds) > limit);
    let slow: Vec<String> = slow.map(|step| format!("{} %", step.share)).collect();
    let warning = (!slow.is_empty()).then(|| {
        format!(
            "this traffic cannot decide in the {} that a step may take at {}: allow more time (--step-limit), begin with a greater share (--steps), accept a greater effect (--error-effect), or add traffic (--source probe)",
            time(limit),
            slow.join(", "),
        )
    });
    (lines, warning)
}

/// A time for people.
pub fn time(seconds: f64) -> String {
    match seconds {
        seconds if !seconds.is_finite() || seconds > 30.0 * 86400.0 => "more than a month".into(),
        seconds if seconds < 90.0 => format!("{seconds:.0} s"),
        seconds if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        seconds => format!("{:.0} days", seconds / 86400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walds_numbers_are_the_textbooks() {
        let (accept, reject) = wald(0.005, 0.02, 0.01, 0.05);
        assert!((reject - 325.0).abs() < 1.0, "{reject}");
        assert!((accept - 356.0).abs() < 1.0, "{accept}");
        let (accept, reject) = wald(0.005, 0.05, 0.01, 0.05);
        assert!((reject - 59.0).abs() < 1.0, "{reject}");
        assert!((accept - 84.0).abs() < 1.0, "{accept}");
    }

    #[test]
    fn measuring_stable_costs_little_beside_a_small_share_and_twice_beside_half() {
        let (alone, _) = (divergence(0.02, 0.005), ());
        let cost = |share| alone / concurrent(0.005, 0.015, share).1;
        assert!(cost(0.01) < 1.04, "{}", cost(0.01));
        assert!((1.1..1.3).contains(&cost(0.1)), "{}", cost(0.1));
        assert!(cost(0.5) > 1.8, "{}", cost(0.5));
    }

    #[test]
    fn it_says_how_long_and_warns_when_that_is_too_long() {
        let plan = Plan {
            steps: vec![10, 100],
            ..Plan::default()
        };
        let (lines, warning) = words(&plan, 0.005, 12.0);
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].starts_with(
                "at 12.0 requests/s × 10 % this detects 2.0 % errors against 0.5 % in about 5 min"
            ),
            "{lines:?}"
        );
        assert_eq!(warning, None);
        let (_, warning) = words(&plan, 0.005, 0.5);
        assert!(
            warning
                .expect("too little traffic")
                .contains("cannot decide in the 15 min")
        );
        let (lines, warning) = words(&plan, 0.005, 0.0);
        assert!(lines[0].contains("more than a month"), "{lines:?}");
        assert!(warning.is_some());
    }
}
