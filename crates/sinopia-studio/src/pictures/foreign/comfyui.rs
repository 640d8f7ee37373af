//! ComfyUI's graph in the text `prompt`: what can be told by following its links back from the node that samples.
//!
//! This reads any graph a little; `sinopia run` reads some graphs wholly.

use std::cell::Cell;
use std::collections::HashSet;

use serde_json::{Map, Value};
use sinopia_layout::limits::{GRAPH_SEARCH, NAME_CHARS};

use super::{Foreign, json};
use crate::pictures::Error;
use crate::pictures::chunks::PngTexts;
use crate::pictures::weights::Syntax;

/// The graph that ran.
pub(super) fn prompt(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    let nodes = object_in(png, "prompt")?.filter(|nodes| nodes.values().any(|node| node.get("class_type").is_some()));
    Ok(nodes.map(|nodes| Graph::new(nodes).made()))
}

/// The graph as it stood in the editor.
pub(super) fn workflow(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    let is_graph = |workflow: &Map<String, Value>| workflow.get("nodes").is_some_and(Value::is_array);
    Ok(object_in(png, "workflow")?.filter(is_graph).map(|_| Foreign {
        others: vec!["the graph of its editor, which `sinopia run` may be able to paint".to_owned()],
        ..Foreign::new("ComfyUI")
    }))
}

fn object_in(png: &PngTexts<'_>, keyword: &str) -> Result<Option<Map<String, Value>>, Error> {
    Ok(png.text(keyword)?.and_then(|text| json::parse(&text).ok()))
}

struct Graph {
    nodes: Map<String, Value>,
    /// Inputs that may still be looked at, by all searches together: each goes through the whole graph if it finds nothing.
    budget: Cell<usize>,
}

/// Names of inputs that hold a text.
const TEXTS: [&str; 9] =
    ["text", "text_g", "text_l", "prompt", "positive_prompt", "string", "value", "populated_text", "wildcard_text"];
/// Names of inputs that hold a model's file.
const MODELS: [&str; 4] = ["ckpt_name", "unet_name", "model_name", "model_path"];

impl Graph {
    fn new(nodes: Map<String, Value>) -> Self {
        Self { nodes, budget: Cell::new(GRAPH_SEARCH) }
    }

    fn made(&self) -> Foreign {
        let mut made = Foreign::new("ComfyUI");
        made.is_weighted = true;
        made.syntax = Syntax::ComfyUi;
        let Some(sampler) = self.first_sampler() else { return made };
        let near = |keys: &[&str]| self.find(sampler, &[], |inputs| self.number(inputs, keys));
        made.seed = near(&["seed", "noise_seed"]).and_then(|seed| json::whole(&seed, &["it"]));
        made.steps = near(&["steps"]).and_then(|steps| json::small(&steps, &["it"]));
        made.guidance_scale = near(&["cfg"]).and_then(|cfg| json::number(&cfg, &["it"]));
        let name = self.find(sampler, &[], |inputs| json::text(inputs, &["sampler_name"]));
        let schedule = self.find(sampler, &[], |inputs| json::text(inputs, &["scheduler"]));
        made.sampler = name.map(|name| match schedule.filter(|schedule| schedule != "normal") {
            Some(schedule) => format!("{name} {schedule}"),
            None => name,
        });
        made.model =
            self.find(sampler, &["model"], |inputs| json::text(inputs, &MODELS)).map(|path| json::file_stem(&path));
        let prompt = |ways: &[&str]| self.find(sampler, ways, |inputs| json::text(inputs, &TEXTS));
        made.prompt = prompt(&["positive"]).or_else(|| prompt(&["guider", "conditioning"]));
        // A node that blanks the positive prompt leads back to it.
        made.negative = prompt(&["negative"]).filter(|negative| made.prompt.as_ref() != Some(negative));
        let sides = |inputs: &Value| Some((json::small(inputs, &["width"])?, json::small(inputs, &["height"])?));
        let size = self.find(sampler, &["latent_image", "latent"], sides);
        (made.width, made.height) = size.unzip();
        made.others = self.others(sampler, &made);
        made
    }

    /// What else the picture depends on: numbers that are none, and nodes that a caption and a few numbers cannot stand for.
    fn others(&self, sampler: &str, made: &Foreign) -> Vec<String> {
        let mut others = Vec::new();
        let inputs = self.inputs(sampler);
        for (keys, is_read) in [(&["seed", "noise_seed"][..], made.seed.is_some()), (&["steps"], made.steps.is_some())]
        {
            let given = keys.iter().find_map(|key| Some((key, inputs?.get(key)?)));
            if let Some((key, value)) = given.filter(|(_, value)| !is_read && linked(value).is_none()) {
                others.push(format!("{key}: {value}"));
            }
        }
        for (id, node) in &self.nodes {
            let class = node.get("class_type").and_then(Value::as_str).unwrap_or_default();
            let names = |key: &str| self.inputs(id).and_then(|inputs| inputs.get(key)).is_some();
            let is_part = names("lora_name") || names("control_net_name") || class == "CLIPSetLastLayer";
            let is_another_pass = id != sampler && names("latent_image") && (names("sampler_name") || names("sampler"));
            if is_part || is_another_pass {
                others.push(format!("the node `{class}`"));
            }
        }
        others.dedup();
        others
    }

