//! `vestibule`: the one binary.

use std::process::ExitCode;

use proxy::serve::{Overrides, ServeOptions, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| args.iter().position(|a| a == flag).map(|at| args[at + 1].clone());
    let options = ServeOptions {
        manifests: after("--manifests").unwrap_or_default().into(),
        settings: after("--settings").map(Into::into),
        overrides: Overrides::default(),
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vestibule: {error}");
            ExitCode::from(2)
        }
    }
}
