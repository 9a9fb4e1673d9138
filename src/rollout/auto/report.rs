//! How a run went, for people (HTML) and for CI (JUnit).

use std::fmt::Write;

use super::machine::Outcome;
use super::run::{Ending, Point};
use crate::junit::{self, escaped};
use crate::page::{self, label, ticks};
use crate::rollout::split::clopper_pearson;

/// Points of a curve that are drawn at most.
const DRAWN: usize = 400;
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 24.0;

struct Line {
    /// What the legend says; nothing for a line that goes with the one before.
    name: &'static str,
    class: &'static str,
    points: Vec<(f64, f64)>,
}

/// A chart as SVG: lines, horizontal bounds, and where steps begin.
fn chart(
    title: &str,
    unit: &str,
    lines: &[Line],
    bounds: &[(f64, &str)],
    (first, last): (f64, f64),
    steps: &[(f64, u8)],
) -> String {
    let span = (last - first).max(1e-9);
    let values = lines.iter().flat_map(|line| &line.points);
    let values = values.map(|(_, value)| *value);
    let highest = values
        .chain(bounds.iter().map(|(value, _)| *value))
        .fold(0.0, f64::max);
    // Where nothing happened an axis still has numbers.
    let (unit_step, ticks) = ticks((highest * 1.05).max(1.0));
    let top = unit_step * f64::from(ticks);
    let x = |at: f64| LEFT + (at - first) / span * (WIDTH - LEFT - 10.0);
    let y = |value: f64| (HEIGHT - BOTTOM) - (value.max(0.0) / top) * (HEIGHT - BOTTOM - 10.0);
    let mut svg = format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">",
        escaped(title)
    );
    for part in 0..=ticks {
        let value = unit_step * f64::from(part);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/><text class=\"tick\" x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
            WIDTH - 10.0,
            y(value),
            LEFT - 6.0,
            y(value) + 4.0,
            label(value, unit_step, unit),
        );
    }
    for (at, weight) in steps {
        let _ = write!(
            svg,
            "<line class=\"step\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"4\" y2=\"{1}\"/><text class=\"tick\" x=\"{2:.1}\" y=\"14\">{weight} %</text>",
            x(*at),
            HEIGHT - BOTTOM,
            x(*at) + 3.0,
        );
    }
    for (value, name) in bounds {
        let _ = write!(
            svg,
            "<line class=\"bound\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/><text class=\"tick\" x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
            WIDTH - 10.0,
            y(*value),
            WIDTH - 14.0,
            y(*value) - 4.0,
            escaped(name),
        );
    }
    for line in lines {
        let every = line.points.len().div_ceil(DRAWN).max(1);
        let last = line.points.len().saturating_sub(1);
        let drawn = line.points.iter().enumerate();
        let drawn = drawn.filter(|(index, _)| index % every == 0 || *index == last);
        let points: Vec<String> = drawn
            .map(|(_, (at, value))| format!("{:.1},{:.1}", x(*at), y(*value)))
            .collect();
        let _ = write!(
            svg,
            "<polyline class=\"{}\" points=\"{}\"/>",
            line.class,
            points.join(" ")
        );
    }
    let _ = write!(
        svg,
        "<text class=\"tick\" x=\"{LEFT}\" y=\"{0}\">{1:.0} s</text><text class=\"tick\" x=\"{2}\" y=\"{0}\" text-anchor=\"end\">{3:.0} s</text></svg><p class=\"legend\">",
        HEIGHT - 6.0,
        first,
        WIDTH - 10.0,
        last,
    );
    for line in lines {
        if line.points.is_empty() || line.name.is_empty() {
            continue;
        }
        let _ = write!(
            svg,
            "<span class=\"{}\">{}</span> ",
            line.class,
            escaped(line.name)
        );
    }
    svg.push_str("</p></figure>");
    svg
}

