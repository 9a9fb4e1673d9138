//! A running container is asked how it is: its probes, and the hook before its end.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{LifecycleHandler, Probe};

use super::super::events::Event;
use super::super::probes::{self, Kind, Pace};
use super::Runner;
use super::execution::{Execute, only_sleeps};

impl Runner {
    /// Probes for ever; ends with the reason to restart the container.
    pub(super) async fn probe_all(&self, execute: &Execute) -> String {
        if let Some(probe) = self.container.startup_probe.clone() {
            let mut failed = false;
            self.probe(Kind::Startup, &probe, execute, |is| {
                failed = !is;
                std::ops::ControlFlow::Break(())
            })
            .await;
            if failed {
                return format!(
                    "Container {} failed startup probe, will be restarted",
                    self.container.name
                );
            }
            let ready = self.container.readiness_probe.is_none();
            self.update(|report| {
                report.started = true;
                report.ready = ready;
            });
        }
        let readiness = async {
            if let Some(probe) = self.container.readiness_probe.clone() {
                self.probe(Kind::Readiness, &probe, execute, |is| {
                    self.update(|report| report.ready = is);
                    std::ops::ControlFlow::Continue(())
                })
                .await;
            }
            std::future::pending::<()>().await;
        };
        let liveness = async {
            let Some(probe) = self.container.liveness_probe.clone() else {
                return std::future::pending::<()>().await;
            };
            self.probe(Kind::Liveness, &probe, execute, |is| match is {
                true => std::ops::ControlFlow::Continue(()),
                false => std::ops::ControlFlow::Break(()),
            })
            .await;
        };
        tokio::select! {
            () = readiness => {}
            () = liveness => {}
        }
        format!(
            "Container {} failed liveness probe, will be restarted",
            self.container.name
        )
    }

    /// Runs one probe; `tell` hears each change of the verdict.
    pub(super) async fn probe(
        &self,
        kind: Kind,
        probe: &Probe,
        execute: &Execute,
        mut tell: impl FnMut(bool) -> std::ops::ControlFlow<()>,
    ) {
        if matches!(execute, Execute::Nothing) {
            // Nothing runs that could answer; modelled readiness comes with the usual delay of a start.
            tokio::time::sleep(self.kubelet.scale(Duration::from_secs(5))).await;
            if tell(true).is_continue() {
                std::future::pending::<()>().await;
            }
            return;
        }
        let pace = Pace::new(kind, probe, &self.kubelet.world.clock);
        tokio::time::sleep(pace.initial_delay).await;
        let (mut verdict, mut row, mut since) = (None, 0, Instant::now());
        let mut succeeded = false;
        loop {
            let answer =
                match probes::ask(probe, &self.container, self.place.twin, pace.timeout).await {
                    Some(answer) => answer,
                    None => {
                        let command = probe
                            .exec
                            .as_ref()
                            .and_then(|action| action.command.clone());
                        let run = execute.run(command.unwrap_or_default());
                        match tokio::time::timeout(pace.timeout, run).await {
                            Ok(Ok(0)) => Ok(()),
                            Ok(Ok(code)) => Err(format!("command exited with code {code}")),
                            Ok(Err(message)) => Err(message),
                            Err(_) => Err("command timed out".to_owned()),
                        }
                    }
                };
            let is = answer.is_ok();
            succeeded |= is;
            if row == 0 || (row > 0) != is {
                row = 0;
                since = Instant::now();
            }
            row += if is { 1 } else { -1 };
            if let Err(why) = &answer
                && (verdict == Some(true) || row == -1)
            {
                self.event(Event::warning(
                    "Unhealthy",
                    &format!("{} probe failed: {why}", kind.name()),
                ));
            }
            let settled = match is {
                true => row >= pace.successes,
                false => {
                    let patience = match succeeded {
                        true => pace.patience,
                        false => pace.first_patience,
                    };
                    -row >= pace.failures && since.elapsed() >= patience
                }
            };
            if settled && verdict != Some(is) {
                verdict = Some(is);
                if tell(is).is_break() {
                    return;
                }
            }
            let rest = if verdict == Some(true) && is {
                pace.steady
            } else {
                pace.eager
            };
            tokio::time::sleep(rest).await;
        }
    }

    pub(super) async fn hook(
        &self,
        hook: &LifecycleHandler,
        execute: &Execute,
    ) -> Result<(), String> {
        if let Some(sleep) = &hook.sleep {
            let seconds = Duration::from_secs(sleep.seconds.max(0) as u64);
            tokio::time::sleep(self.kubelet.scale(seconds)).await;
            return Ok(());
        }
        if let Some(action) = &hook.exec {
            let command = action.command.clone().unwrap_or_default();
            if let Some(seconds) = only_sleeps(&command) {
                tokio::time::sleep(self.kubelet.scale(seconds)).await;
                return Ok(());
            }
            return match execute.run(command).await? {
                0 => Ok(()),
                code => Err(format!("command exited with {code}")),
            };
        }
        if hook.http_get.is_some() {
            let probe = Probe {
                http_get: hook.http_get.clone(),
                ..Probe::default()
            };
            let asked = probes::ask(
                &probe,
                &self.container,
                self.place.twin,
                Duration::from_secs(10),
            )
            .await;
            return asked.unwrap_or(Ok(()));
        }
        Ok(())
    }
}
