//! A graph of nodes in the API's form, read from any of the forms in which ComfyUI keeps one.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use sinopia_diffusion::Recipe;
use sinopia_layout::limits::{GRAPH_BYTES, GRAPH_NODES, PICTURE_BYTES};
use sinopia_layout::media::picture_kind;
use sinopia_layout::python_json::with_null;
use sinopia_studio::pictures::chunks::PngTexts;

use super::{editor, nodes};
use crate::cli::failure::{Given, bad_request};
use crate::cli::input;

/// Nodes by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
    /// What a reader of the graph should know, in words.
    pub(super) notes: Vec<String>,
}

/// A node: its class and what it is given.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Node {
    pub(super) class: String,
    pub(super) inputs: Map<String, Value>,
    /// What ComfyUI hands on without reading it: the title, for one.
    pub(super) meta: Map<String, Value>,
}

/// Where an input comes from: a node, and which of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) node: String,
    pub(super) output: usize,
}

impl Graph {
    /// Reads a JSON file or the text chunks of a PNG.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = input::bytes(path, GRAPH_BYTES.max(PICTURE_BYTES))?;
        let origin = path.display().to_string();
        let refused = |problem: &str| bad_request(format!("`{origin}` is no ComfyUI graph: {problem}"));
        match picture_kind(&bytes) {
            None => {
                let text = str::from_utf8(&bytes).map_err(|_| refused("it is neither JSON nor a PNG"))?;
                return Self::parse(text).map_err(|problem| refused(&problem));
            }
            Some("PNG") => {}
            Some(kind) => {
                return Err(bad_request(format!("`{origin}` is a {kind} picture; graphs are in JSON files and PNGs")));
            }
        }
        // What ran, or else what stood in the editor.
        let unread = || format!("cannot read the graph in `{origin}`");
        let texts = PngTexts::read(&bytes).given(unread)?;
        let mut problem =
            "the PNG holds neither the text `prompt` nor `workflow`, in which ComfyUI keeps it".to_owned();
        if texts.text(Recipe::KEYWORD).given(unread)?.is_some() {
            problem = "this program painted it: `sinopia generate --from` paints it again".to_owned();
        }
        for keyword in ["prompt", "workflow"] {
            let Some(text) = texts.text(keyword).given(unread)? else { continue };
            match Self::parse(&text) {
                Ok(graph) => return Ok(graph),
                Err(wrong) => problem = wrong,
            }
        }
        Err(refused(&problem))
    }

    /// Reads the text of a graph; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() as u64 > GRAPH_BYTES {
            return Err(format!("it has {} bytes; at most {GRAPH_BYTES} are read", text.len()));
        }
        let text = text.trim_start_matches('\u{feff}');
        let document: Value = match serde_json::from_str(text) {
            Ok(document) => document,
            // Python writes numbers that JSON has not.
            Err(error) => serde_json::from_str(&with_null(text)).map_err(|_| error.to_string())?,
        };
        let graph = Self::of_document(&document)?;
        match graph.nodes.len() {
            0 => Err("it has no nodes".to_owned()),
            count if count > GRAPH_NODES => Err(format!("it has {count} nodes; at most {GRAPH_NODES} are read")),
            _ => Ok(graph),
        }
    }

    fn of_document(document: &Value) -> Result<Self, String> {
        let Value::Object(object) = document else { return Err("it is not a JSON object".to_owned()) };
        let has_nodes = |value: &Value| value["nodes"].is_array();
        let has_classes = |value: &Value| value.as_object().is_some_and(|nodes| nodes.values().any(is_node));
        if has_nodes(document) {
            return editor::graph(document);
        }
        // What is posted to its server has the nodes under `prompt`, what its page makes under `output` beside `workflow`.
        let inner = || ["prompt", "output", "workflow"].iter().filter_map(|key| object.get(*key));
        match inner().find(|value| has_nodes(value) || has_classes(value)) {
            Some(found) if has_nodes(found) => editor::graph(found),
            Some(Value::Object(found)) if !has_classes(document) => Self::of_api(found),
            _ => Self::of_api(object),
        }
    }

    fn of_api(nodes: &Map<String, Value>) -> Result<Self, String> {
        let node = |(id, node): (&String, &Value)| {
            let class = node["class_type"].as_str().ok_or_else(|| format!("node `{id}` has no `class_type`"))?;
            let map = |key: &str| node[key].as_object().cloned().unwrap_or_default();
            Ok((id.clone(), Node { class: class.to_owned(), inputs: map("inputs"), meta: map("_meta") }))
        };
        let nodes = nodes.iter().filter(|(_, node)| node.is_object()).map(node).collect::<Result<_, String>>()?;
        Ok(Self { nodes, notes: Vec::new() })
    }

    /// The graph in the API's format.
    pub(super) fn to_json(&self) -> Value {
        let node = |node: &Node| {
            let mut value = json!({ "class_type": node.class, "inputs": node.inputs });
            if !node.meta.is_empty() {
                value["_meta"] = node.meta.clone().into();
            }
            value
        };
        self.nodes.iter().map(|(id, found)| (id.clone(), node(found))).collect::<Map<_, _>>().into()
    }

    /// Puts a node in.
    pub(super) fn insert(&mut self, id: String, node: Node) {
        self.nodes.insert(id, node);
    }

    /// Adds a node under the next free number, and answers with it.
    pub(super) fn add(&mut self, class: &str, inputs: Value) -> String {
        let id = (self.nodes.len() + 1).to_string();
        let inputs = inputs.as_object().cloned().unwrap_or_default();
        self.insert(id.clone(), Node { class: class.to_owned(), inputs, ..Node::default() });
        id
    }

    /// The node of an id, to be changed.
    pub(super) fn node_mut(&mut self, id: &str) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    /// The ids of the nodes of some classes.
    pub(super) fn of_classes(&self, classes: &[&str]) -> Vec<&str> {
        let fits = self.nodes.iter().filter(|(_, node)| classes.contains(&node.class.as_str()));
        fits.map(|(id, _)| id.as_str()).collect()
    }

    /// The node of an id, and the id as the graph has it.
    pub(super) fn node(&self, id: &str) -> anyhow::Result<(&str, &Node)> {
        let found = self.nodes.get_key_value(id).map(|(id, node)| (id.as_str(), node));
        found.ok_or_else(|| bad_request(format!("the graph links to node `{id}`, which it does not have")))
    }

    /// A node of a class that is not understood, in words, if there is one.
    pub(super) fn unknown(&self) -> Option<String> {
        let is_known = |class: &str| nodes::widgets(class).is_some() || nodes::REROUTES.contains(&class);
        self.nodes.iter().find(|(_, node)| !is_known(&node.class)).map(|(id, node)| node.not_understood(id))
    }
}

