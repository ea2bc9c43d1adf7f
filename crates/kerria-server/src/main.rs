//! The binary `kerria`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kerria_server::cli::main()
}
