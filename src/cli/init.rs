//! `meshctl init`.

use std::io::Write;
use std::path::PathBuf;

use super::{Error, Exit};
use crate::config::DEFAULT_FILE;
use crate::views::Printer;

/// Write a commented meshctl.yaml
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// Where to write it; `-` for stdout
    #[arg(default_value = "meshctl.yaml")]
    path: PathBuf,
    /// Overwrite a file that is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Init, printer: &Printer) -> Result<Exit, Error> {
    if args.path.as_os_str() == "-" {
        printer.data(DEFAULT_FILE.trim_end());
        return Ok(Exit::Success);
    }
    let path = args.path.display();
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    let options = if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options
        .open(&args.path)
        .and_then(|mut file| file.write_all(DEFAULT_FILE.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(Exit::Invalid, format!("{path} is there already"))
                .hint("add --force to overwrite it")
        }
        _ => Error::new(Exit::Failure, format!("cannot write {path}: {error}")),
    })?;
    printer.say(&format!("wrote {path}; next: meshctl plan -f {path}"));
    Ok(Exit::Success)
}
