//! A sheet of the editor: cards and the wires between them, as its files keep them.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::super::nodes;
use super::SET_NODE;

/// Where wires from outside come into a subgraph.
pub(super) const WITHIN_IN: &str = "-10";
/// Where wires leave a subgraph.
pub(super) const WITHIN_OUT: &str = "-20";

/// Nodes and links: the graph, or a subgraph.
#[derive(Debug, Clone, Default)]
pub(super) struct Sheet {
    pub(super) cards: Vec<Card>,
    /// By the link's id.
    pub(super) wires: HashMap<String, Wire>,
    /// The names of a subgraph's inputs.
    pub(super) inputs: Vec<String>,
    /// By a subgraph's output: the node and the output that it comes from.
    pub(super) outputs: HashMap<usize, (String, usize)>,
    positions: HashMap<String, usize>,
    /// The nodes that links by name come from, by name.
    setters: HashMap<String, usize>,
    /// The inputs that stand for values, in `inputs`.
    value_inputs: Vec<usize>,
}

/// A node as the editor keeps it.
#[derive(Debug, Clone)]
pub(super) struct Card {
    pub(super) id: String,
    pub(super) class: String,
    pub(super) title: Option<String>,
    pub(super) mode: Mode,
    pub(super) inputs: Vec<Slot>,
    /// The types of its outputs.
    pub(super) outputs: Vec<String>,
    pub(super) values: Values,
    /// Of a subgraph's node: whose values its own are, by node and name.
    pub(super) proxies: Vec<(String, String)>,
}

/// Whether a node is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Runs,
    /// Neither it nor what depends on it.
    Muted,
    /// As if what comes in went out.
    Bypassed,
}

/// An input of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    pub(super) name: String,
    /// The type of what it takes.
    pub(super) kind: String,
    pub(super) link: Option<String>,
    /// The value in whose place it stands.
    pub(super) widget: Option<String>,
    /// What the editor shows in place of the name.
    pub(super) label: Option<String>,
}

/// Values of a node, in the order of its widgets or by name.
#[derive(Debug, Clone)]
pub(super) enum Values {
    Listed(Vec<Value>),
    Named(Map<String, Value>),
}

/// A link.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) from: String,
    pub(super) output: usize,
    pub(super) to: String,
    pub(super) input: usize,
}

impl Sheet {
    pub(super) fn read(graph: &Value) -> Result<Self, String> {
        let cards = graph["nodes"].as_array().into_iter().flatten();
        let wires = graph["links"].as_array().into_iter().flatten().filter_map(Wire::read);
        let inputs = graph["inputs"].as_array().into_iter().flatten();
        let inputs = inputs.map(|input| input["name"].as_str().unwrap_or_default().to_owned()).collect();
        let cards = cards.map(Card::read).collect::<Result<Vec<_>, String>>()?;
        Ok(Self::new(cards, wires.collect(), inputs))
    }

    pub(super) fn new(cards: Vec<Card>, wires: HashMap<String, Wire>, inputs: Vec<String>) -> Self {
        let positions = cards.iter().enumerate().map(|(index, card)| (card.id.clone(), index)).collect();
        let out = wires.values().filter(|wire| wire.to == WITHIN_OUT);
        let outputs = out.map(|wire| (wire.input, (wire.from.clone(), wire.output))).collect();
        let mut setters = HashMap::new();
        for (index, card) in cards.iter().enumerate().filter(|(_, card)| card.class == SET_NODE) {
            if let Some(name) = card.values.first().and_then(key) {
                setters.entry(name).or_insert(index);
            }
        }
        let value_inputs = value_inputs(&cards, &wires, inputs.len());
        Self { cards, wires, inputs, outputs, positions, setters, value_inputs }
    }

    /// The place of the first node that gives a name to what comes in.
    pub(super) fn setter(&self, name: &Value) -> Option<usize> {
        self.setters.get(&key(name)?).copied()
    }

