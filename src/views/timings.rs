//! Where a run's time went, as a page for a browser: every step as a bar, the critical path marked.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use super::seconds;
use crate::engine::{Outcome, Report, StepId, StepReport};
use crate::junit::escaped;
use crate::page::{self, label, ticks};

const STYLE: &str = "main{max-width:1200px}.axis,.row{display:grid;grid-template-columns:minmax(160px,30%) 1fr;column-gap:12px}.row{font-size:13px;line-height:20px}.row:hover{background:var(--grid)}.row>span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;text-align:right;color:var(--faint)}.row.critical>span{color:var(--ink);font-weight:600}.lane{position:relative;height:20px}.lane i{position:absolute;top:4px;height:12px;min-width:2px;border-radius:2px;background:var(--stable);opacity:.55}.critical .lane i{opacity:1;background:var(--canary)}.lane.bad i{background:var(--bad);opacity:1}.lane.idle i{background:var(--faint);opacity:.4}.lane b{position:absolute;font-weight:normal;font-size:11px;color:var(--faint);white-space:nowrap;padding:0 4px}.axis .lane b{border-left:1px solid var(--faint)}.axis{position:sticky;top:0;background:var(--ground);z-index:1}svg{display:block;width:100%;height:60px}polyline{fill:none;stroke:var(--stable);stroke-width:1.5;vector-effect:non-scaling-stroke}body:has(#only:checked) .row:not(.critical){display:none}label{display:block;margin:20px 0 8px}.key i{display:inline-block;width:12px;height:12px;border-radius:2px;vertical-align:-1px;margin:0 4px 0 14px}";

/// The page.
pub fn timings(title: &str, report: &Report) -> String {
    let whole = report.took.max(Duration::from_millis(1));
    let percent = |time: Duration| 100.0 * time.as_secs_f64() / whole.as_secs_f64();
    let (critical, path) = report.critical_path();
    let mut steps: Vec<&StepReport> = report.steps.iter().filter(|step| is_run(step)).collect();
    let tried: HashSet<&StepId> = steps.iter().map(|step| &step.id).collect();
    let path: HashSet<&StepId> = path.into_iter().filter(|id| tried.contains(id)).collect();
    // Stable: what begins at the same time stays in the order of the graph.
    steps.sort_by_key(|step| step.began);
    let worked: Duration = steps.iter().map(|step| step.took).sum();
    let busy = concurrency(&steps);
    let most = busy.iter().map(|(_, running)| *running).max().unwrap_or(0);

    let mut page = page::begin(title, STYLE);
    page.push_str("<table>");
    for (name, value) in [
        ("took", seconds(report.took)),
        (
            "critical path",
            format!(
                "{} in {} steps; the run took {:.2} times as long",
                seconds(critical),
                path.len(),
                whole.as_secs_f64() / critical.max(Duration::from_millis(1)).as_secs_f64()
            ),
        ),
        (
            "steps",
            format!(
                "{} of {}, {} of work, {most} at once at most",
                steps.len(),
                report.steps.len(),
                seconds(worked)
            ),
        ),
    ] {
        let _ = write!(page, "<tr><th>{name}</th><td>{value}</td></tr>");
    }
    page.push_str("</table><p class=\"key note\"><i style=\"background:var(--canary)\"></i>critical path<i style=\"background:var(--stable);opacity:.55\"></i>other steps<i style=\"background:var(--faint);opacity:.4\"></i>nothing to do<i style=\"background:var(--bad)\"></i>failed</p>");
    let points: Vec<String> = busy
        .iter()
        .map(|(at, running)| format!("{:.2},{}", percent(*at), most - running))
        .collect();
    let _ = write!(
        page,
        "<h2>Steps at once</h2><div class=\"row\"><span>0 to {most}</span><svg viewBox=\"0 0 100 {0}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"steps at once over time\"><polyline points=\"{1}\"/></svg></div>",
        most.max(1),
        points.join(" ")
    );
    page.push_str("<label><input type=\"checkbox\" id=\"only\"> only the critical path</label>");
    page.push_str("<div class=\"axis\"><span></span><div class=\"lane\">");
    let (distance, count) = ticks(whole.as_secs_f64());
    for part in 0..=count {
        let at = distance * f64::from(part);
        if at <= whole.as_secs_f64() {
            let _ = write!(
                page,
                "<b style=\"left:{:.2}%\">{}</b>",
                percent(Duration::from_secs_f64(at)),
                label(at, distance, " s")
            );
        }
    }
    page.push_str("</div></div>");
    for step in steps {
        row(&mut page, step, path.contains(&step.id), percent);
    }
    page.push_str(page::END);
    page
}

