//! From the editor's form of a graph to the API's, as ComfyUI's page makes it when a graph is queued.
//!
//! Links go through what only the editor has: reroutes, primitives, muted and bypassed nodes, subgraphs and group nodes. All of them are
//! followed in steps that are counted, never by recursion, for files may lead in circles. (Reroutes that belong to a link, as format 1.0 has
//! them, bend the drawn line alone.)
//!
//! A small file may show a large subgraph many times. So what is written out is counted before it is made: nodes, and with [`Editor::spend`] the rest.

mod group;
mod sheet;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};
use sinopia_layout::limits::{GRAPH_BYTES, GRAPH_NODES};

use super::graph::{Graph, Node};
use super::{nodes, prompt};
use sheet::{Card, Mode, Sheet, Values, WITHIN_IN, text_weight, weight};

/// How deep subgraphs may lie in subgraphs.
const MAX_DEPTH: usize = 32;
/// How many reroutes, bypassed nodes and borders of subgraphs a link may go through.
const MAX_HOPS: usize = 1000;
/// How many hops the links of a graph may have together, the first of each counted.
const MAX_HOPS_IN_ALL: usize = 20 * GRAPH_NODES;
/// Most bytes of a graph that is written out, roughly as memory has them: files have more in them than what is executed.
const MAX_BYTES: u64 = 4 * GRAPH_BYTES;
/// The page's own node for a value.
const PRIMITIVE: &str = "PrimitiveNode";
/// Links by name, of ComfyUI-KJNodes.
const GET_NODE: &str = "GetNode";
const SET_NODE: &str = "SetNode";

/// Values that the page reads for choices and comments.
const DYNAMIC: [(&str, &str); 5] = [
    ("CLIPTextEncode", "text"),
    ("GLIGENTextBoxApply", "text"),
    ("T5TextEncode #ELLA", "text"),
    ("EllaTextEncode", "text"),
    ("EllaTextEncode", "text_clip"),
];

/// The graph of a document with `nodes` and `links`; the error says what is wrong with it.
pub(super) fn graph(document: &Value) -> Result<Graph, String> {
    let editor = Editor::read(document)?;
    let mut graph = Graph::default();
    for (place, card) in editor.executed() {
        let node = editor.node(place, card, &mut graph.notes)?;
        graph.insert(editor.id(place, card)?, node);
    }
    Ok(graph)
}

/// A sheet in use: the graph itself, or a subgraph as one node shows it.
#[derive(Debug, Default)]
struct Place {
    sheet: usize,
    /// The place and the card that show it.
    host: Option<(usize, usize)>,
    depth: usize,
    /// What ids of its nodes begin with.
    prefix: String,
    given: Given,
}

/// What a node says of the subgraph that it shows.
#[derive(Debug, Default)]
struct Given {
    /// For inputs without a link, by name.
    values: HashMap<String, Rc<Value>>,
    /// For values of nodes inside, by id, then by name.
    overrides: HashMap<String, HashMap<String, Rc<Value>>>,
}

#[derive(Debug)]
struct Editor {
    sheets: Vec<Sheet>,
    places: Vec<Place>,
    /// The place within a card of a place.
    within: HashMap<(usize, usize), usize>,
    /// What is left of the bytes that are handled: copied, compared, or looked through.
    bytes: Cell<u64>,
    /// What is left of [`MAX_HOPS_IN_ALL`].
    hops: Cell<usize>,
}

/// What an input is given.
enum Source {
    Output(String, usize),
    Value(Value),
    Nothing,
}

/// The end of a link that something comes from.
struct End<'a> {
    place: usize,
    node: &'a str,
    output: usize,
}

