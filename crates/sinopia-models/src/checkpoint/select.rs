//! Which of a repository's files belong to a checkpoint: one weight format, one variant, no pictures.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kinds::OtherModel;
use crate::{Error, Result};

/// The networks of a Stable Diffusion pipeline, as its folders are called.
pub(crate) const NETWORKS: [&str; 3] = ["text_encoder", "unet", "vae"];
/// What a pipeline's `model_index.json` is called.
pub(crate) const INDEX: &str = "model_index.json";
/// The configuration of a folder that holds one network.
const CONFIG: &str = "config.json";
/// The scheduler's configuration.
pub(crate) const SCHEDULER: &str = "scheduler/scheduler_config.json";
/// GLIGEN's adapters in a file of their own, beside the weights of the UNet that they were trained for.
const ADAPTERS: &str = "unet/gligen.safetensors";
/// Everything in `tokenizer/` that we read.
const TOKENIZER: [&str; 6] = [
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "tokenizer.json",
];
/// What diffusers calls weight files, before variant and extension: the list of its shards comes before a whole file.
const DIFFUSERS_STEM: &str = "diffusion_pytorch_model";
/// What weight files are called.
const STEMS: [&str; 3] = [DIFFUSERS_STEM, "model", "pytorch_model"];
/// Formats of weight files, best first.
const EXTENSIONS: [&str; 2] = ["safetensors", "bin"];
/// The variants tried when none is asked for: full precision first, as it is the most faithful, and then what keeps most digits.
const DEFAULT_VARIANTS: [&str; 4] = ["", "fp32", "fp16", "bf16"];

/// A folder of models, here or on the Hub: the names of its files, and the contents of the small ones.
pub(crate) struct Repository<'a> {
    /// What it is called in messages.
    pub(crate) origin: &'a str,
    pub(crate) names: &'a [String],
    /// Reads a list of shards.
    pub(crate) read: &'a dyn Fn(&str) -> Result<Vec<u8>>,
}

