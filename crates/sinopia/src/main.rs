//! The command-line program: reads what was typed, runs one command, answers with an exit code.
//!
//! Start reading at [`run`]; each command is a file of `cli/`.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use cli::args::{Cli, Command};
use sinopia_nn::memory::{Allocator, keep_freed};
use sinopia_nn::threads::quiet_tensor_library;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    quiet_tensor_library();
    keep_freed();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::mistyped::report(error),
    };
    cli::settings::warn_of_unknown_variables();
    cli::settings::use_cache_folder();
    match cli::settings::check_instructions().and_then(|()| run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::failure::report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Generate(args) => cli::generate::run(*args),
        Command::Paint(args) => cli::paint::run(*args),
        Command::Edit(args) => cli::edit::run(*args),
        Command::Plan(args) => cli::plan::run(*args),
        Command::Convert(args) => cli::convert::run(&args),
        Command::Cache(args) => cli::cache::run(args),
        Command::Run(args) => cli::comfyui::run(*args),
        Command::Export(args) => cli::comfyui::export(*args),
        Command::Inspect(args) => cli::inspect::run(&args),
        Command::Check(args) => cli::check::run(&args),
        Command::Serve(args) => cli::serve::run(*args),
        Command::Models(args) => cli::models::run(args),
        Command::Eval(args) => cli::eval::run(args),
        Command::Bench(args) => cli::bench::run(&args),
        Command::Completions { shell } => cli::completions::run(shell),
    }
}
