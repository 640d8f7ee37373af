//! What a pack was made from and for: whatever differs makes another pack.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sinopia_nn::packed;

use super::folder::{EXTENSION, NAME_DIGITS};
use crate::Precision;
use crate::sha256::hex;

/// Everything that the bytes of a pack depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackKey {
    /// The SHA-256 of the checkpoint's contents, as recipes name it.
    pub content: String,
    /// What weights are kept in.
    pub precision: String,
    /// The edition of the program, which decides what is packed for which layer.
    pub program: String,
    /// The version of the orders of packed weights.
    pub layout: u32,
    /// The instructions that kernels, and with them orders, are chosen by.
    pub instructions: String,
    /// `little` or `big`: bytes are those of the machine.
    pub byte_order: String,
}

impl PackKey {
    /// The key of a checkpoint's weights on this machine.
    pub fn new(content: &str, precision: Precision) -> Self {
        Self {
            content: content.to_owned(),
            precision: format!("{precision:?}").to_lowercase(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            layout: packed::LAYOUT_VERSION,
            instructions: sinopia_nn::instructions().used.to_owned(),
            byte_order: if cfg!(target_endian = "big") { "big" } else { "little" }.to_owned(),
        }
    }

    /// Which version made it, next to this one. Models and processors do not matter: other machines may use the folder too.
    pub fn age(&self) -> Ordering {
        let ours = Self::new("", Precision::default());
        match (numbers(&self.program), numbers(&ours.program)) {
            (Some(theirs), Some(program)) => (theirs, self.layout).cmp(&(program, ours.layout)),
            // Nobody knows.
            _ if self.program == ours.program => self.layout.cmp(&ours.layout),
            _ => Ordering::Greater,
        }
    }

    /// The name of the pack's file: of every key another.
    pub(super) fn file_name(&self) -> String {
        let Self { content, precision, program, layout, instructions, byte_order } = self;
        // None of the words has a line break, so that no two keys are written alike.
        let text = format!("{content}\n{precision}\n{program}\n{layout}\n{instructions}\n{byte_order}\n");
        format!("{}.{}", &hex(&Sha256::digest(text))[..NAME_DIGITS], EXTENSION)
    }
}

/// The numbers of a version, `1.2.3`.
fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_ingredient_makes_another_file() {
        let key = PackKey::new(&"a".repeat(64), Precision::Bf16);
        let keys = [
            key.clone(),
            PackKey::new(&"b".repeat(64), Precision::Bf16),
            PackKey::new(&key.content, Precision::F32),
            PackKey { program: "0.0.0".to_owned(), ..key.clone() },
            PackKey { layout: key.layout + 1, ..key.clone() },
            PackKey { instructions: "abacus".to_owned(), ..key.clone() },
            PackKey { byte_order: "middle".to_owned(), ..key.clone() },
        ];
        let names: BTreeSet<String> = keys.iter().map(PackKey::file_name).collect();
        assert_eq!(names.len(), keys.len());
        assert_eq!(PackKey::new(&key.content, Precision::Bf16).file_name(), key.file_name());
    }

    #[test]
    fn versions_are_told_apart_by_their_numbers() {
        let key = PackKey::new("a", Precision::F32);
        let of = |program: &str| PackKey { program: program.to_owned(), ..key.clone() };
        let elsewhere = PackKey { instructions: "abacus".to_owned(), byte_order: "middle".to_owned(), ..key.clone() };
        assert_eq!((key.age(), elsewhere.age()), (Ordering::Equal, Ordering::Equal));
        for (older, newer) in [("0.0.9", "99.0.0"), ("0", "99999"), ("0.0.0", "tomorrow's")] {
            assert_eq!((of(older).age(), of(newer).age()), (Ordering::Less, Ordering::Greater), "{older}, {newer}");
        }
        assert!(numbers("0.10.0") > numbers("0.9.3"));
        assert_eq!(PackKey { layout: key.layout - 1, ..key.clone() }.age(), Ordering::Less);
        assert_eq!(PackKey { layout: key.layout + 1, ..key }.age(), Ordering::Greater);
    }
}
