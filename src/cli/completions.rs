//! `meshctl completions`.

use super::{Error, Exit};
use crate::views::Printer;

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Completions, printer: &Printer) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "meshctl", &mut script);
    printer.data(String::from_utf8_lossy(&script).trim_end());
    Ok(Exit::Success)
}