fn is_node(value: &Value) -> bool {
    value.get("class_type").is_some()
}

impl Node {
    /// An input that is a link.
    pub(super) fn link(&self, name: &str) -> Option<Link> {
        let link = self.inputs.get(name)?.as_array()?;
        let node = link.first()?;
        let node = node.as_str().map(str::to_owned).or_else(|| node.as_u64().map(|id| id.to_string()))?;
        Some(Link { node, output: usize::try_from(link.get(1)?.as_u64()?).ok()? })
    }

    /// That this node is not understood.
    pub(super) fn not_understood(&self, id: &str) -> String {
        let title = self.meta.get("title").and_then(Value::as_str).filter(|title| *title != self.class);
        let title = title.map(|title| format!(", titled `{title}`")).unwrap_or_default();
        format!(
            "a node is not understood: {} (node `{id}`{title}); `sinopia run --help` lists those that are",
            self.class
        )
    }
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
        for wrapped in [
            format!(r#"{{"prompt": {api}, "client_id": "x"}}"#),
            format!(r#"{{"output": {api}, "workflow": {editor}}}"#),
            format!(r#"{{"workflow": {editor}}}"#),
            format!("\u{feff}{api}"),
        ] {
            assert_eq!(Graph::parse(&wrapped).unwrap(), graph, "{wrapped}");
        }
        assert_eq!(Graph::parse(&graph.to_json().to_string()).unwrap(), graph);
        assert_eq!(graph.node("3").unwrap().1.link("model"), Some(Link { node: "4".into(), output: 0 }));
    }

    #[test]
    fn numbers_that_only_python_writes_are_read_over() {
        let text = r#"{"1": {"class_type": "VAEDecode", "inputs": {"text": "a NaN \" Infinity"}, "is_changed": [NaN, -Infinity]}}"#;
        let graph = Graph::parse(text).unwrap();
        assert_eq!(graph.node("1").unwrap().1.inputs["text"], "a NaN \" Infinity");
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        for (text, part) in [
            ("", "EOF"),
            ("[]", "not a JSON object"),
            ("{}", "no nodes"),
            (r#"{"nodes": []}"#, "no nodes"),
            (r#"{"1": {"inputs": {}}}"#, "node `1` has no `class_type`"),
            (r#"{"nodes": [{"id": 1}]}"#, "a node has no `type`"),
        ] {
            let problem = Graph::parse(text).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn what_is_not_understood_has_a_name_and_a_title() {
        let lora = r#"{"8": {"class_type": "LoraLoader", "inputs": {}, "_meta": {"title": "Load LoRA"}}}"#;
        let message = Graph::parse(lora).unwrap().unknown().unwrap();
        assert!(
            message.starts_with("a node is not understood: LoraLoader (node `8`, titled `Load LoRA`);"),
            "{message}"
        );
        let fancy = r#"{"nodes": [{"id": 1, "type": "FancyNode"}]}"#;
        let message = Graph::parse(fancy).unwrap().unknown().unwrap();
        assert!(message.starts_with("a node is not understood: FancyNode (node `1`);"), "{message}");
    }

    #[test]
    fn a_png_of_comfyui_holds_its_graph() {
        let png = |chunks: &[(&str, &str)]| {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
            for (keyword, text) in chunks {
                encoder.add_text_chunk((*keyword).to_owned(), (*text).to_owned()).unwrap();
            }
            encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            Graph::read(file.path())
        };
        let api = r#"{"1": {"class_type": "VAEDecode", "inputs": {}}}"#;
        let editor = r#"{"nodes": [{"id": 2, "type": "VAEDecode"}]}"#;
        assert!(png(&[("workflow", editor), ("prompt", api)]).unwrap().node("1").is_ok());
        assert!(png(&[("workflow", editor)]).unwrap().node("2").is_ok());
        assert!(png(&[("workflow", editor), ("prompt", "broken")]).unwrap().node("2").is_ok());
        let problem = png(&[("sinopia", "{}")]).unwrap_err().to_string();
        assert!(problem.contains("generate --from"), "{problem}");
        let problem = png(&[("parameters", "a car")]).unwrap_err().to_string();
        assert!(problem.contains("neither the text `prompt` nor `workflow`"), "{problem}");
    }

    #[test]
    fn more_nodes_than_a_graph_has_are_refused() {
        let node = |id: usize| format!(r#""{id}": {{"class_type": "VAEDecode"}}"#);
        let graph = |count: usize| format!("{{{}}}", (0..count).map(node).collect::<Vec<_>>().join(","));
        assert!(Graph::parse(&graph(GRAPH_NODES)).is_ok());
        assert!(Graph::parse(&graph(GRAPH_NODES + 1)).unwrap_err().contains("at most 5000"));
        let long = " ".repeat(GRAPH_BYTES as usize + 1);
        assert!(Graph::parse(&long).unwrap_err().contains("bytes; at most"));
    }
}
