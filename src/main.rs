//! The `vigil` program: parse, hand over, map the result to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    vigil::commands::main()
}
