//! Which of a repository's files belong to a checkpoint: one weight format, one variant, no pictures.

use crate::{Error, Result};

/// The networks of a Stable Diffusion pipeline, as its folders are called.
pub(crate) const NETWORKS: [&str; 3] = ["text_encoder", "unet", "vae"];
/// What a pipeline's `model_index.json` is called.
pub(crate) const INDEX: &str = "model_index.json";
/// The scheduler's configuration.
pub(crate) const SCHEDULER: &str = "scheduler/scheduler_config.json";
/// GLIGEN's adapters in a file of their own, beside the weights of the UNet that they were trained for.
const ADAPTERS: &str = "unet/gligen.safetensors";
/// Everything in `tokenizer/` that we read.
const TOKENIZER: [&str; 5] =
    ["vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json"];
/// What weight files are called, before variant and extension.
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "model", "pytorch_model"];
/// The variants tried when none is asked for: full precision first, as it is the most faithful.
const DEFAULT_VARIANTS: [&str; 2] = ["", "fp16"];

/// The weight files of one network among `names`: safetensors before PyTorch's, shards together; a UNet's adapters at the end.
///
/// # Errors
/// If there are none, or none of the variant asked for, or adapters lie beside PyTorch's files, which cannot be read together.
pub(crate) fn weight_files(
    origin: &str,
    names: &[String],
    network: &str,
    variant: Option<&str>,
) -> Result<Vec<String>> {
    let mut files = own_weight_files(origin, names, network, variant)?;
    if let Some(adapters) = names.iter().find(|name| *name == ADAPTERS && network == "unet") {
        if let Some(pickle) = files.iter().find(|file| !file.ends_with(".safetensors")) {
            let problem = format!(
                "`{ADAPTERS}` needs the UNet as .safetensors too, not as `{pickle}`: convert it, or remove one"
            );
            return Err(Error::NotACheckpoint { origin: origin.to_owned(), problem });
        }
        files.push(adapters.clone());
    }
    Ok(files)
}

/// The same without adapters.
fn own_weight_files(origin: &str, names: &[String], network: &str, variant: Option<&str>) -> Result<Vec<String>> {
    let variants = match &variant {
        Some(variant) => std::slice::from_ref(variant),
        None => &DEFAULT_VARIANTS[..],
    };
    for extension in ["safetensors", "bin"] {
        for variant in variants {
            for stem in STEMS {
                let infix = if variant.is_empty() { String::new() } else { format!(".{variant}") };
                let single = format!("{network}/{stem}{infix}.{extension}");
                if names.contains(&single) {
                    return Ok(vec![single]);
                }
                let shards = shards(names, &format!("{network}/{stem}"), &infix, extension);
                if !shards.is_empty() {
                    return complete(origin, shards);
                }
            }
        }
    }
    let of_variant = variant.map_or_else(String::new, |variant| format!(" of variant `{variant}`"));
    let problem =
        format!("{network}/ holds no weights{of_variant} (`diffusion_pytorch_model.safetensors` or the like)");
    Err(Error::NotACheckpoint { origin: origin.to_owned(), problem })
}

/// `stem-00001-of-00003.safetensors` and its like; the variant's infix stands before or after the number.
fn shards(names: &[String], stem: &str, infix: &str, extension: &str) -> Vec<String> {
    let is_shard = |name: &String| {
        let middle = name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')?;
        let number =
            if infix.is_empty() { middle } else { middle.strip_prefix(infix).or(middle.strip_suffix(infix))? };
        shard_number(number)
    };
    names.iter().filter(|name| is_shard(name).is_some()).cloned().collect()
}

/// `-00001-of-00003` as 1 of 3.
fn shard_number(text: &str) -> Option<(usize, usize)> {
    let (number, count) = text.strip_prefix('-')?.split_once("-of-")?;
    Some((number.parse().ok()?, count.parse().ok()?))
}

fn complete(origin: &str, shards: Vec<String>) -> Result<Vec<String>> {
    let count = shards.first().and_then(|name| {
        let (_, rest) = name.rsplit_once("-of-")?;
        rest.split('.').next()?.parse::<usize>().ok()
    });
    match count {
        Some(count) if count != shards.len() => Err(Error::NotACheckpoint {
            origin: origin.to_owned(),
            problem: format!("{} of the {count} parts of `{}` are there", shards.len(), shards[0]),
        }),
        _ => Ok(shards),
    }
}

