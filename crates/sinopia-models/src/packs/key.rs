//! What a pack was made from and for: whatever differs makes another pack.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sinopia_nn::packed;

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

    /// Whether it is of this program and machine, whatever the model.
    pub fn is_current(&self) -> bool {
        let ours = Self::new("", Precision::default());
        (&self.program, self.layout, &self.byte_order) == (&ours.program, ours.layout, &ours.byte_order)
    }

    /// The name of the pack's file: of every key another.
    pub(super) fn file_name(&self) -> String {
        let Self { content, precision, program, layout, instructions, byte_order } = self;
        // None of the words has a line break, so that no two keys are written alike.
        let text = format!("{content}\n{precision}\n{program}\n{layout}\n{instructions}\n{byte_order}\n");
        format!("{}.{}", &hex(&Sha256::digest(text))[..32], super::folder::EXTENSION)
    }
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
    fn keys_of_other_editions_and_machines_are_not_current() {
        let key = PackKey::new("a", Precision::F32);
        assert!(key.is_current() && PackKey { instructions: "abacus".to_owned(), ..key.clone() }.is_current());
        assert!(!PackKey { program: "0.0.0".to_owned(), ..key.clone() }.is_current());
        assert!(!PackKey { layout: key.layout + 1, ..key.clone() }.is_current());
        assert!(!PackKey { byte_order: "middle".to_owned(), ..key }.is_current());
    }
}