impl Repository<'_> {
    /// The weight files of one network: those of the variant asked for, else without a variant, else of the first variant there is; safetensors
    /// before PyTorch's, shards together; of a UNet a GGUF file if there is nothing else, and its adapters at the end. `network` is its folder, or nothing for a folder that holds one model.
    ///
    /// # Errors
    /// If there are none, or shards are missing.
    pub(crate) fn weight_files(&self, network: &str, variant: Option<&str>) -> Result<Vec<String>> {
        let files = match variant {
            Some(variant) => self.of_variants(network, &[variant, ""])?,
            None => self.of_variants(network, &DEFAULT_VARIANTS)?,
        };
        let mut files = match files {
            Some(files) => files,
            None => self.gguf(network)?.ok_or_else(|| self.no_weights(network, variant))?,
        };
        let adapters = self.names.iter().find(|name| *name == ADAPTERS && network == "unet");
        files.extend(adapters.cloned());
        Ok(files)
    }

    /// Whether a file that was chosen is of a variant.
    pub(crate) fn is_of_variant(file: &str, variant: &str) -> bool {
        variant_of(file) == Some(variant)
    }

    fn of_variants(&self, network: &str, variants: &[&str]) -> Result<Option<Vec<String>>> {
        for variant in variants {
            for extension in EXTENSIONS {
                for stem in STEMS {
                    if let Some(files) = self.candidate(network, stem, variant, extension)? {
                        return Ok(Some(files));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The GGUF file of a UNet, whatever its name: people put it into a folder.
    fn gguf(&self, network: &str) -> Result<Option<Vec<String>>> {
        let is_one = |name: &&String| {
            let file = name.strip_prefix("unet/").and_then(|file| file.strip_suffix(".gguf"));
            network == "unet" && file.is_some_and(|file| !file.contains('/'))
        };
        let files: Vec<String> = self.names.iter().filter(is_one).cloned().collect();
        match files.len() {
            0 => Ok(None),
            1 => Ok(Some(files)),
            _ => Err(self.not_a_checkpoint(format!("unet/ holds several GGUF files, {}: leave one", files.join(", ")))),
        }
    }

    /// The files of one name, variant and format, if there are any.
    fn candidate(&self, network: &str, stem: &str, variant: &str, extension: &str) -> Result<Option<Vec<String>>> {
        let path = |name: String| if network.is_empty() { name } else { format!("{network}/{name}") };
        let infix = if variant.is_empty() { String::new() } else { format!(".{variant}") };
        let whole = path(format!("{stem}{infix}.{extension}"));
        let whole = self.names.contains(&whole).then(|| vec![whole]);
        // The first is the order of today's libraries, the second that of older ones.
        let lists = [format!("{stem}.{extension}.index{infix}.json"), format!("{stem}.{extension}{infix}.index.json")];
        let list = lists.into_iter().map(path).find(|list| self.names.contains(list));
        let listed = || list.as_deref().map(|list| self.listed(list)).transpose();
        match whole {
            Some(whole) if stem == DIFFUSERS_STEM => match listed()? {
                Some(Listed::Whole(shards)) => Ok(Some(shards)),
                // A list whose shards are gone is a leftover.
                _ => Ok(Some(whole)),
            },
            Some(whole) => Ok(Some(whole)),
            None => match listed()? {
                Some(Listed::Whole(shards)) => Ok(Some(shards)),
                Some(Listed::Missing { list, shard }) => {
                    Err(self.not_a_checkpoint(format!("`{list}` lists `{shard}`, which is not there")))
                }
                None => self.unlisted(&path(stem.to_owned()), &infix, extension),
            },
        }
    }

    /// The shards that a list names. Others that lie beside them are leftovers of another size.
    fn listed(&self, list: &str) -> Result<Listed> {
        let problem = |problem: String| self.not_a_checkpoint(format!("the list of shards `{list}` {problem}"));
        let json: Value =
            serde_json::from_slice(&(self.read)(list)?).map_err(|error| problem(format!("is no JSON ({error})")))?;
        let map = json
            .get("weight_map")
            .and_then(Value::as_object)
            .ok_or_else(|| problem("has no `weight_map`".to_owned()))?;
        let folder = list.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut shards = BTreeSet::new();
        for shard in map.values() {
            let name = shard.as_str().filter(|name| !name.contains(['/', '\\']) && !name.starts_with('.'));
            let name = name.ok_or_else(|| problem(format!("names the file {shard}, which is not beside it")))?;
            shards.insert(if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") });
        }
        if shards.is_empty() {
            return Err(problem("lists nothing".to_owned()));
        }
        Ok(match shards.iter().find(|shard| !self.names.contains(shard)) {
            Some(missing) => Listed::Missing { list: list.to_owned(), shard: missing.clone() },
            None => Listed::Whole(shards.into_iter().collect()),
        })
    }

    /// Shards that no list names: the one set of them that is complete.
    fn unlisted(&self, stem: &str, infix: &str, extension: &str) -> Result<Option<Vec<String>>> {
        let mut sets: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for name in self.names {
            if let Some((_, count)) = shard_number(name, stem, infix, extension) {
                sets.entry(count).or_default().push(name.clone());
            }
        }
        let complete: Vec<&Vec<String>> =
            sets.iter().filter(|(count, set)| **count == set.len()).map(|(_, set)| set).collect();
        match (complete.as_slice(), sets.iter().next()) {
            (_, None) => Ok(None),
            ([set], _) => Ok(Some((*set).clone())),
            ([], Some((count, set))) => {
                Err(self.not_a_checkpoint(format!("{} of the {count} parts of `{}` are there", set.len(), set[0])))
            }
            (sets, _) => Err(self.not_a_checkpoint(format!(
                "`{}` and `{}` belong to different sets of shards, and no index says which of them is the model",
                sets[0][0], sets[1][0]
            ))),
        }
    }

    /// Refuses folders without a `model_index.json`, saying what they hold instead.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`]; [`Error::UnsupportedModel`] if it is known what they hold.
    pub(crate) fn require_index(&self) -> Result<()> {
        if self.names.iter().any(|name| name == INDEX) {
            return Ok(());
        }
        let config = match self.names.iter().any(|name| name == CONFIG) {
            true => serde_json::from_slice(&(self.read)(CONFIG)?).ok(),
            false => None,
        };
        if let Some(kind) = OtherModel::of_folder(config.as_ref(), self.names) {
            return Err(kind.refusal(self.origin));
        }
        let is_single_file = |name: &&String| {
            !name.contains('/') && [".safetensors", ".ckpt", ".gguf"].iter().any(|extension| name.ends_with(extension))
        };
        let single_files: Vec<&str> = self.names.iter().filter(is_single_file).map(String::as_str).collect();
        let problem = match (self.names.len(), single_files.as_slice()) {
            (0, _) => "the folder is empty".to_owned(),
            (_, []) => format!("it has no {INDEX}"),
            (_, files) => format!("it has no {INDEX}; open one of its files instead: {}", files.join(", ")),
        };
        Err(self.not_a_checkpoint(problem))
    }

    fn no_weights(&self, network: &str, variant: Option<&str>) -> Error {
        let (place, example) = match network {
            "" => ("it".to_owned(), "`model.safetensors`, `pytorch_model.bin`"),
            network => (format!("{network}/"), "`diffusion_pytorch_model.safetensors`"),
        };
        let within = |name: &&String| match name.rsplit_once('/') {
            Some((folder, _)) => folder == network,
            None => network.is_empty(),
        };
        let variants: BTreeSet<&str> = self.names.iter().filter(within).filter_map(|name| variant_of(name)).collect();
        let variants: Vec<String> = variants.into_iter().map(|variant| format!("`{variant}`")).collect();
        let asked = variant.map_or_else(String::new, |variant| format!(" of variant `{variant}` and none without one"));
        let problem = match variants.is_empty() {
            true => format!("{place} holds no weights{asked} ({example} or the like)"),
            false => format!(
                "{place} holds no weights{asked}, only those of {}; ask for them with `--variant`",
                variants.join(" and ")
            ),
        };
        self.not_a_checkpoint(problem)
    }

    fn not_a_checkpoint(&self, problem: String) -> Error {
        Error::NotACheckpoint { origin: self.origin.to_owned(), problem }
    }

    /// All files that make a pipeline what it is, and are worth downloading.
    ///
    /// # Errors
    /// As [`weight_files`](Self::weight_files), and if there is no `model_index.json`, or nothing of the variant asked for.
    pub(crate) fn pipeline_files(&self, variant: Option<&str>) -> Result<Vec<String>> {
        self.require_index()?;
        let mut files = vec![INDEX.to_owned(), SCHEDULER.to_owned()];
        files.extend(TOKENIZER.map(|file| format!("tokenizer/{file}")));
        files.extend(NETWORKS.map(|network| format!("{network}/config.json")));
        files.retain(|file| self.names.contains(file));
        let mut weights = Vec::new();
        for network in NETWORKS {
            weights.extend(self.weight_files(network, variant)?);
        }
        if let Some(variant) = variant
            && !weights.iter().any(|file| Self::is_of_variant(file, variant))
        {
            return Err(self.not_a_checkpoint(format!("none of its networks has weights of variant `{variant}`")));
        }
        files.extend(weights);
        Ok(files)
    }
}

/// What a list of shards says.
enum Listed {
    Whole(Vec<String>),
    Missing { list: String, shard: String },
}

/// The infix of a weight file, `fp16` of `model.fp16.safetensors` and `model.fp16-00001-of-00002.safetensors`.
fn variant_of(file: &str) -> Option<&str> {
    let name = file.rsplit('/').next().unwrap_or(file);
    let rest = STEMS.iter().find_map(|stem| name.strip_prefix(stem))?;
    let rest = EXTENSIONS.iter().find_map(|extension| rest.strip_suffix(extension))?.strip_suffix('.')?;
    let rest = match rest.strip_prefix('-') {
        Some(numbered) => numbered.split_once('.')?.1, // the older order: `-00001-of-00002.fp16`
        None => rest.strip_prefix('.')?,
    };
    let variant = rest.split_once('-').map_or(rest, |(variant, _)| variant);
    (!variant.is_empty() && !variant.contains('.')).then_some(variant)
}

/// `stem-00001-of-00003.safetensors` and its like as 1 of 3; the variant's infix stands before or after the number.
fn shard_number(name: &str, stem: &str, infix: &str, extension: &str) -> Option<(usize, usize)> {
    let middle = name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')?;
    let number = if infix.is_empty() { middle } else { middle.strip_prefix(infix).or(middle.strip_suffix(infix))? };
    let (number, count) = number.strip_prefix('-')?.split_once("-of-")?;
    Some((number.parse().ok()?, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A repository whose lists of shards are these.
    fn files_of(list: &[&str], lists: &[(&str, &str)], network: &str, variant: Option<&str>) -> Result<Vec<String>> {
        let read = |name: &str| {
            let (_, text) = lists.iter().find(|(list, _)| *list == name).unwrap();
            Ok(text.as_bytes().to_vec())
        };
        Repository { origin: "sd", names: &names(list), read: &read }.weight_files(network, variant)
    }

    fn check(list: &[&str], variant: Option<&str>, expected: &[&str]) {
        assert_eq!(files_of(list, &[], "unet", variant).unwrap(), names(expected));
    }

    fn refusal(list: &[&str], variant: Option<&str>) -> String {
        files_of(list, &[], "unet", variant).unwrap_err().to_string()
    }

    const BIN: &str = "unet/diffusion_pytorch_model.bin";
    const BF16: &str = "unet/diffusion_pytorch_model.bf16.safetensors";
    const FP16: &str = "unet/diffusion_pytorch_model.fp16.safetensors";
    const PLAIN: &str = "unet/diffusion_pytorch_model.safetensors";
    const NON_EMA: &str = "unet/diffusion_pytorch_model.non_ema.safetensors";

    #[test]
    fn full_precision_comes_first_and_then_what_keeps_most_digits() {
        check(&[BF16, BIN, FP16, NON_EMA, PLAIN], None, &[PLAIN]);
        check(&[BF16, BIN, FP16, NON_EMA], None, &[BIN]);
        check(&[BF16, FP16, NON_EMA], None, &[FP16]);
        check(&[BF16, NON_EMA], None, &[BF16]);
        check(&["unet/diffusion_pytorch_model.bf16.bin"], None, &["unet/diffusion_pytorch_model.bf16.bin"]);
    }

    #[test]
    fn a_variant_asked_for_comes_before_what_has_none() {
        check(&[BF16, BIN, FP16, PLAIN], Some("bf16"), &[BF16]);
        check(&[FP16, NON_EMA, PLAIN], Some("non_ema"), &[NON_EMA]);
        check(&[FP16, PLAIN], Some("bf16"), &[PLAIN]);
        let refused = refusal(&[FP16, NON_EMA], Some("bf16"));
        assert!(
            refused.contains("of variant `bf16` and none without one, only those of `fp16` and `non_ema`"),
            "{refused}"
        );
    }

    #[test]
    fn variants_of_unknown_names_are_not_taken_unasked() {
        let refused = refusal(&[NON_EMA, "unet/diffusion_pytorch_model-00001-of-00002.ema.bin"], None);
        assert!(refused.contains("only those of `ema` and `non_ema`; ask for them with `--variant`"), "{refused}");
        let none = refusal(&["unet/config.json", "vae/model.fp16.safetensors"], None);
        assert!(none.contains("unet/ holds no weights (`diffusion"), "{none}");
    }

    #[test]
    fn a_pipeline_may_mix_a_variant_with_what_has_none_but_not_be_without_it() {
        let list =
            ["model_index.json", "text_encoder/model.safetensors", FP16, PLAIN, "vae/diffusion_pytorch_model.bin"];
        let names = names(&list);
        let files =
            |variant| Repository { origin: "sd", names: &names, read: &|_| Ok(Vec::new()) }.pipeline_files(variant);
        assert_eq!(
            files(Some("fp16")).unwrap()[1..],
            ["text_encoder/model.safetensors", FP16, "vae/diffusion_pytorch_model.bin"]
        );
        let refused = files(Some("bf16")).unwrap_err().to_string();
        assert!(refused.contains("none of its networks has weights of variant `bf16`"), "{refused}");
    }

    const SHARDS: [&str; 2] = [
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    ];
    const STRAY: &str = "unet/diffusion_pytorch_model-00002-of-00003.safetensors";
    const LIST: &str = "unet/diffusion_pytorch_model.safetensors.index.json";
    const MAP: &str = r#"{"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors",
        "b": "diffusion_pytorch_model-00002-of-00002.safetensors", "c": "diffusion_pytorch_model-00001-of-00002.safetensors"}}"#;

    #[test]
    fn shards_belong_together_and_must_be_complete() {
        check(&SHARDS, None, &SHARDS);
        check(&[SHARDS[0], STRAY, SHARDS[1]], None, &SHARDS);
        let refused = refusal(&SHARDS[1..], None);
        assert!(refused.contains("1 of the 2 parts"), "{refused}");
        let bin = SHARDS.map(|name| name.replace("safetensors", "bin"));
        check(&[&bin[0], &bin[1]], None, &[&bin[0], &bin[1]]);
        for fp16 in ["diffusion_pytorch_model-0000N-of-00002.fp16", "diffusion_pytorch_model.fp16-0000N-of-00002"] {
            let fp16 = ["1", "2"].map(|n| format!("unet/{}.safetensors", fp16.replace('N', n)));
            let fp16 = [fp16[0].as_str(), &fp16[1]];
            check(&fp16, Some("fp16"), &fp16);
            check(&fp16, None, &fp16);
        }
    }

    #[test]
    fn a_list_of_shards_says_which_they_are() {
        let listed = |list: &[&str], map: &str| files_of(list, &[(LIST, map)], "unet", None);
        assert_eq!(listed(&[SHARDS[0], STRAY, SHARDS[1], LIST], MAP).unwrap(), SHARDS);
        let one_more = "unet/diffusion_pytorch_model-00001-of-00001.safetensors";
        assert_eq!(listed(&[one_more, SHARDS[0], SHARDS[1], LIST], MAP).unwrap(), SHARDS);
        // As diffusers does; transformers takes the whole file.
        assert_eq!(listed(&[SHARDS[0], SHARDS[1], PLAIN, LIST], MAP).unwrap(), SHARDS);
        assert_eq!(listed(&[PLAIN, LIST], MAP).unwrap(), [PLAIN]);
        let missing = listed(&[SHARDS[0], LIST], MAP).unwrap_err().to_string();
        assert!(missing.contains(LIST) && missing.contains(SHARDS[1]), "{missing}");
        for (map, expected) in [
            ("[", "is no JSON"),
            ("{}", "has no `weight_map`"),
            (r#"{"weight_map": {}}"#, "lists nothing"),
            (r#"{"weight_map": {"a": "../../etc/passwd"}}"#, "is not beside it"),
            (r#"{"weight_map": {"a": 3}}"#, "is not beside it"),
        ] {
            let refused = listed(&[SHARDS[0], SHARDS[1], LIST], map).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn lists_of_variants_are_found_by_both_of_their_names() {
        for list in ["model.safetensors.index.fp16.json", "model.safetensors.fp16.index.json"] {
            let map = r#"{"weight_map": {"a": "model.fp16-00001-of-00001.safetensors"}}"#;
            let files = files_of(&["model.fp16-00001-of-00001.safetensors", list], &[(list, map)], "", Some("fp16"));
            assert_eq!(files.unwrap(), ["model.fp16-00001-of-00001.safetensors"]);
        }
    }

    #[test]
    fn adapters_in_a_file_of_their_own_belong_to_the_unet() {
        check(&[PLAIN, ADAPTERS], None, &[PLAIN, ADAPTERS]);
        check(&[FP16, ADAPTERS], Some("fp16"), &[FP16, ADAPTERS]);
        check(&[BIN, ADAPTERS], None, &[BIN, ADAPTERS]);
        let other = [ADAPTERS, "vae/diffusion_pytorch_model.safetensors", "vae/gligen.safetensors"];
        assert_eq!(files_of(&other, &[], "vae", None).unwrap(), ["vae/diffusion_pytorch_model.safetensors"]);
        assert!(files_of(&[ADAPTERS], &[], "unet", None).is_err(), "adapters alone are no UNet");
    }

    #[test]
    fn a_unet_may_be_a_gguf_file_under_any_name() {
        let (four, eight) = ("unet/v1-5-Q4_K_S.gguf", "unet/v1-5-Q8_0.gguf");
        check(&["unet/config.json", four], None, &[four]);
        check(&[four, ADAPTERS], None, &[four, ADAPTERS]);
        check(&[four, PLAIN], None, &[PLAIN]);
        let refused = refusal(&[four, eight], None);
        assert!(refused.contains("several GGUF files, unet/v1-5-Q4_K_S.gguf, unet/v1-5-Q8_0.gguf"), "{refused}");
        assert!(files_of(&["vae/v.gguf"], &[], "vae", None).is_err());
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
        let repository = Repository { origin: "sd", names: &repository, read: &|_| Ok(Vec::new()) };
        let files = repository.pipeline_files(None).unwrap();
        assert_eq!(files.len(), 10);
        assert!(!files.iter().any(|file| file.contains("non_ema") || file.ends_with(".bin") || file.starts_with("v1")));
    }
}