/// A time for people: to the second.
fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The report: one file that needs nothing else, light or dark as the reader's screen.
pub fn html(ending: &Ending) -> String {
    let record = &ending.record;
    let plan = &record.plan;
    let class = match ending.outcome {
        Outcome::Promoted => "good",
        Outcome::RolledBack | Outcome::SplitNotRealised => "bad",
        _ => "open",
    };
    let title = format!("canary {} of {}", record.canary, record.service);
    let mut page = page::begin(&title, STYLE);
    let _ = write!(
        page,
        "<p class=\"verdict {class}\">{}</p>",
        escaped(&ending.words)
    );
    let _ = write!(
        page,
        "<table><tr><th>false rollbacks at most (α)</th><td>{} %</td></tr><tr><th>missed bad canaries at most (β)</th><td>{} %</td></tr><tr><th>smallest effect on errors</th><td>{} percentage points</td></tr>",
        plan.alpha * 100.0,
        plan.beta * 100.0,
        plan.error_effect * 100.0,
    );
    match plan.latency {
        Some(latency) => drop(write!(
            page,
            "<tr><th>smallest effect on latency</th><td>{} at quantile {}</td></tr>",
            latency.effect, latency.quantile
        )),
        None => page.push_str("<tr><th>latency</th><td>not judged</td></tr>"),
    }
    let _ = write!(
        page,
        "<tr><th>began</th><td>{}</td></tr><tr><th>run by</th><td>{} on {}</td></tr></table>",
        moment(record.began),
        escaped(&record.holder.who),
        escaped(&record.holder.host),
    );
    if !ending.likely_causes.is_empty() {
        page.push_str("<h2>Likely causes</h2><ul>");
        for cause in &ending.likely_causes {
            let _ = write!(page, "<li>{}</li>", escaped(cause));
        }
        page.push_str("</ul>");
    }
    let mut sources: Vec<&'static str> = ending.points.iter().map(|point| point.source).collect();
    sources.sort_unstable();
    sources.dedup();
    for source in sources {
        let points: Vec<&Point> = ending
            .points
            .iter()
            .filter(|point| point.source == source)
            .collect();
        page.push_str(&of_source(source, &points, ending));
    }
    page.push_str("<h2>Timeline</h2><table>");
    for entry in &record.timeline {
        let _ = write!(
            page,
            "<tr><td class=\"time\">{}</td><td>{}</td></tr>",
            moment(entry.at),
            escaped(&entry.what)
        );
    }
    page.push_str("</table>");
    page.push_str(page::END);
    page
}

fn of_source(source: &str, points: &[&Point], ending: &Ending) -> String {
    let mut page = format!("<h2>As {source} sees it</h2>");
    if let Some(counters) = ending.counters.get(source) {
        let _ = write!(page, "<p class=\"note\">{}</p>", escaped(counters));
    }
    let mut steps: Vec<(f64, u8)> = Vec::new();
    for point in points {
        if steps
            .last()
            .is_none_or(|(_, weight)| *weight != point.weight)
        {
            steps.push((point.at, point.weight));
        }
    }
    let times = || points.iter().map(|point| point.at);
    let last = times().fold(1.0, f64::max);
    // The same for all charts, so that they can be read one above the other.
    let time = (times().fold(last, f64::min), last);
    let line = |name, class, value: &dyn Fn(&Point) -> Option<f64>| Line {
        name,
        class,
        points: points
            .iter()
            .filter_map(|point| Some((point.at, value(point)?)))
            .filter(|(_, value)| value.is_finite())
            .collect(),
    };
    page.push_str(&chart(
        "Evidence against the canary: out at 1",
        "",
        &[line("canary is worse", "canary", &|point| {
            Some((point.standing.worse / point.standing.out).max(0.0))
        })],
        &[(1.0, "out")],
        time,
        &steps,
    ));
    page.push_str(&chart(
        "Evidence for the canary: both pass at 1",
        "",
        &[
            line("error rate is close", "canary", &|point| {
                Some((point.standing.close / point.standing.pass).max(0.0))
            }),
            line("latency is close", "other", &|point| {
                Some((point.standing.quick? / point.standing.pass).max(0.0))
            }),
        ],
        &[(1.0, "passed")],
        time,
        &steps,
    ));
    let percent = |share: f64| share * 100.0;
    page.push_str(&chart(
        "Error rate",
        " %",
        &[
            line("stable", "stable", &|point| {
                Some(percent(point.standing.stable.share()))
            }),
            line("canary", "canary", &|point| {
                Some(percent(point.standing.canary.share()))
            }),
        ],
        &[],
        time,
        &steps,
    ));
    page.push_str(&chart(
        "Latency: median and judged quantile",
        " ms",
        &[
            line("stable, median", "stable thin", &|point| {
                Some(point.standing.stable_millis?[0])
            }),
            line("stable, quantile", "stable", &|point| {
                Some(point.standing.stable_millis?[1])
            }),
            line("canary, median", "canary thin", &|point| {
                Some(point.standing.canary_millis?[0])
            }),
            line("canary, quantile", "canary", &|point| {
                Some(point.standing.canary_millis?[1])
            }),
        ],
        &[],
        time,
        &steps,
    ));
    page.push_str(&chart(
        "Split: the canary's share with its exact 95 % interval, and its weight",
        " %",
        &[
            line("weight", "stable", &|point| Some(f64::from(point.weight))),
            line("share", "canary", &|point| {
                share(point).map(|(share, _, _)| percent(share))
            }),
            line("95 % interval", "canary thin", &|point| {
                share(point).map(|(_, low, _)| percent(low))
            }),
            line("", "canary thin", &|point| {
                share(point).map(|(_, _, high)| percent(high))
            }),
        ],
        &[],
        time,
        &steps,
    ));
    page
}

