//! Reads an environment from text and says what is wrong with it, with file, line, column and a hint.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;

use super::check::{self, Problem};
use super::file::File;
use super::positions::{Key, Outline};
use super::{Environment, check::nearest};

/// The commented file that `init` writes; it describes the environment that is used when there is no file.
pub const DEFAULT_FILE: &str = include_str!("default.yaml");

/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// Everything that is wrong with a file.
#[derive(Debug)]
pub struct Invalid {
    /// The file, as the user named it.
    pub file: String,
    /// What is wrong, in the file's order; at least one.
    pub mistakes: Vec<Mistake>,
}

/// One thing that is wrong with a file.
#[derive(Debug)]
pub struct Mistake {
    /// The line, from 1; 0 when it concerns the whole file.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
    /// What is wrong, a lowercase fragment.
    pub message: String,
    /// The line itself.
    pub source: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Mistake {
                line,
                column,
                message,
                source,
                hint,
            } = mistake;
            match line {
                0 => write!(f, "{}: {message}", self.file)?,
                _ => write!(f, "{}:{line}:{column}: {message}", self.file)?,
            }
            if *line > 0 && !source.trim().is_empty() {
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                let indent = " ".repeat(column.saturating_sub(1) as usize);
                write!(
                    f,
                    "\n  {margin} |\n  {number} | {source}\n  {margin} | {indent}^"
                )?;
            }
            if let Some(hint) = hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

impl Environment {
    /// The environment that is used when there is no file: frontend → backend (v1, v2) → database.
    pub fn demo() -> Self {
        Self::parse(DEFAULT_FILE, "the built-in environment", Path::new(""))
            .expect("a test parses it")
    }

    /// The same environment under another name.
    ///
    /// # Errors
    /// When the name is none.
    pub fn renamed(mut self, name: &str) -> Result<Self, String> {
        check::environment_name(name)?;
        self.name = name.into();
        Ok(self)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is no YAML, has unknown fields or values that do not fit.
    pub fn load(path: &Path) -> Result<Self, Invalid> {
        let file = path.display().to_string();
        let hint = "write one with `meshctl init`, or leave `-f` out for the demo";
        let text = read(path, Some(hint))?;
        Self::parse(&text, &file, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads an environment from `text`; `file` names it in errors, `folder` is where its relative paths begin.
    ///
    /// # Errors
    /// As [`Environment::load`].
    pub fn parse(text: &str, file: &str, folder: &Path) -> Result<Self, Invalid> {
        check::resolve(parsed(text, file)?, folder).map_err(|problems| placed(text, file, problems))
    }
}

/// A list of items under a name, such as the rules of a file of faults; `check` says which field of an item is wrong, and
/// why.
///
/// # Errors
/// As [`Environment::load`].
pub fn load_list<T: DeserializeOwned>(
    path: &Path,
    name: &str,
    check: impl Fn(&T) -> Result<(), (&'static str, String)>,
) -> Result<Vec<T>, Invalid> {
    let (text, file) = (read(path, None)?, path.display().to_string());
    let mut lists: BTreeMap<String, Vec<T>> = parsed(&text, &file)?;
    let problem = |path: Vec<Key>, message: String| Problem {
        path,
        message,
        hint: None,
    };
    let list = lists.remove(name);
    let strangers = lists.into_keys().map(|other| {
        problem(
            vec![other.as_str().into()],
            format!("unknown field `{other}`, expected `{name}`"),
        )
    });
    let mut problems: Vec<Problem> = strangers.collect();
    for (index, item) in list.iter().flatten().enumerate() {
        if let Err((field, message)) = check(item) {
            let path = vec![name.into(), index.into(), field.into()];
            problems.push(problem(path, format!("{field}: {message}")));
        }
    }
    match (list, problems.is_empty()) {
        (Some(list), true) => Ok(list),
        (None, true) => Err(placed(
            &text,
            &file,
            vec![problem(Vec::new(), format!("missing field `{name}`"))],
        )),
        (_, false) => Err(placed(&text, &file, problems)),
    }
}

/// The text of a file; `hint` is for one that is not there.
fn read(path: &Path, hint: Option<&str>) -> Result<String, Invalid> {
    let whole = |message: String, hint: Option<&str>| Invalid {
        file: path.display().to_string(),
        mistakes: vec![Mistake {
            line: 0,
            column: 0,
            message,
            source: String::new(),
            hint: hint.map(Into::into),
        }],
    };
    let unread = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => whole("there is no such file".into(), hint),
        std::io::ErrorKind::InvalidData => whole("it is not UTF-8 text".into(), None),
        _ => whole(format!("cannot be read: {error}"), None),
    };
    let size = std::fs::metadata(path).map_err(unread)?;
    if !size.is_file() || size.len() > LARGEST_FILE {
        return Err(whole("it is not a file of at most 1 MiB".into(), None));
    }
    std::fs::read_to_string(path).map_err(unread)
}

fn parsed<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, Invalid> {
    serde_saphyr::from_str(text).map_err(|error| {
        let (line, column) = error
            .location()
            .map_or((0, 0), |at| (at.line(), at.column()));
        let (message, hint) = in_our_words(&error);
        invalid(text, file, vec![(line, column, message, hint)])
    })
}

fn placed(text: &str, file: &str, problems: Vec<Problem>) -> Invalid {
    let outline = Outline::of(text);
    let place = |problem: Problem| {
        let (line, column) = outline
            .as_ref()
            .map_or((0, 0), |outline| outline.position(&problem.path));
        (line, column, problem.message, problem.hint)
    };
    let mut mistakes: Vec<_> = problems.into_iter().map(place).collect();
    mistakes.sort_by_key(|(line, column, ..)| (*line, *column));
    invalid(text, file, mistakes)
}

/// The JSON schema of `meshctl.yaml`, for editors.
pub fn json_schema() -> serde_json::Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<File>()
        .to_value()
}

fn invalid(text: &str, file: &str, mistakes: Vec<(u64, u64, String, Option<String>)>) -> Invalid {
    let source = |line: u64| {
        let index = usize::try_from(line)
            .ok()
            .and_then(|line| line.checked_sub(1));
        index
            .and_then(|index| text.lines().nth(index))
            .unwrap_or_default()
            .to_string()
    };
    let mistakes = mistakes
        .into_iter()
        .map(|(line, column, message, hint)| Mistake {
            line,
            column,
            message,
            source: source(line),
            hint,
        })
        .collect();
    Invalid {
        file: file.into(),
        mistakes,
    }
}

/// The parser's first line without its place, and what was meant by an unknown field.
fn in_our_words(error: &serde_saphyr::Error) -> (String, Option<String>) {
    let rendered = error.without_snippet().to_string();
    let first = rendered.lines().next().unwrap_or_default();
    let message = match first.find(" at line ") {
        Some(at) => &first[..at],
        None => first,
    };
    let message = message
        .trim_start_matches("error: ")
        .trim_end_matches(':')
        .to_string();
    let unknown = message
        .strip_prefix("unknown")
        .and_then(|rest| rest.split('`').nth(1));
    let known = message
        .split_once(", expected ")
        .map(|(_, known)| known.trim_start_matches("one of "));
    let hint = match (unknown, known) {
        (Some(unknown), Some(known)) => nearest(
            unknown,
            known.split(", ").map(|name| name.trim_matches('`')),
        ),
        _ => None,
    };
    (message, hint)
}
