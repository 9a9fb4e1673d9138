//! `meshctl canary --auto`, `resume`, `undo` and `abort`.

use std::path::Path;
use std::sync::Arc;

use super::arguments::{Judging, Outputs, Sources};
use super::show::show;
use crate::cli::args::Global;
use crate::cli::run::{hold, interruptible};
use crate::cli::settings::Scene;
use crate::cli::{Error, Exit};
use crate::config::Service;
use crate::engine::{Context, Listener, Silence};
use crate::rollout::Canary as Rollout;
use crate::rollout::auto::machine::{Cause, Event, State};
use crate::rollout::auto::record::{Holder, Record, Shelf};
use crate::rollout::auto::recording;
use crate::rollout::auto::report;
use crate::rollout::auto::run::{Auto, Ending};
use crate::views::{self, CanaryView, Printer};

/// What is to be done with the record that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Resume,
    Undo,
    Abort,
}

async fn holder(scene: &Scene) -> Result<Holder, Error> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok());
    let host = host
        .map(|host| host.trim().to_owned())
        .filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| "an unnamed machine".into());
    Ok(Holder::here(&scene.clients.identity().await?.arn, host))
}

/// Begins a run.
pub(super) async fn begin(
    judging: &Judging,
    sources: &Sources,
    outputs: &Outputs,
    (scene, rollout, service): (&Scene, &Rollout<'_>, &Service),
    global: &Global,
    printer: &Printer,
) -> Result<Exit, Error> {
    let plan = judging.plan()?;
    let kinds = sources.kinds(service.protocol)?;
    let _hold = hold(scene, "canary")?;
    let [stable, canary, ..] = service.versions.as_slice() else {
        return Err(Error::new(
            Exit::Invalid,
            format!(
                "service {} has one version, so there is nothing to judge",
                service.name
            ),
        )
        .hint("add a version to the environment's file and run `meshctl up`"));
    };
    // Who, when and where is more than that the weight is another.
    refuse_while_under_way(rollout, service).await?;
    let before = rollout
        .mesh
        .split(rollout.cluster, service)
        .await?
        .configured;
    let given = before.iter().find(|(version, _)| *version == canary.name);
    if let Some((_, weight)) = given.filter(|(_, weight)| *weight > 0) {
        return Err(Error::new(
            Exit::Blocked,
            format!(
                "{} of {} has {weight} % of the traffic already",
                canary.name, service.name
            ),
        )
        .hint("give stable all traffic first with `meshctl canary abort`"));
    }
    let mut record = Record::new(
        holder(scene).await?,
        &service.name,
        (&stable.name, &canary.name),
        before,
        plan,
        kinds,
    );
    record.note(format!(
        "begun by {} on {}",
        record.holder.who, record.holder.host
    ));
    let shelf = Shelf::new(rollout.cluster, rollout.mesh.split_object(service));
    shelf.claim(&mut record).await?;
    drive(record, outputs, (rollout, service), global, printer).await
}

/// Goes on with a run that is there.
pub(super) async fn again(
    what: Again,
    outputs: &Outputs,
    (scene, rollout, service): (&Scene, &Rollout<'_>, &Service),
    global: &Global,
    printer: &Printer,
) -> Result<Option<Exit>, Error> {
    let shelf = Shelf::new(rollout.cluster, rollout.mesh.split_object(service));
    let there = shelf.read().await?;
    let Some(mut record) = there.filter(|record| what == Again::Undo || !record.is_settled())
    else {
        return match what {
            // Without a record it is done by hand.
            Again::Abort => Ok(None),
            Again::Resume => Err(
                Error::new(Exit::Invalid, "there is no canary to go on with")
                    .hint("begin one with `meshctl canary --auto`"),
            ),
            Again::Undo => Err(nothing_to_undo()),
        };
    };
    record.state = match (what, record.state) {
        (Again::Resume, _) if record.is_alive() => {
            return Err(Error::new(
                Exit::Blocked,
                format!("the canary is under way: {}", record.whose()),
            )
            .hint("wait for it, or end it with `meshctl canary abort`"));
        }
        (Again::Resume, state) => state.on(Event::Resume, &record.plan),
        (Again::Abort, state) => state.on(Event::Abort, &record.plan),
        (Again::Undo, State::Promoted) => State::Restoring {
            because: Cause::Asked,
            tried: 0,
        },
        (Again::Undo, _) => return Err(nothing_to_undo()),
    };
    record.take_over(holder(scene).await?);
    shelf.write(&mut record, |_| Ok(())).await?;
    let exit = drive(record, outputs, (rollout, service), global, printer).await?;
    Ok(Some(exit))
}

fn nothing_to_undo() -> Error {
    Error::new(Exit::Invalid, "there is no promotion to undo")
        .hint("`meshctl canary abort` gives stable all traffic whatever was before")
}

async fn drive(
    record: Record,
    outputs: &Outputs,
    (rollout, service): (&Rollout<'_>, &Service),
    global: &Global,
    printer: &Printer,
) -> Result<Exit, Error> {
    let recording = match &outputs.record {
        Some(path) => Some(begin_recording(path, &record)?),
        None => None,
    };
    let listener: Arc<dyn Listener> = match printer.is_json() {
        true => views::for_run(printer, "canary"),
        // The canary's own view says what is worth saying.
        false => Arc::new(Silence),
    };
    let cx = Context::detached(
        format!("canary/{}", service.name),
        listener,
        interruptible(),
    );
    let auto = Auto {
        canary: rollout,
        service,
        record,
        watcher: Arc::new(CanaryView::new(printer)),
        recording,
        timeout: global.timeout,
    };
    let ending = auto.run(&cx).await?;
    write_outputs(&ending, outputs)?;
    Ok(show(&ending, printer))
}

/// Refuses to meddle with a canary that decides by itself.
pub(super) async fn refuse_while_under_way(
    rollout: &Rollout<'_>,
    service: &Service,
) -> Result<(), Error> {
    let shelf = Shelf::new(rollout.cluster, rollout.mesh.split_object(service));
    match shelf.read().await? {
        Some(record) if !record.is_settled() => {
            let message = format!("a canary is already under way: {}", record.whose());
            Err(Error::new(Exit::Blocked, message).hint(
                "end it with `meshctl canary abort`, or go on with `meshctl canary resume` when nobody does",
            ))
        }
        _ => Ok(()),
    }
}

fn begin_recording(
    path: &Path,
    record: &Record,
) -> Result<std::io::BufWriter<std::fs::File>, Error> {
    let file = std::fs::File::create(path).map_err(Error::unwritable(path))?;
    let mut file = std::io::BufWriter::new(file);
    recording::Head::new(
        &record.service,
        &record.stable,
        &record.canary,
        &record.plan,
    )
    .write(&mut file)
    .map_err(Error::unwritable(path))?;
    Ok(file)
}

fn write_outputs(ending: &Ending, outputs: &Outputs) -> Result<(), Error> {
    if let Some(path) = &outputs.report {
        std::fs::write(path, report::html(ending)).map_err(Error::unwritable(path))?;
    }
    if let Some(path) = &outputs.junit {
        std::fs::write(path, report::junit(ending)).map_err(Error::unwritable(path))?;
    }
    Ok(())
}