    /// The place of a node in the list.
    pub(super) fn position(&self, id: &str) -> Option<usize> {
        self.positions.get(id).copied()
    }

    /// The inputs of a subgraph that stand for values, by name.
    pub(super) fn value_inputs(&self) -> impl Iterator<Item = &str> {
        self.value_inputs.iter().map(|index| self.inputs[*index].as_str())
    }
}

/// Which of a subgraph's `count` inputs stand for values.
fn value_inputs(cards: &[Card], wires: &HashMap<String, Wire>, count: usize) -> Vec<usize> {
    let mut are_values = vec![false; count];
    for card in cards {
        let widgets = nodes::widgets(&card.class).unwrap_or_default();
        let values = card.inputs.iter().filter(|slot| slot.widget.is_some() || widgets.contains(&slot.name.as_str()));
        let wires = values.filter_map(|slot| wires.get(slot.link.as_ref()?));
        for wire in wires.filter(|wire| wire.from == WITHIN_IN) {
            if let Some(is_value) = are_values.get_mut(wire.output) {
                *is_value = true;
            }
        }
    }
    (0..count).filter(|index| are_values[*index]).collect()
}

impl Wire {
    /// A link with its id: `[id, from node, from slot, to node, to slot, type]`, or an object.
    fn read(link: &Value) -> Option<(String, Self)> {
        let part = |place: usize, name: &str| if link.is_array() { link.get(place) } else { link.get(name) };
        let slot = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).map(|slot| slot as usize);
        Some((
            key(part(0, "id")?)?,
            Self {
                from: key(part(1, "origin_id")?)?,
                output: slot(part(2, "origin_slot")?)?,
                to: key(part(3, "target_id")?)?,
                input: slot(part(4, "target_slot")?)?,
            },
        ))
    }
}

impl Card {
    pub(super) fn read(node: &Value) -> Result<Self, String> {
        let class = node["type"].as_str().ok_or("a node has no `type`")?;
        let id = key(&node["id"]).ok_or_else(|| format!("a `{class}` has no `id`"))?;
        let list = |key: &str| node[key].as_array().into_iter().flatten();
        let proxies = node["properties"]["proxyWidgets"].as_array().into_iter().flatten();
        let values = match &node["widgets_values"] {
            Value::Array(listed) => Values::Listed(listed.clone()),
            Value::Object(named) => Values::Named(named.clone()),
            _ => Values::Listed(Vec::new()),
        };
        Ok(Self {
            id,
            class: class.to_owned(),
            title: node["title"].as_str().map(str::to_owned),
            mode: match node["mode"].as_u64() {
                Some(2) => Mode::Muted,
                Some(4) => Mode::Bypassed,
                _ => Mode::Runs,
            },
            inputs: list("inputs").map(Slot::read).collect(),
            outputs: list("outputs").map(|output| kind(&output["type"])).collect(),
            values,
            proxies: proxies.filter_map(proxy).collect(),
        })
    }

    /// Its bytes, roughly.
    pub(super) fn weight(&self) -> u64 {
        let slot = |slot: &Slot| text_weight(&slot.name) + text_weight(slot.widget.as_deref().unwrap_or_default());
        let values = match &self.values {
            Values::Listed(listed) => listed.iter().map(weight).sum::<u64>(),
            Values::Named(named) => named.iter().map(|(name, value)| text_weight(name) + weight(value)).sum(),
        };
        let proxies = self.proxies.iter().map(|(node, name)| text_weight(node) + text_weight(name));
        let texts = [&self.id, &self.class, self.title.as_ref().unwrap_or(&self.class)];
        values
            + self.inputs.iter().map(slot).sum::<u64>()
            + proxies.sum::<u64>()
            + texts.into_iter().map(|text| text_weight(text)).sum::<u64>()
    }

