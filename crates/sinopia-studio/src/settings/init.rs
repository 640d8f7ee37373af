//! The settings of a picture to begin with, each described where it is declared.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sinopia_diffusion::settings::{Bounds, Group, Kind};

use super::run_setting::{Described, RunSetting};
use crate::InitPicture;

/// What a picture begins with, as far as anybody said. All of it is of one picture, and nothing is kept in files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitSettings {
    /// The picture's file.
    pub init: Option<String>,
    /// How much of it changes.
    pub strength: Option<f64>,
    /// The file that says where it changes.
    pub mask: Option<String>,
}

impl Described for InitSettings {
    fn described() -> &'static [RunSetting] {
        &INIT
    }
}

static INIT: LazyLock<Vec<RunSetting>> = LazyLock::new(|| {
    let of_picture = |name, kind, default, help| RunSetting::of_picture(name, Group::Sampling, kind, default, help);
    vec![
        of_picture("init", Kind::Text, Value::Null, "Image to begin with in the place of noise: PNG, JPEG or WebP.")
            .value("IMAGE")
            .explained(
                "It is scaled to the size of the picture, which has its shape if no size is given. Every method but `lmd` and `lmd-plus` takes one; if no method is named it is `sd`, \
                 with a layout `gligen` or `backward-guidance`.",
            ),
        of_picture("strength", strength(), json!(InitPicture::STRENGTH), "How much of the image changes: the share of the steps that are made.")
            .value("SHARE")
            .explained("At 1 little but its colours is left, inside a mask nothing. With N steps there are N strengths."),
        of_picture("mask", Kind::Text, Value::Null, "Image that says where the other one changes: in its white parts or, if it has any, its transparent ones.")
            .value("IMAGE")
            .explained("Of the size of `--init`. Everywhere else the bytes stay what they are."),
    ]
});

fn strength() -> Kind {
    Kind::Number(Bounds { above_min: true, ..Bounds::closed(0.0, 1.0) })
}
