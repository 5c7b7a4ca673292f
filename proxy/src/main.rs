//! `vestibule`: the one binary.

use std::io::Write;
use std::process::ExitCode;

use proxy::command::{self, Failure};
use proxy::options::Options;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = match Options::from_command_line() {
        Ok(options) => options,
        Err(answer) => return answer.give(),
    };
    match command::run(&options, &mut std::io::stdout()) {
        Ok(outcome) => outcome.into(),
        // The reader of a pipe that has seen enough is no failure.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let line = failure.to_string().replace(char::is_control, " ");
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "vestibule: {line}");
            ExitCode::from(2)
        }
    }
}
