//! Which instructions this processor has and which of them the kernels use: for reports, and for whoever wants to see what a plainer processor does.

use crate::cpu::isa::{ByteIsa, Isa, LIMITS};
use crate::error::{Error, Result};

/// The environment variable that hides instructions from the kernels: its value is the name of the best set that they may use.
pub const LIMIT_VARIABLE: &str = crate::cpu::isa::LIMIT_VARIABLE;

/// Sets of instructions by their names, such as `avx2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    /// The best set of this processor that there are kernels for.
    pub found: &'static str,
    /// The set that the kernels use: the same, unless [`LIMIT_VARIABLE`] hides it.
    pub used: &'static str,
    /// The set that products of 8-bit numbers use.
    pub used_in_8_bits: &'static str,
    /// What the processor has of the extensions that matter for products of matrices, as `/proc/cpuinfo` spells them.
    pub extensions: Vec<&'static str>,
}

/// What this processor has, and what is used of it.
pub fn instructions() -> Instructions {
    Instructions {
        found: Isa::detected().as_str(),
        used: Isa::best().as_str(),
        used_in_8_bits: ByteIsa::best().as_str(),
        extensions: extensions(),
    }
}

/// Refuses a value of [`LIMIT_VARIABLE`] that names no set of instructions; the kernels themselves take it as if nothing were said. An empty one says nothing.
///
/// # Errors
/// [`Error::Option`].
pub fn check_limit() -> Result<()> {
    match std::env::var_os(LIMIT_VARIABLE).filter(|value| !value.is_empty()) {
        Some(value) => check_name(&value.to_string_lossy()),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<()> {
    if LIMITS.iter().any(|(known, ..)| *known == name) {
        return Ok(());
    }
    let known = LIMITS.map(|(known, ..)| format!("`{known}`"));
    Err(Error::Option {
        op: "the environment",
        what: LIMIT_VARIABLE,
        expected: format!("one of {}", known.join(", ")),
        found: format!("`{name}`"),
    })
}

/// Names of the extensions among `[name, whether it is there]`.
fn present(found: &[(&'static str, bool)]) -> Vec<&'static str> {
    found.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name).collect()
}

#[cfg(target_arch = "x86_64")]
fn extensions() -> Vec<&'static str> {
    present(&[
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx_vnni", is_x86_feature_detected!("avxvnni")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ("avx512_vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512_bf16", is_x86_feature_detected!("avx512bf16")),
    ])
}

#[cfg(target_arch = "aarch64")]
fn extensions() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected;
    present(&[
        ("asimd", is_aarch64_feature_detected!("neon")),
        ("asimddp", is_aarch64_feature_detected!("dotprod")),
        ("bf16", is_aarch64_feature_detected!("bf16")),
        ("i8mm", is_aarch64_feature_detected!("i8mm")),
    ])
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn extensions() -> Vec<&'static str> {
    present(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_was_found() {
        let Instructions { found, used, .. } = instructions();
        let place = |name| LIMITS.iter().position(|(known, ..)| *known == name).unwrap();
        assert!(place(used) <= place(found), "{used} is used, {found} was found");
    }

    #[test]
    fn names_are_known_or_refused_with_the_choices() {
        for (name, ..) in LIMITS {
            check_name(name).unwrap();
        }
        for name in ["avx3", "", "AVX2 "] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains("`portable`, `avx2`") && error.contains(LIMIT_VARIABLE), "{error}");
        }
    }
}