impl Editor {
    fn read(document: &Value) -> Result<Self, String> {
        let mut editor = Self {
            sheets: vec![Sheet::read(document)?],
            places: vec![Place::default()],
            within: HashMap::new(),
            bytes: Cell::new(MAX_BYTES),
            hops: Cell::new(MAX_HOPS_IN_ALL),
        };
        let subgraphs = editor.define(document)?;
        let groups = document["extra"]["groupNodes"].as_object();
        let mut count = 0;
        let mut add = |cards: usize| {
            count += cards;
            match count > GRAPH_NODES {
                true => Err(format!("it has more than {GRAPH_NODES} nodes, those of subgraphs counted")),
                false => Ok(()),
            }
        };
        add(editor.sheets[0].cards.len())?;
        let mut next = 0;
        while next < editor.places.len() {
            let sheet = editor.places[next].sheet;
            for card in 0..editor.sheets[sheet].cards.len() {
                let shown = &editor.sheets[sheet].cards[card];
                if shown.mode != Mode::Runs {
                    continue;
                }
                let of_group = group::name(&shown.class).and_then(|name| groups?.get(name));
                let inner = match (subgraphs.get(&shown.class), of_group) {
                    (Some(sheet), _) => {
                        add(editor.sheets[*sheet].cards.len())?;
                        *sheet
                    }
                    (None, Some(group)) => {
                        add(group["nodes"].as_array().map_or(0, Vec::len))?;
                        editor.spend(weight(group) + shown.weight())?;
                        let sheet = group::sheet(shown, group)?;
                        editor.sheets.push(sheet);
                        editor.sheets.len() - 1
                    }
                    (None, None) => continue,
                };
                editor.enter(next, card, inner)?;
            }
            next += 1;
        }
        Ok(editor)
    }

    /// Reads the definitions of subgraphs, those within others too: sheets by the class of the nodes that show them.
    fn define(&mut self, document: &Value) -> Result<HashMap<String, usize>, String> {
        let mut found = HashMap::new();
        let mut open: Vec<&Value> = vec![document];
        while let Some(holder) = open.pop() {
            for definition in holder["definitions"]["subgraphs"].as_array().into_iter().flatten() {
                if let Some(id) = definition["id"].as_str() {
                    self.sheets.push(Sheet::read(definition)?);
                    found.insert(id.to_owned(), self.sheets.len() - 1);
                }
                open.push(definition);
            }
        }
        Ok(found)
    }

    /// Makes the place that a card shows.
    fn enter(&mut self, place: usize, card: usize, sheet: usize) -> Result<(), String> {
        let (host, outer) = (self.card(place, card), &self.places[place]);
        if outer.depth == MAX_DEPTH {
            return Err(format!(
                "subgraphs lie deeper than {MAX_DEPTH} in each other, or in themselves, at node `{}`",
                self.id(place, card)?
            ));
        }
        let inner = &self.sheets[sheet];
        let overridden = outer.given.overrides.get(&host.id).into_iter().flat_map(HashMap::keys).map(String::as_str);
        let names: u64 = inner.value_inputs().chain(overridden).map(text_weight).sum();
        self.spend(host.weight() + text_weight(&outer.prefix) + names)?;
        let given = host.gives(inner, &outer.given);
        let inner = Place {
            sheet,
            host: Some((place, card)),
            depth: outer.depth + 1,
            prefix: format!("{}{}:", outer.prefix, host.id),
            given,
        };
        self.within.insert((place, card), self.places.len());
        self.places.push(inner);
        Ok(())
    }

    fn card(&self, place: usize, card: usize) -> &Card {
        &self.sheet(place).cards[card]
    }

    fn sheet(&self, place: usize) -> &Sheet {
        &self.sheets[self.places[place].sheet]
    }

    /// The id that ComfyUI gives to a node within subgraphs: those of the nodes around it first.
    fn id(&self, place: usize, card: usize) -> Result<String, String> {
        let (prefix, id) = (&self.places[place].prefix, &self.card(place, card).id);
        self.spend(text_weight(prefix) + text_weight(id))?;
        Ok(format!("{prefix}{id}"))
    }

    /// Counts bytes before they are handled.
    fn spend(&self, bytes: u64) -> Result<(), String> {
        let left = self.bytes.get().checked_sub(bytes);
        let left = left.ok_or_else(|| format!("written out with its subgraphs it has more than {MAX_BYTES} bytes"))?;
        self.bytes.set(left);
        Ok(())
    }

