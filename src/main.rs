//! The `meshctl` binary: everything lives in the library.

/// The sandbox keeps millions of small things for an environment of a thousand services, among which the system's allocator
/// takes ever longer to find room.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    meshctl::cli::main()
}