/// All files of a pipeline that are worth downloading.
///
/// # Errors
/// As [`weight_files`], and if there is no `model_index.json`.
pub(crate) fn pipeline_files(origin: &str, names: &[String], variant: Option<&str>) -> Result<Vec<String>> {
    require_index(origin, names)?;
    let mut files = vec![INDEX.to_owned(), SCHEDULER.to_owned()];
    files.extend(TOKENIZER.map(|file| format!("tokenizer/{file}")));
    files.extend(NETWORKS.map(|network| format!("{network}/config.json")));
    files.retain(|file| names.contains(file));
    for network in NETWORKS {
        files.extend(weight_files(origin, names, network, variant)?);
    }
    Ok(files)
}

/// Refuses folders without a `model_index.json`, saying what they hold instead.
pub(crate) fn require_index(origin: &str, names: &[String]) -> Result<()> {
    if names.iter().any(|name| name == INDEX) {
        return Ok(());
    }
    let single_files: Vec<&str> =
        names.iter().filter(|name| !name.contains('/') && name.ends_with(".safetensors")).map(String::as_str).collect();
    let problem = match (names.len(), single_files.as_slice()) {
        (0, _) => "the folder is empty".to_owned(),
        (_, []) => format!("it has no {INDEX}"),
        (_, files) => format!("it has no {INDEX}; open one of its files instead: {}", files.join(", ")),
    };
    Err(Error::NotACheckpoint { origin: origin.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn check(list: &[&str], variant: Option<&str>, expected: &[&str]) {
        assert_eq!(weight_files("sd", &names(list), "unet", variant).unwrap(), names(expected));
    }

    const BOTH: [&str; 3] = [
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
    ];

    #[test]
    fn full_precision_safetensors_come_first() {
        check(&BOTH, None, &[BOTH[2]]);
        check(&BOTH[..2], None, &[BOTH[1]]);
        check(&BOTH[..1], None, &[BOTH[0]]);
    }

    #[test]
    fn a_variant_asked_for_is_the_only_one_taken() {
        check(&BOTH, Some("fp16"), &[BOTH[1]]);
        let error = weight_files("sd", &names(&BOTH), "unet", Some("bf16")).unwrap_err();
        assert!(error.to_string().contains("no weights of variant `bf16`"), "{error}");
    }

    #[test]
    fn shards_belong_together_and_must_be_complete() {
        let shards = [
            "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
            "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        ];
        check(&shards, None, &shards);
        let error = weight_files("sd", &names(&shards[1..]), "unet", None).unwrap_err();
        assert!(error.to_string().contains("1 of the 2 parts"), "{error}");

        let fp16 = [
            "unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
            "unet/diffusion_pytorch_model-00002-of-00002.fp16.safetensors",
        ];
        check(&fp16, Some("fp16"), &fp16);
    }

    #[test]
    fn adapters_in_a_file_of_their_own_belong_to_the_unet() {
        check(&[BOTH[2], ADAPTERS], None, &[BOTH[2], ADAPTERS]);
        check(&[BOTH[1], ADAPTERS], Some("fp16"), &[BOTH[1], ADAPTERS]);
        let other = names(&[ADAPTERS, "vae/diffusion_pytorch_model.safetensors", "vae/gligen.safetensors"]);
        assert_eq!(
            weight_files("sd", &other, "vae", None).unwrap(),
            names(&["vae/diffusion_pytorch_model.safetensors"])
        );
        let error = weight_files("sd", &names(&[BOTH[0], ADAPTERS]), "unet", None).unwrap_err().to_string();
        assert!(error.contains(ADAPTERS) && error.contains(BOTH[0]), "{error}");
        assert!(weight_files("sd", &names(&[ADAPTERS]), "unet", None).is_err(), "adapters alone are no UNet");
    }

    #[test]
    fn only_what_is_needed_is_downloaded() {
        let repository = names(&[
            ".gitattributes",
            "README.md",
            "model_index.json",
            "safety_checker/model.safetensors",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "text_encoder/pytorch_model.bin",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
            "v1-5-pruned.safetensors",
        ]);
        let files = pipeline_files("sd", &repository, None).unwrap();
        assert_eq!(files.len(), 10);
        assert!(!files.iter().any(|file| file.contains("non_ema") || file.ends_with(".bin") || file.starts_with("v1")));
    }
}
