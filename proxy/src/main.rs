//! The binary `vestibule`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use proxy::command;
use proxy::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    let mut out = std::io::stdout().lock();
    match command::run(&options, &mut out) {
        Some(Ok(outcome)) => outcome.into(),
        // The reader of a pipe that has seen enough is no failure.
        Some(Err(command::Failure::Output(error))) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Some(Err(failure)) => fail(&failure),
        None => fail(&"serve: not wired yet"),
    }
}

/// One line on standard error, exit code 2.
fn fail(failure: &dyn std::fmt::Display) -> ExitCode {
    let line = failure.to_string().replace(char::is_control, " ");
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "vestibule: {line}");
    ExitCode::from(2)
}