    /// Counts a hop of a link.
    fn hop(&self) -> Result<(), String> {
        let left = self.hops.get().checked_sub(1);
        let left = left.ok_or_else(|| format!("its links have more than {MAX_HOPS_IN_ALL} hops in all"))?;
        self.hops.set(left);
        Ok(())
    }

    /// The nodes that compute something.
    fn executed(&self) -> Vec<(usize, usize)> {
        let all =
            (0..self.places.len()).flat_map(|place| (0..self.sheet(place).cards.len()).map(move |card| (place, card)));
        let runs = |(place, card): &(usize, usize)| {
            let class = self.card(*place, *card).class.as_str();
            let is_virtual = nodes::REMARKS.contains(&class)
                || nodes::REROUTES.contains(&class)
                || [PRIMITIVE, GET_NODE, SET_NODE].contains(&class);
            self.card(*place, *card).mode == Mode::Runs && !is_virtual && !self.within.contains_key(&(*place, *card))
        };
        all.filter(runs).collect()
    }

    fn node(&self, place: usize, index: usize, notes: &mut Vec<String>) -> Result<Node, String> {
        let card = self.card(place, index);
        self.spend(card.weight())?;
        let mut inputs = card.named_values();
        let overrides = self.places[place].given.overrides.get(&card.id);
        for name in nodes::widgets(&card.class).unwrap_or_default() {
            if let Some(value) = overrides.and_then(|overrides| overrides.get(*name)) {
                inputs.insert((*name).to_owned(), self.copied(value)?);
            }
        }
        for (slot, input) in card.inputs.iter().enumerate() {
            match self.source(place, index, slot)? {
                Source::Output(node, output) => inputs.insert(input.name.clone(), json!([node, output])),
                Source::Value(value) => inputs.insert(input.widget.as_ref().unwrap_or(&input.name).clone(), value),
                Source::Nothing => None,
            };
        }
        for (_, name) in DYNAMIC.iter().filter(|(class, _)| *class == card.class) {
            let Some(Value::String(text)) = inputs.get(*name) else { continue };
            let (chosen, has_choice) = prompt::chosen(text);
            if has_choice {
                let id = self.id(place, index)?;
                notes.push(format!(
                    "node `{id}` ({}) leaves a choice: ComfyUI takes one at random, here the first of each is taken",
                    card.class
                ));
            }
            inputs.insert((*name).to_owned(), chosen.into());
        }
        let title = card.title.clone().map(|title| ("title".to_owned(), Value::from(title)));
        Ok(Node { class: card.class.clone(), inputs, meta: title.into_iter().collect::<Map<_, _>>() })
    }

