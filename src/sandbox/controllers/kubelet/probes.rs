//! Probes: what is asked, how often, and what counts as an answer.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::grpc_probe;
use crate::sandbox::clock::Clock;

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Until it succeeds, the others wait.
    Startup,
    /// Its failure restarts the container.
    Liveness,
    /// Its failure takes the pod out of its services.
    Readiness,
}

impl Kind {
    /// As events have it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }

    /// How long failures have to last, in real time, before they count: at sixty times the speed three failures in a
    /// row would otherwise be half a second, which a busy machine takes for its own.
    fn patience(self) -> Duration {
        match self {
            Kind::Startup => Duration::from_secs(60),
            Kind::Liveness => Duration::from_secs(10),
            Kind::Readiness => Duration::from_millis(200),
        }
    }
}

/// The pace of one probe in real time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Before the first.
    pub initial_delay: Duration,
    /// Between two while it has not succeeded yet.
    pub eager: Duration,
    /// Between two once it has.
    pub steady: Duration,
    /// For one answer; never scaled, since processes run in real time.
    pub timeout: Duration,
    /// Failures in a row that count as a failure.
    pub failures: i32,
    /// Successes in a row that count as a success.
    pub successes: i32,
    /// How long failures have to last to count.
    pub patience: Duration,
    /// The same while there has been no success yet: a process that starts on a busy machine takes its time.
    pub first_patience: Duration,
}

impl Pace {
    /// The pace of a probe at the sandbox's speed, with floors that keep a machine from being busy with probes.
    pub fn new(kind: Kind, probe: &Probe, clock: &Clock) -> Pace {
        let seconds = |value: Option<i32>, default: i32| {
            Duration::from_secs(value.unwrap_or(default).max(0) as u64)
        };
        let period = clock.scale(seconds(probe.period_seconds, 10));
        let natural = clock.scale(Duration::from_secs(1)) >= Duration::from_secs(1);
        let floor = |least: u64| {
            if natural {
                Duration::ZERO
            } else {
                Duration::from_millis(least)
            }
        };
        Pace {
            initial_delay: clock.scale(seconds(probe.initial_delay_seconds, 0)),
            eager: period.max(floor(50)),
            steady: period.max(floor(if kind == Kind::Readiness { 500 } else { 1000 })),
            timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            failures: probe.failure_threshold.unwrap_or(3).max(1),
            successes: probe.success_threshold.unwrap_or(1).max(1),
            patience: if natural {
                Duration::ZERO
            } else {
                kind.patience()
            },
            first_patience: match (natural, kind) {
                (true, _) => Duration::ZERO,
                (false, Kind::Readiness) => kind.patience(),
                (false, _) => Kind::Startup.patience(),
            },
        }
    }
}

/// A port by number or by the name that the container gives it.
pub fn port(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let named = ports
                .filter(|port| port.name.as_ref() == Some(name))
                .map(|port| port.container_port);
            let number = named.chain(name.parse().ok()).next()?;
            u16::try_from(number).ok()
        }
    }
}

fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            // A kubelet does not check whom it probes, and opens a connection for each probe.
            .danger_accept_invalid_certs(true)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("kube-probe/1.35")
            .build()
            .unwrap_or_default()
    })
}

/// Asks once over the network; `None` for a probe that has to be run in the container.
pub async fn ask(
    probe: &Probe,
    container: &Container,
    twin: IpAddr,
    timeout: Duration,
) -> Option<Result<(), String>> {
    if let Some(action) = &probe.http_get {
        let Some(number) = port(container, &action.port) else {
            return Some(Err(format!("couldn't find port: {:?}", action.port)));
        };
        let scheme = action
            .scheme
            .as_deref()
            .unwrap_or("HTTP")
            .to_ascii_lowercase();
        let host = action
            .host
            .clone()
            .filter(|host| !host.is_empty())
            .unwrap_or_else(|| twin.to_string());
        let path = action.path.as_deref().unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("{scheme}://{host}:{number}{slash}{path}");
        let mut request = client().get(&url).timeout(timeout);
        for header in action.http_headers.iter().flatten() {
            request = request.header(&header.name, &header.value);
        }
        return Some(match request.send().await {
            Ok(response) if (200..400).contains(&response.status().as_u16()) => Ok(()),
            Ok(response) => Err(format!(
                "HTTP probe failed with statuscode: {}",
                response.status().as_u16()
            )),
            Err(error) if error.is_timeout() => Err(format!(
                "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            )),
            Err(error) => Err(format!(
                "Get \"{url}\": {}",
                crate::sandbox::data_plane::aws::Error::from(error)
            )),
        });
    }
    if let Some(action) = &probe.grpc {
        let Ok(number) = u16::try_from(action.port) else {
            return Some(Err("couldn't find port".to_owned()));
        };
        let service = action.service.as_deref().unwrap_or_default();
        return Some(grpc_probe::check((twin, number).into(), service, timeout).await);
    }
    let action = probe.tcp_socket.as_ref()?;
    let Some(number) = port(container, &action.port) else {
        return Some(Err("couldn't find port".to_owned()));
    };
    let connected =
        tokio::time::timeout(timeout, tokio::net::TcpStream::connect((twin, number))).await;
    Some(match connected {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("dial tcp {twin}:{number}: {error}")),
        Err(_) => Err(format!("dial tcp {twin}:{number}: i/o timeout")),
    })
}
