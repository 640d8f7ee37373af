//! A graph of nodes, from any of the forms in which ComfyUI keeps one.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::cli::failure::{Given, bad_request};

/// Nodes by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
}

/// A node: its class and what it is given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) class: String,
    pub(super) inputs: Map<String, Value>,
}

/// Where an input comes from: a node, and which of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) node: String,
    pub(super) output: usize,
}

/// The names of the values that a node's editor keeps in order, without names; `_` is one that the API has not.
const WIDGETS: &[(&str, &[&str])] = &[
    ("CheckpointLoaderSimple", &["ckpt_name"]),
    ("CLIPTextEncode", &["text"]),
    ("EmptyLatentImage", &["width", "height", "batch_size"]),
    ("KSampler", &["seed", "_", "steps", "cfg", "sampler_name", "scheduler", "denoise"]),
    ("SaveImage", &["filename_prefix"]),
    ("PreviewImage", &[]),
    ("VAEDecode", &[]),
    ("GLIGENLoader", &["gligen_name"]),
    ("GLIGENTextBoxApply", &["text", "width", "height", "x", "y"]),
    ("BasicScheduler", &["scheduler", "steps", "denoise"]),
    ("ConditioningConcat", &[]),
    ("ELLALoader", &["name"]),
    ("T5TextEncoderLoader #ELLA", &["name", "max_length", "dtype"]),
    ("T5TextEncode #ELLA", &["text"]),
    ("SetEllaTimesteps", &["scheduler", "steps", "denoise"]),
    ("EllaEncode", &[]),
    ("EllaTextEncode", &["text", "text_clip"]),
    ("EllaApply", &[]),
    ("CombineClipEllaEmbeds", &[]),
];
/// Nodes of the editor that compute nothing.
const REMARKS: [&str; 2] = ["Note", "MarkdownNote"];

impl Graph {
    /// Reads a JSON file or the text chunks of a PNG.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).given(|| format!("cannot read `{}`", path.display()))?;
        let origin = path.display().to_string();
        let text = match bytes.starts_with(b"\x89PNG") {
            true => text_in_png(&bytes).ok_or_else(|| bad_request(format!("`{origin}` holds no ComfyUI graph")))?,
            false => String::from_utf8_lossy(&bytes).into_owned(),
        };
        Self::parse(&text).map_err(|problem| bad_request(format!("`{origin}` is no ComfyUI graph: {problem}")))
    }

    /// Reads the text of a graph; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let graph = match &document {
            Value::Object(object) if object.get("nodes").is_some_and(Value::is_array) => Self::of_editor(&document)?,
            // What is posted to its server has the nodes under `prompt`.
            Value::Object(object) => match object.get("prompt").and_then(Value::as_object) {
                Some(nodes) => Self::of_api(nodes)?,
                None => Self::of_api(object)?,
            },
            _ => return Err("it is not a JSON object".to_owned()),
        };
        if graph.nodes.is_empty() { Err("it has no nodes".to_owned()) } else { Ok(graph) }
    }

    fn of_api(nodes: &Map<String, Value>) -> Result<Self, String> {
        let node = |(id, node): (&String, &Value)| {
            let class = node["class_type"].as_str().ok_or_else(|| format!("node `{id}` has no `class_type`"))?;
            let inputs = node["inputs"].as_object().cloned().unwrap_or_default();
            Ok((id.clone(), Node { class: class.to_owned(), inputs }))
        };
        Ok(Self { nodes: nodes.iter().map(node).collect::<Result<_, String>>()? })
    }

    /// From the editor's format: links in a list of their own, values without names.
    fn of_editor(document: &Value) -> Result<Self, String> {
        let mut links: BTreeMap<u64, Link> = BTreeMap::new();
        for link in document["links"].as_array().into_iter().flatten() {
            // [link, from node, from slot, to node, to slot, type]
            if let (Some(id), Some(node), Some(output)) = (link[0].as_u64(), link[1].as_u64(), link[2].as_u64()) {
                links.insert(id, Link { node: node.to_string(), output: output as usize });
            }
        }
        let mut nodes = BTreeMap::new();
        for node in document["nodes"].as_array().into_iter().flatten() {
            let class = node["type"].as_str().ok_or("a node has no `type`")?;
            let id = node["id"].as_u64().ok_or_else(|| format!("a `{class}` has no `id`"))?.to_string();
            if REMARKS.contains(&class) {
                continue;
            }
            let names = WIDGETS.iter().find(|(known, _)| *known == class).map(|(_, names)| *names);
            let names = names.ok_or_else(|| unknown_node(&id, class))?;
            let values = node["widgets_values"].as_array().cloned().unwrap_or_default();
            let named = names.iter().zip(values).filter(|(name, _)| **name != "_");
            let mut inputs: Map<String, Value> = named.map(|(name, value)| ((*name).to_owned(), value)).collect();
            for input in node["inputs"].as_array().into_iter().flatten() {
                let link = input["link"].as_u64().and_then(|link| links.get(&link));
                if let (Some(name), Some(Link { node, output })) = (input["name"].as_str(), link) {
                    inputs.insert(name.to_owned(), json!([node, output]));
                }
            }
            nodes.insert(id, Node { class: class.to_owned(), inputs });
        }
        Ok(Self { nodes })
    }

    /// The graph in the API's format.
    pub(super) fn to_json(&self) -> Value {
        let node = |node: &Node| json!({ "class_type": node.class, "inputs": node.inputs });
        self.nodes.iter().map(|(id, found)| (id.clone(), node(found))).collect::<Map<_, _>>().into()
    }

    /// Adds a node under the next free number, and answers with it.
    pub(super) fn add(&mut self, class: &str, inputs: Value) -> String {
        let id = (self.nodes.len() + 1).to_string();
        let inputs = inputs.as_object().cloned().unwrap_or_default();
        self.nodes.insert(id.clone(), Node { class: class.to_owned(), inputs });
        id
    }

    /// The ids of the nodes of some classes.
    pub(super) fn of_classes(&self, classes: &[&str]) -> Vec<&str> {
        let fits = self.nodes.iter().filter(|(_, node)| classes.contains(&node.class.as_str()));
        fits.map(|(id, _)| id.as_str()).collect()
    }

    /// The node of an id.
    pub(super) fn node(&self, id: &str) -> anyhow::Result<&Node> {
        self.nodes.get(id).ok_or_else(|| bad_request(format!("the graph links to node `{id}`, which it does not have")))
    }

    /// Refuses nodes of classes that are not understood, wherever they stand.
    pub(super) fn check_classes(&self) -> anyhow::Result<()> {
        let is_known = |node: &Node| WIDGETS.iter().any(|(class, _)| *class == node.class);
        match self.nodes.iter().find(|(_, node)| !is_known(node)) {
            None => Ok(()),
            Some((id, node)) => Err(bad_request(unknown_node(id, &node.class))),
        }
    }
}