    /// What an input is given in the end, past all that computes nothing.
    fn source(&self, place: usize, card: usize, slot: usize) -> Result<Source, String> {
        let mut kind = self.card(place, card).inputs[slot].kind.as_str();
        let mut at = (place, card, slot);
        let mut end = None;
        for _ in 0..MAX_HOPS {
            let from = match end.take() {
                Some(end) => end,
                None => match self.linked(at) {
                    Some(end) => end,
                    None => return Ok(Source::Nothing),
                },
            };
            self.hop()?;
            self.spend(text_weight(from.node))?;
            let sheet = self.sheet(from.place);
            if from.node == WITHIN_IN {
                // Up and out of a subgraph.
                let Some(host) = self.places[from.place].host else { return Ok(Source::Nothing) };
                let name = sheet.inputs.get(from.output).map_or("", String::as_str);
                let slots = &self.card(host.0, host.1).inputs;
                self.spend(slots.len() as u64 + text_weight(name))?;
                // A host's list leaves out values without a link, so that places in it count only where there are no names.
                let by_name = slots.iter().position(|slot| slot.name == name);
                let slot =
                    by_name.or_else(|| Some(from.output).filter(|_| name.is_empty() && from.output < slots.len()));
                match slot.filter(|slot| slots[*slot].link.is_some()) {
                    Some(slot) => at = (host.0, host.1, slot),
                    None => {
                        let value = self.places[from.place].given.values.get(name);
                        return self.valued(value.map(Rc::as_ref));
                    }
                }
                continue;
            }
            let Some(index) = sheet.position(from.node) else { return Ok(Source::Nothing) };
            let card = &sheet.cards[index];
            if nodes::REROUTES.contains(&card.class.as_str()) {
                at = (from.place, index, 0);
            } else if card.class == PRIMITIVE {
                let overrides = self.places[from.place].given.overrides.get(&card.id);
                let value = overrides.and_then(|overrides| overrides.get("value")).map(Rc::as_ref);
                return self.valued(value.or_else(|| card.values.first()));
            } else if card.class == GET_NODE {
                let Some(set) = card.values.first().and_then(|name| sheet.setter(name)) else {
                    return Ok(Source::Nothing);
                };
                at = (from.place, set, 0);
            } else if let Some(inner) = self.within.get(&(from.place, index)) {
                // Down into a subgraph.
                let Some((node, output)) = self.sheet(*inner).outputs.get(&from.output) else {
                    return Ok(Source::Nothing);
                };
                end = Some(End { place: *inner, node, output: *output });
            } else {
                match card.mode {
                    Mode::Runs => return Ok(Source::Output(self.id(from.place, index)?, from.output)),
                    Mode::Muted => return Ok(Source::Nothing),
                    Mode::Bypassed => {
                        self.spend(card.bypass_weight(from.output, kind))?;
                        let Some(slot) = card.bypass(from.output, kind) else { return Ok(Source::Nothing) };
                        at = (from.place, index, slot);
                        kind = card.inputs[slot].kind.as_str();
                    }
                }
            }
        }
        Err(format!(
            "a link of node `{}` goes in circles, or through more than {MAX_HOPS} nodes",
            self.id(place, card)?
        ))
    }

    /// A value that is given, or nothing.
    fn valued(&self, value: Option<&Value>) -> Result<Source, String> {
        value.map_or(Ok(Source::Nothing), |value| self.copied(value).map(Source::Value))
    }

    fn copied(&self, value: &Value) -> Result<Value, String> {
        self.spend(weight(value))?;
        Ok(value.clone())
    }

    /// Where the link of an input starts.
    fn linked(&self, (place, card, slot): (usize, usize, usize)) -> Option<End<'_>> {
        let link = self.card(place, card).inputs.get(slot)?.link.as_ref()?;
        let wire = self.sheet(place).wires.get(link)?;
        Some(End { place, node: &wire.from, output: wire.output })
    }
}

impl Card {
    /// What this node says of the subgraph that it shows, where the one around it does not.
    fn gives(&self, inner: &Sheet, outer: &Given) -> Given {
        let mut values: HashMap<String, Rc<Value>> = HashMap::new();
        let mut overrides: HashMap<String, HashMap<String, Rc<Value>>> = HashMap::new();
        let shared = |value: &Value| Rc::new(value.clone());
        match &self.values {
            Values::Named(named) => values.extend(named.iter().map(|(name, value)| (name.clone(), shared(value)))),
            // Newer files say whose values they are.
            Values::Listed(listed) if !self.proxies.is_empty() => {
                for ((node, name), value) in self.proxies.iter().zip(listed).filter(|(_, value)| !value.is_null()) {
                    if node == "-1" {
                        values.insert(name.clone(), shared(value));
                    } else {
                        overrides.entry(node.clone()).or_default().insert(name.clone(), shared(value));
                    }
                }
            }
            Values::Listed(listed) => {
                let named = inner.value_inputs().zip(listed.iter().filter(|value| !nodes::is_control(value)));
                values.extend(named.map(|(name, value)| (name.to_owned(), shared(value))));
            }
        }
        // What the subgraph around this one says of it.
        let Some(said) = outer.overrides.get(&self.id) else { return Given { values, overrides } };
        for (node, name) in self.proxies.iter().filter(|(node, _)| node != "-1") {
            if let Some(value) = said.get(name) {
                overrides.entry(node.clone()).or_default().insert(name.clone(), value.clone());
            }
        }
        values.extend(said.iter().map(|(name, value)| (name.clone(), value.clone())));
        Given { values, overrides }
    }
}

#[cfg(test)]
mod tests;
