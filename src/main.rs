//! The `meshctl` binary: everything lives in the library.

fn main() -> std::process::ExitCode {
    meshctl::cli::main()
}