fn unknown_node(id: &str, class: &str) -> String {
    format!("node `{id}` is a `{class}`, which is not understood; `sinopia run --help` lists those that are")
}

impl Node {
    /// An input that is a link.
    pub(super) fn link(&self, name: &str) -> Option<Link> {
        let link = self.inputs.get(name)?.as_array()?;
        let node = link.first()?;
        let node = node.as_str().map(str::to_owned).or_else(|| node.as_u64().map(|id| id.to_string()))?;
        Some(Link { node, output: link.get(1)?.as_u64()? as usize })
    }

    /// An input that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.inputs.get(name)?.as_str()
    }

    /// An input that is a number.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.inputs.get(name)?.as_f64()
    }
}

/// The graph in a PNG's text: the API's, or else the editor's.
fn text_in_png(bytes: &[u8]) -> Option<String> {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().ok()?;
    reader.finish().ok()?;
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), Some(chunk.text.clone())));
    let unicode = info.utf8_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.get_text().ok()));
    let chunks: Vec<(String, Option<String>)> = plain.chain(unicode).collect();
    let of = |keyword: &str| chunks.iter().find(|(known, _)| known == keyword).and_then(|(_, text)| text.clone());
    of("prompt").or_else(|| of("workflow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_the_same_graph() {
        let api = r#"{"3": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal",
            "denoise": 1.0, "model": ["4", 0]}}, "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}}"#;
        let editor = r#"{"last_node_id": 4, "version": 0.4, "links": [[9, 4, 0, 3, 0, "MODEL"]], "nodes": [
            {"id": 3, "type": "KSampler", "widgets_values": [7, "randomize", 20, 8.0, "euler", "normal", 1.0], "inputs": [{"name": "model", "type": "MODEL", "link": 9}]},
            {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["a.safetensors"]},
            {"id": 5, "type": "Note", "widgets_values": ["a remark"]}]}"#;
        let graph = Graph::parse(api).unwrap();
        assert_eq!(Graph::parse(editor).unwrap(), graph);
        assert_eq!(Graph::parse(&format!(r#"{{"prompt": {api}, "client_id": "x"}}"#)).unwrap(), graph);
        assert_eq!(Graph::parse(&graph.to_json().to_string()).unwrap(), graph);
        assert_eq!(graph.node("3").unwrap().link("model"), Some(Link { node: "4".into(), output: 0 }));
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        for (text, part) in [
            ("", "EOF"),
            ("[]", "not a JSON object"),
            ("{}", "no nodes"),
            (r#"{"1": {"inputs": {}}}"#, "node `1` has no `class_type`"),
            (r#"{"nodes": [{"id": 1, "type": "FancyNode"}]}"#, "node `1` is a `FancyNode`"),
        ] {
            let problem = Graph::parse(text).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
        let graph = Graph::parse(r#"{"8": {"class_type": "LoraLoader", "inputs": {}}}"#).unwrap();
        assert!(graph.check_classes().unwrap_err().to_string().contains("`8` is a `LoraLoader`"));
    }

    #[test]
    fn a_png_of_comfyui_holds_its_graph() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        encoder.add_text_chunk("prompt".into(), r#"{"1": {"class_type": "VAEDecode", "inputs": {}}}"#.into()).unwrap();
        encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
        assert!(text_in_png(&bytes).unwrap().contains("VAEDecode"));
    }
}