fn is_run(step: &StepReport) -> bool {
    !matches!(step.outcome, Outcome::Skipped { .. } | Outcome::Cancelled)
}

fn row(page: &mut String, step: &StepReport, is_critical: bool, percent: impl Fn(Duration) -> f64) {
    let lane = match step.outcome {
        Outcome::Failed { .. } => " bad",
        Outcome::Applied { .. } | Outcome::Destroyed => "",
        _ => " idle",
    };
    let (left, end) = (percent(step.began), percent(step.began + step.took));
    // The time is written where there is room for it.
    let side = match end < 85.0 {
        true => format!("left:{end:.2}%"),
        false => format!("right:{:.2}%", 100.0 - left),
    };
    let after: Vec<&str> = step.after.iter().map(StepId::as_str).collect();
    let _ = write!(
        page,
        "<div class=\"row{}\" title=\"{}&#10;from {} to {}{}\"><span>{}</span><div class=\"lane{lane}\"><i style=\"left:{left:.2}%;width:{:.2}%\"></i><b style=\"{side}\">{}</b></div></div>",
        if is_critical { " critical" } else { "" },
        escaped(step.id.as_str()),
        seconds(step.began),
        seconds(step.began + step.took),
        match after.is_empty() {
            true => String::new(),
            false => format!("&#10;after {}", escaped(&after.join(", "))),
        },
        escaped(&step.title),
        end - left,
        seconds(step.took),
    );
}

/// How many steps run from each moment on at which that changes, as the corners of a line.
fn concurrency(steps: &[&StepReport]) -> Vec<(Duration, i64)> {
    let mut changes: Vec<(Duration, i64)> = steps
        .iter()
        .flat_map(|step| [(step.began, 1), (step.began + step.took, -1)])
        .collect();
    changes.sort_unstable();
    let mut running = 0;
    let mut corners = vec![(Duration::ZERO, 0)];
    for (at, change) in changes {
        corners.push((at, running));
        running += change;
        corners.push((at, running));
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Change, Phase};

    fn step(id: &str, began: u64, took: u64, after: &[&str], outcome: Outcome) -> StepReport {
        StepReport {
            id: StepId::new(id),
            title: format!("the <{id}>"),
            outcome,
            began: Duration::from_secs(began),
            took: Duration::from_secs(took),
            after: after.iter().map(|id| StepId::new(*id)).collect(),
        }
    }

    #[test]
    fn a_run_is_a_page_with_its_critical_path() {
        let made = || Outcome::Applied {
            change: Change::Create,
        };
        let report = Report {
            phase: Phase::Apply,
            steps: vec![
                step("network", 0, 4, &[], made()),
                step("image", 0, 1, &[], Outcome::Unchanged),
                step("cluster", 4, 6, &["network", "image"], made()),
                step(
                    "nodes",
                    0,
                    0,
                    &["cluster"],
                    Outcome::Skipped {
                        because: StepId::new("cluster"),
                    },
                ),
            ],
            is_late: false,
            took: Duration::from_secs(10),
        };
        insta::assert_snapshot!(
            timings("up demo", &report)
                .replace("<div", "\n<div")
                .replace("<tr", "\n<tr")
        );
    }
}
