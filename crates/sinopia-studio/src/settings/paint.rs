//! The settings of a painting, each described where it is declared.

use std::sync::LazyLock;

use serde_json::{Value, json};
use sinopia_diffusion::TextEncoderKind;
use sinopia_diffusion::methods::{METHODS, PRESETS};
use sinopia_diffusion::settings::{Bounds, Choice, Group, Kind};
use sinopia_models::packs::DEFAULT_MAX_BYTES;

use super::run_setting::{Described, RunSetting};
use super::{MachineSettings, PaintSettings};
use crate::PrecisionChoice;
use crate::spec::{AUTO, DEFAULT_METHOD, DEFAULT_MODEL, DEFAULT_SEED, DEFAULT_STEPS};

impl Described for PaintSettings {
    fn described() -> &'static [RunSetting] {
        &PAINT
    }
}

impl Described for MachineSettings {
    fn described() -> &'static [RunSetting] {
        &MACHINE
    }
}

/// Longest and shortest side of a picture, in pixels.
const SIDE: Kind = Kind::integer(8, 4096);

static PAINT: LazyLock<Vec<RunSetting>> = LazyLock::new(|| {
    let kept = RunSetting::kept;
    let of_picture = RunSetting::of_picture;
    vec![
        method(),
        preset(),
        kept("model", Group::Model, Kind::Text, json!(DEFAULT_MODEL), "What paints: `miniature` (built in), a diffusers folder, a `.safetensors` or `.gguf` file, or a Hub id such as `owner/name`.")
            .value("MODEL"),
        kept("sam", Group::Masks, Kind::Text, json!("none"), "What segments the objects that `lmd` and `lmd-plus` paint alone: a SAM, `miniature` or `none` (attention and box alone).")
            .value("SAM")
            .explained("A folder (`config.json`, `model.safetensors`) or a file of weights; the built-in one is for the miniature's pictures.")
            .for_methods(&["lmd", "lmd-plus"]),
        of_picture("seed", Group::Sampling, Kind::integer(0, u64::MAX), json!(DEFAULT_SEED), "Where the noise starts: same seed, same image.").value("N"),
        kept("steps", Group::Sampling, Kind::integer(1, 1000), json!(DEFAULT_STEPS), "Denoising steps: more is finer and takes proportionally longer.")
            .value("N")
            .also(&["num_inference_steps"])
            .in_units_of("steps"),
        kept("guidance_scale", Group::Sampling, Kind::number(1.0, 100.0), Value::Null, "How strictly the picture follows the prompt; 1 turns classifier-free guidance off.")
            .value("X")
            .or_else("7.5; 3.5 for small models")
            .also(&["cfg_scale", "cfg"]),
        of_picture("guidance_rescale", Group::Sampling, Kind::number(0.0, 1.0), json!(0.0), "Share of the guided prediction whose contrast is set back to the conditional one's.")
            .value("X")
            .explained("Lin et al., arXiv 2305.08891, equation 16.")
            .rare(),
        kept("scheduler", Group::Sampling, Kind::Text, Value::Null, "ddim, pndm, euler, euler-ancestral or dpm-solver++.")
            .or_else("the model's own for sd, else ddim")
            .also(&["sampler"])
            .explained(
                "Behind all but pndm may stand `-karras`, `-exponential`, `-normal`, `-simple`, `-sgm-uniform`, `-ddim-uniform` or `-kl-optimal` for ComfyUI's noise levels of \
                 that name in place of the model's own.",
            ),
        of_picture("width", Group::Sampling, SIDE, Value::Null, "Width.").value("PX").in_units_of("pixels").or_else("the model's own"),
        of_picture("height", Group::Sampling, SIDE, Value::Null, "Height.").value("PX").in_units_of("pixels").or_else("the model's own"),
        of_picture("guidance_interval", Group::Speed, Kind::Interval(Bounds::closed(0.0, 1.0)), json!([0.0, 1.0]), "Classifier-free guidance in this share of the steps only, as `0.1..0.8`; the other steps cost half.")
            .value("FROM..TO")
            .or_else("0..1")
            .explained("Kynkäänniemi et al., arXiv 2404.07724."),
        of_picture("deep_every", Group::Speed, Kind::integer(1, 1000), json!(1), "Run the deep layers of the UNet in every Nth step only: faster, a little coarser.")
            .value("N")
            .in_units_of("steps")
            .explained("2 takes about 0.6 of the time; boxes guide in those steps alone. DeepCache, arXiv 2312.00858."),
        of_picture("merge_tokens", Group::Speed, Kind::integer(1, 8), json!(1), "Self-attention on the finest grid looks at windows of N × N cells: faster at large sizes, a little blurrier.")
            .value("N")
            .in_units_of("cells")
            .explained("N divides width / 8 and height / 8; 2 takes an eighth off at 512 pixels. Token downsampling, arXiv 2402.13573."),
        of_picture("negative", Group::Prompts, Kind::Text, Value::Null, "What must not be in the picture, in place of the default quality keywords; the layout's negative caption comes first.")
            .value("TEXT")
            .also(&["negative_prompt"]),
        of_picture("text_encoder", Group::Prompts, text_encoders(), json!(TextEncoderKind::Clip), "What reads the prompts.").value("KIND"),
        of_picture("negative_encoder", Group::Prompts, text_encoders(), Value::Null, "What reads the negative prompt.").value("KIND").or_else("the same").rare(),
        of_picture("t5", Group::Prompts, Kind::Text, Value::Null, "ELLA's language model: a folder of a T5 1.1 or FLAN-T5 (`config.json`, weights, `tokenizer.json` or `spiece.model`), or `miniature`.")
            .value("DIR")
            .or_else("the miniature's"),
        of_picture("ella", Group::Prompts, Kind::Text, Value::Null, "ELLA's connector: `ella-sd1.5-tsc-t5xl.safetensors`, a folder with `config.json`, or `miniature`.")
            .value("FILE")
            .or_else("the miniature's"),
        of_picture("t5_length", Group::Prompts, t5_lengths(), json!("flexible"), "Tokens that the language model is given.").value("KIND").rare(),
        of_picture("t5_range", Group::Prompts, t5_ranges(), json!("f16"), "Range of the language model's states.").value("KIND").rare(),
        kept("precision", Group::Model, precisions(), json!(PrecisionChoice::Auto), "What the networks compute in.").value("KIND"),
        kept("device", Group::Model, Kind::choice(&[("cpu", "The processor.")]), json!("cpu"), "What computes.")
            .value("KIND")
            .rare(),
    ]
});