fn share(point: &Point) -> Option<(f64, f64, f64)> {
    let (canary, all) = (
        point.standing.canary.total,
        point.standing.canary.total + point.standing.stable.total,
    );
    let interval = clopper_pearson(canary, all, 0.95);
    (all >= 20).then(|| (canary as f64 / all as f64, interval.low, interval.high))
}

const STYLE: &str = "figure{margin:14px 0}svg{width:100%;height:auto;display:block}.grid{stroke:var(--grid)}.step{stroke:var(--faint);stroke-dasharray:2 3}.bound{stroke:var(--bad);stroke-dasharray:6 4}.tick{fill:var(--faint);font-size:11px}polyline{fill:none;stroke-width:2}polyline.thin{stroke-width:1;opacity:.7}polyline.stable{stroke:var(--stable)}polyline.canary{stroke:var(--canary)}polyline.other{stroke:var(--other)}.legend{margin:2px 0 0 56px;font-size:13px}.legend span{margin-right:16px}.legend span::before{content:\"\";display:inline-block;width:14px;height:2px;margin-right:5px;vertical-align:middle;background:currentColor}.legend .thin::before{height:1px}.legend .stable{color:var(--stable)}.legend .canary{color:var(--canary)}.legend .other{color:var(--other)}.legend .thin{opacity:.7}";

/// The verdict as JUnit XML: one test for each judged step, or for the verdict where none was judged.
pub fn junit(ending: &Ending) -> String {
    let mut names: Vec<String> = ending
        .points
        .iter()
        .map(|point| format!("{} %", point.weight))
        .collect();
    names.dedup();
    if names.is_empty() {
        names.push("verdict".into());
    }
    let end = names.len() - 1;
    let cases = names.into_iter().enumerate().map(|(index, name)| {
        let passed = index < end || ending.outcome == Outcome::Promoted;
        junit::Case {
            class: format!("canary.{}", ending.record.service),
            name,
            seconds: None,
            result: match passed {
                true => junit::Result::Passed,
                false => junit::Result::Failed {
                    kind: format!("{:?}", ending.outcome),
                    message: ending.words.clone(),
                    text: ending.likely_causes.join("\n"),
                },
            },
        }
    });
    let last = ending.points.iter().map(|point| point.at);
    junit::suite(
        "meshctl canary",
        last.fold(0.0, f64::max),
        &cases.collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_of_nothing_has_an_axis() {
        let silent = chart("", " %", &[], &[], (0.0, 1.0), &[]);
        assert!(silent.contains(">0.25 %<"), "{silent}");
    }
}
