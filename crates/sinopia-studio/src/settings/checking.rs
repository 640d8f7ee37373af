//! The settings of looking at finished pictures, each described where it is declared.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sinopia_diffusion::settings::{Group, Kind};

use super::combined;
use super::run_setting::{Described, RunSetting};

combined! {
    /// Whether finished pictures are looked at, by whom, and what is done about what is wrong, as far as anybody said.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct CheckSettings {
        /// Seeds that are tried until a picture is right.
        attempts: Option<u32>,
        /// Whether what is wrong with the best attempt is repaired.
        repair: Option<bool>,
        /// What looks: the built-in detector, or a folder of OWL-ViT or OWLv2 weights.
        detector: Option<String>,
        /// Most work of one picture, in paintings.
        max_work: Option<f64>,
        /// Most seconds for one picture.
        max_seconds: Option<f64>,
    }
    beside {}
}

impl CheckSettings {
    /// These settings, and where they say nothing those of `base`.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        self.over(base)
    }

    /// Whether pictures are looked at.
    pub fn is_checking(&self) -> bool {
        self.attempts.is_some_and(|attempts| attempts > 1) || self.repair == Some(true)
    }
}

impl Described for CheckSettings {
    fn described() -> &'static [RunSetting] {
        &CHECKING
    }
}

static CHECKING: LazyLock<Vec<RunSetting>> = LazyLock::new(|| {
    let kept = |name, kind, default, help| RunSetting::kept(name, Group::Checking, kind, default, help);
    vec![
        kept("attempts", Kind::integer(1, 16), json!(1), "Seeds to try, one after the other, until a detector sees what was asked for; the best picture is kept.")
            .value("N")
            .explained("The first attempt has the seed that is asked for, each further one the next. With `--count`, each image has its own attempts, from seeds that no other has."),
        kept("repair", Kind::Boolean, json!(false), "Repair what a detector sees is wrong with the best attempt, and leave the rest of it as it is.")
            .value("BOOL")
            .explained(
                "What is missing is added, what is too much removed, what is elsewhere moved, what has another colour repainted. A repair is kept only if the picture is better for it \
                 and nothing that was right is lost. Without `--attempts`, up to 2 further seeds are tried first as long as two objects or more are not right and they are at least half.",
            ),
        kept("detector", Kind::Text, Value::Null, "What looks at the pictures: `miniature` (built in, for its pictures) or a folder of OWL-ViT or OWLv2 weights.")
            .value("DETECTOR")
            .or_else("miniature for its pictures, none for those of other models")
            .explained("Such as a download of google/owlv2-base-patch16-ensemble or google/owlvit-base-patch32."),
        kept("max_work", Kind::number(1.0, 1000.0), Value::Null, "Most work of an image with all its attempts and repairs.")
            .value("N")
            .in_units_of("paintings")
            .or_else("as many attempts as are asked for, and 6 for repairs")
            .explained("With a repair, attempts may take half of it.")
            .rare(),
        kept("max_seconds", Kind::number(1.0, 86_400.0), Value::Null, "Longest time for an image with all its attempts and repairs; the first attempt is made in any case.")
            .value("SECONDS")
            .in_units_of("seconds")
            .or_else("no limit")
            .explained("How much is tried then depends on the machine; what came out is repeated all the same.")
            .rare(),
    ]
});