static MACHINE: LazyLock<Vec<RunSetting>> = LazyLock::new(|| {
    let kept = RunSetting::kept;
    vec![
        kept(
            "threads",
            Group::Model,
            Kind::integer(1, 1024),
            Value::Null,
            "Threads to compute with; the image does not depend on it.",
        )
        .value("N")
        .or_else("all cores"),
        kept(
            "pack_cache",
            Group::Model,
            Kind::Boolean,
            json!(false),
            "Keep a model's packed weights on disk once it was loaded: the next start takes a fraction of the time.",
        )
        .value("on|off")
        .explained("They take as much room as the model; `sinopia models prepare` makes them without painting, and `--clear` removes them."),
        kept("pack_cache_size", Group::Model, Kind::integer(1, 100_000), json!(DEFAULT_MAX_BYTES / 1_000_000_000), "Room for the packed weights of all models; those used longest ago go first.")
            .value("GB")
            .in_units_of("gigabytes")
            .rare(),
    ]
});

/// The methods' names and what they do are the registry's.
fn method() -> RunSetting {
    let names = METHODS.iter().map(|method| method.name).chain([AUTO]);
    let each = METHODS.iter().map(|method| format!("- {}: {}", method.name, method.help));
    let auto = format!(
        "- {AUTO}: the best that the model can do: lmd-plus with grounding adapters, else lmd; sd without a layout"
    );
    RunSetting::kept("method", Group::Model, Kind::Text, json!(DEFAULT_METHOD), "How the layout is obeyed.")
        .helped(format!("How the layout is obeyed: {}.", listed(names)))
        .explained(lines(each.chain([auto])))
}

/// Presets, too, are those of the registry.
fn preset() -> RunSetting {
    let each = PRESETS.iter().map(|preset| format!("- {}: {}", preset.name, preset.help));
    RunSetting::of_picture("preset", Group::Model, Kind::Text, Value::Null, "Settings under one name.")
        .helped(format!(
            "Settings under one name, {}; what is said beside it wins.",
            listed(PRESETS.iter().map(|preset| preset.name))
        ))
        .explained(lines(each))
}

/// `a, b or c`.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        last => last.unwrap_or_default().to_owned(),
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

fn text_encoders() -> Kind {
    Kind::choice(&[
        ("clip", "The checkpoint's own text encoder."),
        ("ella", "A language model, for long captions; no attention guidance."),
        ("ella+clip", "Both: ELLA reads the caption, CLIP the words that are guided."),
    ])
}

fn t5_lengths() -> Kind {
    Kind::choice(&[("flexible", "As many as the text has."), ("fixed", "128, cut or padded, as ELLA was trained.")])
}

fn t5_ranges() -> Kind {
    Kind::choice(&[
        ("f16", "Rounded and clamped as half precision stores them, which ELLA was trained on, overflow included."),
        ("f32", "As computed."),
    ])
}

fn precisions() -> Kind {
    let help = |choice: PrecisionChoice| match choice {
        PrecisionChoice::Auto => "bf16 where the processor multiplies it faster, else as stored.",
        PrecisionChoice::Stored => "As the checkpoint stores its weights.",
        PrecisionChoice::F32 => "32-bit floats: the reference.",
        PrecisionChoice::Bf16 => {
            "16-bit brain floats, sums in 32 bits: half the memory, about twice the speed with AVX-512 BF16."
        }
        PrecisionChoice::Int8 => {
            "8-bit whole numbers between the UNet's ends, 16 bits elsewhere: a quarter of the memory, pictures that differ a little."
        }
    };
    let choice = |choice: &PrecisionChoice| Choice::new(choice.as_str(), help(*choice)).also(choice.aliases());
    Kind::Choice(PrecisionChoice::ALL.iter().map(choice).collect())
}