    /// A node that samples: it is given latents. Of several the first in the chain, whose latents no other has made.
    fn first_sampler(&self) -> Option<&str> {
        let is_sampler = |id: &str| {
            let inputs = self.inputs(id);
            let is_sampling = ["sampler_name", "sampler", "cfg", "positive"]
                .iter()
                .any(|key| inputs.and_then(|i| i.get(key)).is_some());
            is_sampling && inputs.and_then(|inputs| inputs.get("latent_image")).is_some()
        };
        let samplers: Vec<&str> = self.nodes.keys().map(String::as_str).filter(|id| is_sampler(id)).collect();
        let has_size = |id: &&&str| self.find(id, &["latent_image"], |inputs| inputs.get("width").cloned()).is_some();
        samplers.iter().find(has_size).or(samplers.first()).copied()
    }

    fn inputs(&self, id: &str) -> Option<&Value> {
        self.nodes.get(id)?.get("inputs")
    }

    /// Answers what `of` says of the node `from` or of the nearest one that it is linked to, back along the links.
    ///
    /// With `ways` the node itself is not asked, and only its inputs of these names are followed. A node behind one that samples is another picture's.
    fn find<T>(&self, from: &str, ways: &[&str], of: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let mut seen = HashSet::from([from.to_owned()]);
        let mut front = vec![from.to_owned()];
        let mut is_first = true;
        while !front.is_empty() {
            let mut next = Vec::new();
            for id in &front {
                let left = self.budget.get().checked_sub(1)?;
                self.budget.set(left);
                let Some(inputs) = self.inputs(id) else { continue };
                if (!is_first || ways.is_empty())
                    && let Some(found) = of(inputs)
                {
                    return Some(found);
                }
                for (name, input) in inputs.as_object().into_iter().flatten() {
                    let left = self.budget.get().checked_sub(1)?;
                    self.budget.set(left);
                    let is_wanted = !is_first || ways.is_empty() || ways.contains(&name.as_str());
                    if let Some(id) = linked(input).filter(|_| is_wanted)
                        && seen.insert(id.clone())
                    {
                        next.push(id);
                    }
                }
            }
            front = next;
            is_first = false;
        }
        None
    }

    /// The number under one of `keys`, there or in the node that it is linked to, as `{"it": number}`.
    fn number(&self, inputs: &Value, keys: &[&str]) -> Option<Value> {
        let value = keys.iter().find_map(|key| inputs.get(key))?;
        if value.is_number() || value.is_string() {
            return Some(serde_json::json!({ "it": value }));
        }
        let inputs = self.inputs(&linked(value)?)?;
        let found =
            ["value", "seed", "noise_seed", "int", "number", "steps", "cfg"].iter().find_map(|key| inputs.get(key))?;
        found.is_number().then(|| serde_json::json!({ "it": found }))
    }
}

