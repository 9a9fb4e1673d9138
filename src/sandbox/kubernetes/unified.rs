//! The lines in which two texts differ, as the real server shows them: unified, with three lines of context.
//!
//! Which lines are taken for the same is what Python's difflib found out, whose ways Go's library has: the longest run
//! of equal lines first, then what is before and behind it, and none that begins with a line that a long text is full of.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

/// How many lines are shown around a difference.
const CONTEXT: usize = 3;
/// From so many lines on, those that are more than a hundredth of them say nothing.
const LONG: usize = 200;

/// Equal lines: where they begin in each text, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    left: usize,
    right: usize,
    length: usize,
}

/// What happens to a part of the left text.
#[derive(Clone, Debug)]
struct Step {
    equal: bool,
    left: Range<usize>,
    right: Range<usize>,
}

/// The difference of two texts; empty when there is none.
pub fn difference(left: &str, right: &str) -> String {
    let (left, right) = (lines(left), lines(right));
    let mut out = String::new();
    for group in grouped(steps(&runs(&left, &right))) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let shown = [
            first.left.start..last.left.end,
            first.right.start..last.right.end,
        ];
        let [from, to] = shown.map(range);
        let _ = writeln!(out, "@@ -{from} +{to} @@");
        for step in &group {
            let (gone, came) = match step.equal {
                true => (" ", None),
                false => ("-", Some("+")),
            };
            for line in &left[step.left.clone()] {
                let _ = writeln!(out, "{gone}{line}");
            }
            for line in &right[step.right.clone()] {
                if let Some(sign) = came {
                    let _ = writeln!(out, "{sign}{line}");
                }
            }
        }
    }
    out
}

fn lines(text: &str) -> Vec<&str> {
    text.split('\n').collect()
}

fn range(lines: Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        length => format!("{},{length}", lines.start + 1),
    }
}

/// The equal parts in their order, with an empty one at the end.
fn runs(left: &[&str], right: &[&str]) -> Vec<Run> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, line) in right.iter().enumerate() {
        places.entry(line).or_default().push(place);
    }
    if right.len() >= LONG {
        places.retain(|_, found| found.len() <= right.len() / 100 + 1);
    }
    let mut found = Vec::new();
    let mut open = vec![(0..left.len(), 0..right.len())];
    while let Some((a, b)) = open.pop() {
        let run = longest(left, right, &places, &a, &b);
        if run.length == 0 {
            continue;
        }
        found.push(run);
        if a.start < run.left && b.start < run.right {
            open.push((a.start..run.left, b.start..run.right));
        }
        let (after, behind) = (run.left + run.length, run.right + run.length);
        if after < a.end && behind < b.end {
            open.push((after..a.end, behind..b.end));
        }
    }
    found.sort_by_key(|run| run.left);
    let mut joined: Vec<Run> = Vec::new();
    for run in found {
        match joined.last_mut() {
            Some(last)
                if last.left + last.length == run.left && last.right + last.length == run.right =>
            {
                last.length += run.length;
            }
            _ => joined.push(run),
        }
    }
    joined.push(Run {
        left: left.len(),
        right: right.len(),
        length: 0,
    });
    joined
}

fn longest(
    left: &[&str],
    right: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    a: &Range<usize>,
    b: &Range<usize>,
) -> Run {
    let mut best = Run {
        left: a.start,
        right: b.start,
        length: 0,
    };
    // How long the run is that ends at a place of the right text.
    let mut before: HashMap<usize, usize> = HashMap::new();
    for i in a.clone() {
        let mut now = HashMap::new();
        for &j in places.get(left[i]).into_iter().flatten() {
            if !b.contains(&j) {
                continue;
            }
            let longer = j.checked_sub(1).and_then(|j| before.get(&j));
            let length = longer.copied().unwrap_or(0) + 1;
            now.insert(j, length);
            if length > best.length {
                best = Run {
                    left: i + 1 - length,
                    right: j + 1 - length,
                    length,
                };
            }
        }
        before = now;
    }
    // Lines that say nothing belong to what they stand beside.
    while best.left > a.start
        && best.right > b.start
        && left[best.left - 1] == right[best.right - 1]
    {
        best.left -= 1;
        best.right -= 1;
        best.length += 1;
    }
    while best.left + best.length < a.end
        && best.right + best.length < b.end
        && left[best.left + best.length] == right[best.right + best.length]
    {
        best.length += 1;
    }
    best
}

fn steps(runs: &[Run]) -> Vec<Step> {
    let (mut left, mut right) = (0, 0);
    let mut steps = Vec::new();
    for run in runs {
        if left < run.left || right < run.right {
            steps.push(Step {
                equal: false,
                left: left..run.left,
                right: right..run.right,
            });
        }
        (left, right) = (run.left + run.length, run.right + run.length);
        if run.length > 0 {
            steps.push(Step {
                equal: true,
                left: run.left..left,
                right: run.right..right,
            });
        }
    }
    steps
}

/// Differences that are near each other stand together.
fn grouped(mut steps: Vec<Step>) -> Vec<Vec<Step>> {
    let tail = |range: &Range<usize>| range.start.max(range.end.saturating_sub(CONTEXT))..range.end;
    let head = |range: &Range<usize>| range.start..range.end.min(range.start + CONTEXT);
    let both = |step: &Step, part: &dyn Fn(&Range<usize>) -> Range<usize>| Step {
        equal: true,
        left: part(&step.left),
        right: part(&step.right),
    };
    if let Some(first) = steps.first_mut().filter(|step| step.equal) {
        *first = both(first, &tail);
    }
    if let Some(last) = steps.last_mut().filter(|step| step.equal) {
        *last = both(last, &head);
    }
    let mut groups = Vec::new();
    let mut group = Vec::new();
    for step in steps {
        if step.equal && step.left.len() > 2 * CONTEXT {
            group.push(both(&step, &head));
            groups.push(std::mem::take(&mut group));
            group.push(both(&step, &tail));
        } else {
            group.push(step);
        }
    }
    groups.push(group);
    groups.retain(|group| group.iter().any(|step| !step.equal));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_what_is_around_them() {
        let left: Vec<String> = (1..=30).map(|n| n.to_string()).collect();
        let mut right = left.clone();
        right[1] = "two".into();
        right.remove(20);
        right.insert(25, "more".into());
        assert_eq!(
            difference(&left.join("\n"), &right.join("\n")),
            "@@ -1,5 +1,5 @@\n 1\n-2\n+two\n 3\n 4\n 5\n@@ -18,12 +18,12 @@\n 18\n 19\n 20\n-21\n 22\n 23\n 24\n 25\n 26\n+more\n 27\n 28\n 29\n"
        );
        assert_eq!(difference("a\nb", "a\nb"), "");
        assert_eq!(difference("", "a"), "@@ -1 +1 @@\n-\n+a\n");
    }
}
