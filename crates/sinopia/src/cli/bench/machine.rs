//! What measures: the program, the processor, its memory.

use serde::Serialize;
use sinopia_nn::Instructions;
use sinopia_studio::models::memory;

/// This program on this machine.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    /// The program's version.
    pub(super) sinopia: &'static str,
    /// System and kind of processor, `linux x86_64`.
    pub(super) system: String,
    /// As the processor calls itself, where it can be asked.
    pub(super) processor: Option<String>,
    /// Cores that the program may run on.
    pub(super) cores: Option<usize>,
    /// Threads that it computes with.
    pub(super) threads: usize,
    /// The best set of instructions that was found.
    pub(super) instructions_found: &'static str,
    /// The set that its kernels use.
    pub(super) instructions_used: &'static str,
    /// The set that products of 8-bit numbers use.
    pub(super) instructions_used_in_8_bits: &'static str,
    /// Extensions that matter.
    pub(super) extensions: Vec<&'static str>,
    /// Bytes of memory, where the system tells.
    pub(super) memory_bytes: Option<usize>,
}

impl Machine {
    /// The one that this runs on.
    pub(super) fn this() -> Self {
        let Instructions { found, used, used_in_8_bits, extensions } = sinopia_nn::instructions();
        Self {
            sinopia: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: processor(),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            threads: sinopia_nn::threads::num_threads(),
            instructions_found: found,
            instructions_used: used,
            instructions_used_in_8_bits: used_in_8_bits,
            extensions,
            memory_bytes: memory::total_bytes(),
        }
    }
}

/// The processor's name: from Linux' list of processors, from `sysctl` on macOS, from the variable that Windows sets.
fn processor() -> Option<String> {
    let name = match std::env::consts::OS {
        "macos" => {
            let asked = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output();
            String::from_utf8(asked.ok()?.stdout).ok()
        }
        "windows" => std::env::var("PROCESSOR_IDENTIFIER").ok(),
        _ => model_name(&std::fs::read_to_string("/proc/cpuinfo").ok()?),
    };
    name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Of a list of processors, the first one's name.
fn model_name(list: &str) -> Option<String> {
    let (_, name) = list.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == "model name"))?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_the_name_that_its_system_gives_it() {
        let list = "processor\t: 0\nvendor_id\t: X\nmodel name\t: X Y 9000\n\nprocessor\t: 1\nmodel name\t: Z\n";
        assert_eq!(model_name(list).as_deref().map(str::trim), Some("X Y 9000"));
        assert_eq!(model_name("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
    }

    #[test]
    fn this_machine_computes_with_some_thread() {
        let machine = Machine::this();
        assert!(machine.threads >= 1 && machine.cores.is_none_or(|cores| cores >= 1));
        assert!(!machine.instructions_used.is_empty());
    }
}