/// The node that an input is linked to: `["4", 0]`.
fn linked(input: &Value) -> Option<String> {
    let link = input.as_array().filter(|link| link.len() == 2)?;
    let node = link.first()?;
    node.as_str()
        .filter(|id| id.len() <= NAME_CHARS)
        .map(str::to_owned)
        .or_else(|| node.as_u64().map(|id| id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::chunks::tests::{png, text};

    fn made(keyword: &str, graph: &str) -> Option<Foreign> {
        super::super::read(&PngTexts::read(&png(&[text(keyword, graph)])).unwrap()).unwrap()
    }

    #[test]
    fn a_plain_graph_is_followed() {
        let found = made(
            "prompt",
            r#"{"3": {"class_type": "KSampler", "inputs": {"seed": 18446744073709551615, "steps": 20, "cfg": 8.0, "sampler_name": "dpmpp_2m",
                "scheduler": "karras", "denoise": 1.0, "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd/v1-5-pruned.safetensors"}},
            "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "x.safetensors", "model": ["4", 0]}},
            "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 640, "batch_size": 1}},
            "6": {"class_type": "ConditioningConcat", "inputs": {"conditioning_to": ["8", 0]}},
            "8": {"class_type": "CLIPTextEncode", "inputs": {"text": ["9", 0], "clip": ["4", 1]}},
            "9": {"class_type": "PrimitiveString", "inputs": {"value": "a (red:1.2) car"}},
            "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "[blurry]", "clip": ["4", 1]}}}"#,
        );
        let found = found.unwrap();
        assert_eq!((found.program.as_str(), found.seed), ("ComfyUI", Some(u64::MAX)));
        assert_eq!((found.caption().as_deref(), found.negative.as_deref()), (Some("a red car"), Some("[blurry]")));
        assert_eq!(found.plain_negative().as_deref(), Some("[blurry]"));
        assert_eq!((found.width, found.height, found.steps), (Some(512), Some(640), Some(20)));
        assert_eq!((found.guidance_scale, found.sampler.as_deref()), (Some(8.0), Some("dpmpp_2m karras")));
        assert_eq!(found.model.as_deref(), Some("v1-5-pruned"));
        assert_eq!(found.others, ["the node `LoraLoader`"]);
    }

    #[test]
    fn what_cannot_be_kept_of_a_graph_is_told() {
        let found = made(
            "prompt",
            r#"{"3": {"class_type": "KSampler", "inputs": {"seed": -1, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "positive": ["6", 0],
                "latent_image": ["5", 0]}},
            "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a car", "clip": ["8", 0]}},
            "8": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2}},
            "9": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 10, "sampler_name": "euler", "denoise": 0.5, "positive": ["6", 0],
                "latent_image": ["3", 0]}}}"#,
        )
        .unwrap();
        assert_eq!((found.seed, found.steps), (None, Some(20)));
        assert_eq!(found.others, ["seed: -1", "the node `CLIPSetLastLayer`", "the node `KSampler`"]);
    }

    #[test]
    fn a_sampler_of_many_nodes_is_followed() {
        let found = made(
            "prompt",
            r#"{"13": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["25", 0], "guider": ["22", 0], "sampler": ["16", 0], "sigmas": ["17", 0],
                "latent_image": ["27", 0]}}, "25": {"class_type": "RandomNoise", "inputs": {"noise_seed": 7}},
            "22": {"class_type": "BasicGuider", "inputs": {"model": ["12", 0], "conditioning": ["6", 0]}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}}, "16": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
            "17": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 4}},
            "12": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors"}},
            "27": {"class_type": "EmptyLatentImage", "inputs": {"width": ["30", 0], "height": 1024}},
            "30": {"class_type": "PrimitiveInt", "inputs": {"value": 1024}}}"#,
        );
        let found = found.unwrap();
        assert_eq!((found.seed, found.steps, found.prompt.as_deref()), (Some(7), Some(4), Some("a cat")));
        assert_eq!(found.sampler.as_deref(), Some("euler simple"));
    }

    #[test]
    fn all_searches_of_a_graph_share_one_budget() {
        let sampler =
            |id: usize| format!(r#""s{id}": {{"class_type": "K", "inputs": {{"cfg": 1, "latent_image": ["0", 0]}}}}"#);
        let link = |id: usize| format!(r#""{id}": {{"class_type": "L", "inputs": {{"a": ["{}", 0]}}}}"#, id + 1);
        let nodes: Vec<String> = (0..7000).map(sampler).chain((0..5000).map(link)).collect();
        let graph = Graph::new(serde_json::from_str(&format!("{{{}}}", nodes.join(","))).unwrap());
        assert_eq!(graph.made().width, None);
        assert_eq!(graph.budget.get(), 0);
    }

    #[test]
    fn numbers_that_only_python_writes_are_read_over() {
        let found = made(
            "prompt",
            r#"{"3": {"class_type": "KSampler", "inputs": {"seed": 7, "positive": ["6", 0], "latent_image": ["5", 0]}, "is_changed": [NaN]},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a NaN"}}}"#,
        );
        let found = found.unwrap();
        assert_eq!((found.seed, found.prompt.as_deref()), (Some(7), Some("a NaN")));
    }

    #[test]
    fn graphs_without_a_sampler_or_with_circles_end() {
        let circle = r#"{"1": {"class_type": "KSampler", "inputs": {"latent_image": ["2", 0], "positive": ["2", 0]}},
            "2": {"class_type": "A", "inputs": {"a": ["1", 0], "b": ["2", 0]}}}"#;
        assert_eq!(made("prompt", circle).unwrap().prompt, None);
        assert_eq!(made("prompt", r#"{"1": {"class_type": "LoadImage", "inputs": {}}}"#).unwrap().seed, None);
        assert_eq!(made("prompt", r#"{"1": {"inputs": {}}}"#), None);
        assert!(made("workflow", r#"{"nodes": [], "links": []}"#).unwrap().notes()[0].contains("sinopia run"));
        assert_eq!(made("workflow", "{}"), None);
    }
}
