//! `sinopia completions SHELL`: a completion script on stdout.

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;

pub(crate) fn run(shell: Shell) -> anyhow::Result<()> {
    clap_complete::generate(shell, &mut Cli::command(), "sinopia", &mut std::io::stdout());
    Ok(())
}
