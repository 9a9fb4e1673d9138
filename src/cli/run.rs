//! What `up`, `down` and `plan` share: the lock, the signals, the journal, the display.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::args::Global;
use super::settings::{Scene, state_directory};
use super::{Error, Exit};
use crate::engine::{
    Cancellation, Executor, FailureKind, Journal, Listener, Outcome, Report, StepId,
};
use crate::views::{self, Both, Printer};

/// A run's hold on its environment: on this machine nobody else runs on it meanwhile.
pub(super) struct Hold {
    _lock: File,
    journal: Option<Arc<dyn Listener>>,
}

/// Takes hold of the environment.
///
/// # Errors
/// When another run holds it: who and since when.
pub(super) fn hold(scene: &Scene, command: &str) -> Result<Hold, Error> {
    let directory = state_directory()?;
    let account = match &scene.clients.settings.endpoint {
        // Two endpoints are two worlds; their runs do not concern each other.
        Some(endpoint) => endpoint.replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
        None => scene
            .clients
            .settings
            .profile
            .clone()
            .unwrap_or_else(|| "default".into()),
    };
    let name = format!(
        "{}.{}.{account}",
        scene.environment.name, scene.environment.region
    );
    let unusable = |error: std::io::Error| {
        Error::new(
            Exit::Failure,
            format!(
                "cannot use the state directory {}: {error}",
                directory.display()
            ),
        )
        .hint("make room or set MESHCTL_STATE_DIR to a folder that can be written")
    };
    std::fs::create_dir_all(&directory).map_err(unusable)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut lock = options
        .open(directory.join(format!("{name}.lock")))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let message = format!(
                "the environment `{}` is in use by {}",
                scene.environment.name,
                holder.trim()
            );
            return Err(Error::new(Exit::Blocked, message)
                .hint("wait until it is done, or stop it with Ctrl-C there"));
        }
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    let holder = format!(
        "`meshctl {command}`, process {}, since {}",
        std::process::id(),
        jiff::Timestamp::now()
    );
    let mut record = || {
        lock.set_len(0)?;
        lock.rewind()?;
        lock.write_all(holder.as_bytes())
    };
    record().map_err(unusable)?;
    let journal = Journal::open(&directory.join(format!("{name}.journal.ndjson")));
    Ok(Hold {
        _lock: lock,
        journal: journal
            .ok()
            .map(|journal| Arc::new(journal) as Arc<dyn Listener>),
    })
}

/// Where a run writes its timings.
#[derive(Debug, clap::Args)]
pub(super) struct Timings {
    /// Write where the run's time went as one HTML file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, num_args = 0..=1, require_equals = true, default_missing_value = "meshctl-timings.html")]
    timings: Option<PathBuf>,
}

impl Timings {
    /// Opens the file before the run, which is too dear to find out after it that there is no room for its timings.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(&self) -> Result<TimingsPage, Error> {
        let open = |path: &PathBuf| match File::create(path) {
            Ok(file) => Ok((path.clone(), file)),
            Err(error) => Err(Error::unwritable(path)(error)),
        };
        Ok(TimingsPage(self.timings.as_ref().map(open).transpose()?))
    }
}

/// A file for a run's timings, where they are wanted.
pub(super) struct TimingsPage(Option<(PathBuf, File)>);

impl TimingsPage {
    /// Writes the timings. That they could not be written changes nothing about how the run ended.
    pub(super) fn write(self, title: &str, report: &Report, printer: &Printer) {
        let Some((path, mut file)) = self.0 else {
            return;
        };
        let page = views::timings(title, report);
        match file.write_all(page.as_bytes()) {
            Ok(()) => printer.say(&format!("timings are in {}", path.display())),
            Err(error) => printer.error(&format!("cannot write {}: {error}", path.display()), None),
        }
    }
}

/// An executor that shows its run, writes the journal and stops on Ctrl-C and SIGTERM.
pub(super) fn executor(
    global: &Global,
    printer: &Printer,
    title: &str,
    hold: Option<&Hold>,
) -> Executor {
    let view = views::for_run(printer, title);
    let listener = match hold.and_then(|hold| hold.journal.clone()) {
        Some(journal) => Arc::new(Both(view, journal)) as Arc<dyn Listener>,
        None => view,
    };
    Executor {
        listener,
        cancellation: interruptible(),
        parallelism: global.parallelism.into(),
        timeout: Some(global.timeout),
    }
}

/// A cancellation that Ctrl-C and SIGTERM ask for.
pub(super) fn interruptible() -> Cancellation {
    let cancellation = Cancellation::new();
    let asked = cancellation.clone();
    tokio::spawn(async move {
        #[cfg(unix)]
        let mut terminate =
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(terminate) => terminate,
                Err(_) => return,
            };
        loop {
            #[cfg(unix)]
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => if interrupted.is_err() { return },
                _ = terminate.recv() => {}
            }
            #[cfg(not(unix))]
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            asked.interrupt();
        }
    });
    cancellation
}

/// Says a run's failures; returns its exit code, the first failure's.
pub(super) fn conclude(report: &Report, printer: &Printer, again: &str) -> Exit {
    let mut exit = Exit::Success;
    for (step, failure) in report.failures() {
        if exit == Exit::Success {
            exit = Exit::of(failure);
        }
        // A wait names what it waits for; a step's own title says which step it was.
        let message = match failure.message.contains(&step.title) || failure.resource == step.title
        {
            true => failure.to_string(),
            false => format!("{}: {failure}", step.title),
        };
        let onward = format!("mend the cause, then `{again}` goes on from here");
        let hint = failure.hint.as_deref().unwrap_or(&onward);
        printer.error(&message, Some(hint));
    }
    let mut skipped: BTreeMap<&StepId, usize> = BTreeMap::new();
    for step in &report.steps {
        if let Outcome::Skipped { because } = &step.outcome {
            *skipped.entry(because).or_default() += 1;
        }
    }
    for (because, count) in skipped {
        let cause = report.steps.iter().find(|step| step.id == *because);
        let cause = cause.map_or(because.as_str(), |step| &step.title);
        printer.say(&format!(
            "{count} {} skipped because of {cause}",
            if count == 1 { "step was" } else { "steps were" }
        ));
    }
    let cancelled = report
        .steps
        .iter()
        .filter(|step| matches!(step.outcome, Outcome::Cancelled))
        .count();
    let stopped = report
        .failures()
        .any(|(_, failure)| failure.kind == FailureKind::Cancelled);
    // A run whose time is over has steps that were not tried, too, and nobody interrupted it.
    if report.is_late {
        exit = Exit::Timeout;
        if cancelled > 0 {
            printer.say(&format!("{cancelled} steps were not tried"));
        }
    } else if cancelled > 0 || stopped {
        exit = Exit::Interrupted;
        printer.error(
            &format!("interrupted: {cancelled} steps were not tried"),
            Some(&format!(
                "go on with `{again}`; nothing that is done is done twice"
            )),
        );
    }
    exit
}
