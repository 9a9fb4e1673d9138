//! Self-contained pages for a browser: they need nothing else, and are light or dark as the reader's screen.

use crate::junit::escaped;

const STYLE: &str = ":root{--ground:#fff;--ink:#1c2024;--faint:#687076;--grid:#e6e8eb;--stable:#0b68cb;--canary:#b45309;--other:#6d28d9;--good:#15803d;--bad:#b91c1c}@media (prefers-color-scheme:dark){:root{--ground:#151718;--ink:#ecedee;--faint:#9ba1a6;--grid:#2b2f31;--stable:#52a9ff;--canary:#f5a524;--other:#bf7af0;--good:#4cc38a;--bad:#ff6369}}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}main{max-width:900px;margin:0 auto;padding:24px}h1{font-size:22px;margin:0 0 8px}h2{font-size:17px;margin:28px 0 8px}.verdict{font-size:18px;padding:10px 14px;border-left:4px solid var(--faint);background:var(--grid)}.verdict.good{border-color:var(--good)}.verdict.bad{border-color:var(--bad)}table{border-collapse:collapse}th,td{text-align:left;padding:3px 14px 3px 0;font-weight:normal;vertical-align:top}th,.note,.time,figcaption{color:var(--faint)}";

/// The end of a page.
pub const END: &str = "</main></body></html>\n";

/// A page's beginning, its title as its first heading; `style` comes after what all pages share.
pub fn begin(title: &str, style: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>{0}</title><style>{STYLE}{style}</style></head><body><main><h1>{0}</h1>",
        escaped(title),
    )
}

/// The distance of an axis's ticks, a number that people count by, and how many reach `highest`.
pub fn ticks(highest: f64) -> (f64, u32) {
    let highest = highest.max(1e-6);
    let decade = 10f64.powf((highest / 4.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * decade);
    let step = steps.into_iter().find(|step| highest / step <= 4.0);
    let step = step.unwrap_or(10.0 * decade);
    (step, (highest / step).ceil() as u32)
}

/// A tick's number, with as many digits as its distance to the next has.
pub fn label(value: f64, step: f64, unit: &str) -> String {
    let digits = (0..6).find(|digits| {
        let scaled = step * 10f64.powi(*digits);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    });
    let digits = digits.unwrap_or(6) as usize;
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_numbers_that_people_count_by() {
        let labels = |highest: f64, unit: &str| {
            let (step, count) = ticks(highest);
            let labels = (0..=count).map(|part| label(step * f64::from(part), step, unit));
            labels.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels(1.05, ""), "0.0 0.5 1.0 1.5");
        assert_eq!(labels(4.9, "%"), "0% 2% 4% 6%");
        assert_eq!(labels(300.0, " ms"), "0 ms 100 ms 200 ms 300 ms");
        assert_eq!(labels(0.9, ""), "0.00 0.25 0.50 0.75 1.00");
        assert!(ticks(0.0).1 >= 1);
        for highest in [1e-3, 0.07, 3.3, 12.0, 99.0, 12_345.0] {
            let (step, count) = ticks(highest);
            assert!(
                (1..=4).contains(&count) && step * f64::from(count) >= highest,
                "{highest}"
            );
        }
    }
}
