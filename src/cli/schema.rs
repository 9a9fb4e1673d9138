//! `meshctl schema`.

use super::{Error, Exit};
use crate::config::json_schema;
use crate::views::Printer;

/// Print the JSON schema of meshctl.yaml, for editors
#[derive(Debug, clap::Args)]
pub(super) struct Schema {}

pub(super) fn run(printer: &Printer) -> Result<Exit, Error> {
    printer.data(&format!("{:#}", json_schema()));
    Ok(Exit::Success)
}
