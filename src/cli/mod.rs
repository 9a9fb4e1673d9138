//! Arguments, dispatch, exit codes; one command per file.

/// Runs meshctl.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
