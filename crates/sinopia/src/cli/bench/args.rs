//! What can be typed behind `sinopia bench`.

use std::path::PathBuf;

use clap::Args;
use sinopia_studio::{MachineSettings, PaintSettings};

use crate::cli::args::Painting;
use crate::cli::flags::{Flags, Selected, Selection};

/// The settings of a picture that a benchmark has: which networks, and what they compute in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Networks;

impl Selection for Networks {
    fn selects(name: &str) -> bool {
        ["model", "precision", "device"].contains(&name)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sinopia bench                                                 # the miniature, a few seconds
  sinopia bench --model ./stable-diffusion-v1-5 > bench.md      # a table to paste into an issue; minutes
  sinopia bench --model ./stable-diffusion-v1-5 --precision f32 --threads 1 --json
  SINOPIA_MAX_CPU_ISA=avx2 sinopia bench                        # as on a processor without AVX-512
Measure on a machine that does nothing else.")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    flags: Selected<PaintSettings, Networks>,

    #[command(flatten)]
    machine: Flags<MachineSettings>,

    /// How often each part is run at least, after once that does not count (1 to 100); quick ones are run for half a second
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Output")]
    pub(crate) rounds: u32,

    /// Print the figures as JSON, with every run's seconds
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// No progress on stderr, only warnings and errors
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Settings file [default: ./sinopia.toml, if there is one]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    config: Option<PathBuf>,
}

impl BenchArgs {
    /// What was typed, in the words of settings.
    pub(crate) fn painting(&self) -> Painting {
        Painting {
            settings: self.flags.settings().clone(),
            machine: self.machine.0.clone(),
            config: self.config.clone(),
            ..Painting::default()
        }
    }
}
