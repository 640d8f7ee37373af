//! `sinopia completions SHELL`: a completion script on stdout.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::output;

pub(crate) fn run(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sinopia", &mut script);
    output::write(Path::new("-"), &script)
}
