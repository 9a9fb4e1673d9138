use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::sandbox::data_plane::{aws, envoy};

struct Memory(Arc<Mutex<(Snapshot, Healths)>>);

impl Directory for Memory {
    fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap().0.clone()
    }

    fn tell(&self, healths: &Healths) {
        self.0.lock().unwrap().1 = healths.clone();
    }
}

/// Answers `/healthz` with what `healthy` says, everything else with a word.
async fn answering(at: SocketAddr, word: &'static str, healthy: Arc<Mutex<bool>>) {
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let healthy = healthy.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut request).await {
                    let probe = request[..length].starts_with(b"GET /healthz ");
                    let status = if probe && !*healthy.lock().unwrap() {
                        500
                    } else {
                        200
                    };
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{word}",
                        word.len()
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn group(arn: &str, ids: &[&str]) -> TargetGroup {
    let targets = ids.iter().map(|id| Target {
        id: (*id).to_owned(),
        port: 8080,
        draining: false,
    });
    TargetGroup {
        arn: arn.to_owned(),
        check: Check {
            protocol: "HTTP".to_owned(),
            port: None,
            path: "/healthz".to_owned(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            healthy: 2,
            unhealthy: 2,
            matcher: "200".to_owned(),
        },
        targets: targets.collect(),
    }
}

async fn until<F: Future<Output = bool>>(is: impl Fn() -> F) {
    let wait = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap();
}

#[test]
fn matchers() {
    assert!(health::accepts("200", 200));
    assert!(health::accepts("200-299,301", 204));
    assert!(health::accepts("200-299, 301", 301));
    assert!(!health::accepts("200", 500));
    assert!(!health::accepts("nonsense", 200));
}

#[tokio::test]
async fn a_load_balancer_serves_what_is_healthy() {
    let Ok(Some(program)) = envoy::find() else {
        return;
    };
    let (good, bad) = (Arc::new(Mutex::new(true)), Arc::new(Mutex::new(false)));
    answering("127.214.1.1:8080".parse().unwrap(), "good", good.clone()).await;
    answering("127.214.1.2:8080".parse().unwrap(), "bad", bad.clone()).await;
    let arn =
        "arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/k8s-demo/0123456789abcdef";
    let balancer = Balancer {
        arn: "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/demo/0123456789abcdef".to_owned(),
        address: "127.241.1.1".parse().unwrap(),
        idle_timeout: 60,
        listeners: vec![Listener {
            port: 8081,
            rules: vec![
                Rule {
                    conditions: vec![Condition::Path(vec!["/teapot*".to_owned()])],
                    action: Action::Fixed {
                        status: 418,
                        content_type: "text/plain".to_owned(),
                        body: "short and stout".to_owned(),
                    },
                },
                Rule {
                    conditions: Vec::new(),
                    action: Action::Forward(vec![(arn.to_owned(), 1)]),
                },
            ],
        }],
    };
    let snapshot = Snapshot {
        balancers: BTreeMap::from([(balancer.arn.clone(), balancer)]),
        groups: BTreeMap::from([(arn.to_owned(), group(arn, &["10.214.1.1", "10.214.1.2"]))]),
    };
    let shared = Arc::new(Mutex::new((snapshot, Healths::new())));
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(
        crate::sandbox::clock::Clock::new(600.0),
        "us-west-2",
        "http://127.0.0.1:9",
        "127.0.0.1:9",
        folder.path(),
        Default::default(),
    );
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(run(world, Memory(shared.clone()), Some(program), stopped));
    let state = |id: &str| {
        let shared = shared.lock().unwrap();
        shared
            .1
            .iter()
            .find(|((_, target), _)| target.id == id)
            .map(|(_, health)| health.state)
    };
    let ask = |path: &str| {
        let request = aws::http().get(format!("http://127.241.1.1:8081{path}"));
        async move {
            match request.send().await {
                Ok(answer) => (
                    answer.status().as_u16(),
                    answer.text().await.unwrap_or_default(),
                ),
                Err(_) => (0, String::new()),
            }
        }
    };
    until(async || ask("/").await.0 == 200).await;
    until(async || {
        state("10.214.1.1") == Some("healthy") && state("10.214.1.2") == Some("unhealthy")
    })
    .await;
    until(async || {
        for _ in 0..10 {
            if ask("/").await.1 != "good" {
                return false;
            }
        }
        true
    })
    .await;
    assert_eq!(ask("/teapot/1").await, (418, "short and stout".to_owned()));
    *bad.lock().unwrap() = true;
    until(async || ask("/").await.1 == "bad").await;
    stop.send_replace(true);
    task.await.unwrap();
    assert_eq!(ask("/").await.0, 0);
}
