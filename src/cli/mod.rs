//! Arguments, dispatch, exit codes; one command per file.

mod args;
mod canary;
mod completions;
mod doctor;
mod down;
mod error;
mod exit;
#[cfg(feature = "sandbox")]
mod faults;
mod graph;
mod init;
mod kubeconfig;
mod plan;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod schema;
mod settings;
mod status;
mod token;
mod up;
mod verify;

use clap::{CommandFactory, Parser};

pub use args::Cli;
use args::Command;
pub use error::Error;
pub use exit::Exit;

use crate::views::Printer;

/// Runs meshctl.
pub fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do when even this cannot be printed.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            }
            .into();
        }
    };
    let printer = Printer::new(cli.global.output, cli.global.color, cli.global.verbosity());
    match dispatch(cli, &printer) {
        Ok(exit) => exit.into(),
        Err(error) => {
            error.print(&printer);
            error.exit.into()
        }
    }
}

/// The command line as clap sees it, for completions and the documentation.
pub fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(cli: Cli, printer: &Printer) -> Result<Exit, Error> {
    let global = &cli.global;
    match cli.command {
        // These touch nothing but files and need no runtime.
        Command::Init(args) => init::run(&args, printer),
        Command::Schema(_) => schema::run(printer),
        Command::Completions(args) => completions::run(&args, printer),
        command => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(4)
                .enable_all()
                .build()
                .map_err(|error| Error::new(Exit::Failure, format!("cannot start: {error}")))?;
            let exit = runtime.block_on(asynchronous(command, global, printer));
            // A name look-up that hangs must not hold the exit.
            runtime.shutdown_background();
            exit
        }
    }
}

async fn asynchronous(
    command: Command,
    global: &args::Global,
    printer: &Printer,
) -> Result<Exit, Error> {
    match command {
        Command::Up(args) => up::run(&args, global, printer).await,
        Command::Plan(args) => plan::run(&args, global, printer).await,
        Command::Status(args) => status::run(&args, global, printer).await,
        Command::Canary(args) => canary::run(&args, global, printer).await,
        Command::Verify(args) => verify::run(&args, global, printer).await,
        Command::Down(args) => down::run(&args, global, printer).await,
        Command::Audit(_) => down::audit(global, printer).await,
        Command::Doctor(_) => doctor::run(global, printer).await,
        Command::Graph(args) => graph::run(&args, global, printer).await,
        Command::Kubeconfig(args) => kubeconfig::run(&args, global, printer).await,
        Command::Token(args) => token::run(&args, global, printer).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => sandbox::run(args, printer).await,
        Command::Init(_) | Command::Schema(_) | Command::Completions(_) => Ok(Exit::Success),
    }
}