    /// The bytes that [`bypass`](Self::bypass) may look at.
    pub(super) fn bypass_weight(&self, output: usize, wanted: &str) -> u64 {
        let out = self.outputs.get(output).map_or(0, |out| text_weight(out));
        let each = out + text_weight(wanted);
        self.inputs.iter().map(|slot| 2 * text_weight(&slot.kind) + each).sum()
    }

    /// The values by name, as the API has them.
    pub(super) fn named_values(&self) -> Map<String, Value> {
        let value = |value: &Value| match value {
            // A list would look like a link.
            Value::Array(_) => serde_json::json!({ "__value__": value }),
            value => value.clone(),
        };
        match &self.values {
            Values::Named(named) => named.iter().map(|(name, found)| (name.clone(), value(found))).collect(),
            Values::Listed(listed) => {
                let named = nodes::named(&self.class, listed).into_iter().zip(listed);
                let named = named.filter(|((_, is_control), _)| !is_control);
                named.map(|((name, _), found)| (name.to_owned(), value(found))).collect()
            }
        }
    }

    /// The input that goes out at `output` when this node is bypassed, to something of type `wanted`: that of the same place if its type fits,
    /// or else the first of the very type, or else the first that fits.
    pub(super) fn bypass(&self, output: usize, wanted: &str) -> Option<usize> {
        if is_any(wanted) {
            return (!self.inputs.is_empty()).then_some(if output < self.inputs.len() { output } else { 0 });
        }
        let out = self.outputs.get(output).map_or("*", String::as_str);
        let fits_both = |slot: &Slot| fits(&slot.kind, out) && fits(&slot.kind, wanted);
        if self.inputs.get(output).is_some_and(fits_both) {
            return Some(output);
        }
        self.inputs.iter().position(|slot| slot.kind == wanted).or_else(|| self.inputs.iter().position(fits_both))
    }
}

impl Slot {
    fn read(input: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            name: text(&input["name"]).unwrap_or_default(),
            kind: kind(&input["type"]),
            link: key(&input["link"]),
            widget: text(&input["widget"]["name"]),
            label: text(&input["label"]),
        }
    }
}

impl Values {
    /// The first value.
    pub(super) fn first(&self) -> Option<&Value> {
        match self {
            Self::Listed(listed) => listed.first(),
            Self::Named(named) => named.values().next(),
        }
    }
}

/// An id: files have numbers and texts.
pub(super) fn key(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A type: a name, a list of names, or a number for anything.
fn kind(value: &Value) -> String {
    match value {
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        _ => "*".to_owned(),
    }
}

fn is_any(kind: &str) -> bool {
    kind.is_empty() || kind == "*"
}

/// Whether what one type names may go into the other: lists of names fit if they share one.
fn fits(one: &str, other: &str) -> bool {
    let names = |kind: &str| kind.split(',').map(|name| name.trim().to_ascii_lowercase()).collect::<HashSet<_>>();
    is_any(one) || is_any(other) || !names(one).is_disjoint(&names(other))
}

/// The bytes of a value, roughly as memory has them.
pub(super) fn weight(value: &Value) -> u64 {
    let size = size_of::<Value>() as u64;
    match value {
        Value::String(text) => size + text.len() as u64,
        Value::Array(list) => size + list.iter().map(weight).sum::<u64>(),
        Value::Object(map) => size + map.iter().map(|(name, value)| text_weight(name) + weight(value)).sum::<u64>(),
        Value::Null | Value::Bool(_) | Value::Number(_) => size,
    }
}

/// The bytes of a text, roughly as memory has them.
pub(super) fn text_weight(text: &str) -> u64 {
    (size_of::<String>() + text.len()) as u64
}

/// `[node, name]`; older files put nodes further in before the name, as `12: text`.
fn proxy(entry: &Value) -> Option<(String, String)> {
    let mut name = entry.get(1)?.as_str()?.trim();
    while let Some((node, rest)) = name.split_once(':') {
        if node.trim().is_empty() || !node.trim().bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        name = rest.trim();
    }
    Some((key(entry.get(0)?)?, name.to_owned()))
}
