//! Group nodes, from before there were subgraphs: a node that stands for several, read as a subgraph of them.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::nodes;
use super::PRIMITIVE;
use super::sheet::{Card, Sheet, Values, WITHIN_IN, WITHIN_OUT, Wire};

/// The name of the group that a class shows.
pub(super) fn name(class: &str) -> Option<&str> {
    class.strip_prefix("workflow>").or_else(|| class.strip_prefix("workflow/"))
}

/// The nodes of a group as the node `host` shows them: its inputs are those that no link inside ends in, its outputs those that none starts from
/// or that lead out, its values those of all nodes in turn.
pub(super) fn sheet(host: &Card, group: &Value) -> Result<Sheet, String> {
    let mut cards = Vec::new();
    for (index, node) in group["nodes"].as_array().into_iter().flatten().enumerate() {
        // Nodes of a group have no ids of their own.
        let mut node = node.clone();
        node["id"] = index.into();
        let mut card = Card::read(&node)?;
        card.inputs.iter_mut().for_each(|slot| slot.link = None);
        cards.push(card);
    }
    let place = |value: &Value| value.as_u64().map(|place| place as usize);
    let mut wires = HashMap::new();
    let mut used: HashSet<(usize, usize)> = HashSet::new();
    for link in group["links"].as_array().into_iter().flatten() {
        // [from node, from slot, to node, to slot, …]; ends outside are null.
        let ends = (place(&link[0]), place(&link[1]), place(&link[2]), place(&link[3]));
        let (Some(from), Some(output), Some(to), Some(input)) = ends else { continue };
        if let Some(slot) = cards.get_mut(to).and_then(|card: &mut Card| card.inputs.get_mut(input)) {
            used.insert((from, output));
            let id = format!("inside {}", wires.len());
            slot.link = Some(id.clone());
            wires.insert(id, Wire { from: from.to_string(), output, to: to.to_string(), input });
        }
    }
    give_values(host, &mut cards);
    let inputs = lead_in(&mut cards, &mut wires, &group["config"]);
    lead_out(&cards, &mut wires, &used, group);
    Ok(Sheet::new(cards, wires, inputs))
}

/// Puts the host's values in the place of those that the group was made with.
fn give_values(host: &Card, cards: &mut [Card]) {
    let Values::Listed(given) = &host.values else { return };
    let mut places = Vec::new();
    for (index, card) in cards.iter().enumerate() {
        let Values::Listed(own) = &card.values else { continue };
        let names = nodes::named(&card.class, own);
        let is_input = |name: &str| card.inputs.iter().any(|slot| slot.widget.as_deref() == Some(name));
        let shown = (0..own.len()).filter(|place| !names.get(*place).is_some_and(|(name, _)| is_input(name)));
        places.extend(shown.map(|place| (index, place)));
    }
    if places.len() != given.len() {
        return; // Saved by another version of its nodes: the group's own values stand.
    }
    for ((index, place), value) in places.into_iter().zip(given) {
        if let Values::Listed(own) = &mut cards[index].values {
            own[place] = value.clone();
        }
    }
}

/// Wires from outside to the inputs without a link, and their names; values that became inputs come last.
fn lead_in(cards: &mut [Card], wires: &mut HashMap<String, Wire>, config: &Value) -> Vec<String> {
    let mut names = Names::default();
    let (mut inputs, mut converted) = (Vec::new(), Vec::new());
    for index in 0..cards.len() {
        let card = &cards[index];
        let is_converted = |name: &str| card.inputs.iter().any(|slot| slot.widget.as_deref() == Some(name));
        for name in nodes::widgets(&card.class).unwrap_or_default().iter().filter(|name| !is_converted(name)) {
            names.next(card, name, config[index.to_string()]["input"][*name]["name"].as_str());
        }
        for slot in 0..card.inputs.len() {
            match (&cards[index].inputs[slot].link, &cards[index].inputs[slot].widget) {
                (Some(_), _) => {}
                (None, Some(_)) => converted.push((index, slot)),
                (None, None) => inputs.push((index, slot)),
            }
        }
    }
    let mut named = Vec::new();
    for (index, slot) in inputs.into_iter().chain(converted) {
        let card = &cards[index];
        // A reroute's input has the name of what goes through.
        let input = &card.inputs[slot];
        let own = if input.name.is_empty() { &input.kind } else { &input.name };
        let custom = &config[index.to_string()]["input"][own.as_str()];
        let name = names.next(card, own, custom["name"].as_str().or(input.label.as_deref()));
        if custom["visible"] == false {
            continue;
        }
        let (id, wire) = (format!("in {}", named.len()), named.len());
        let wire = Wire { from: WITHIN_IN.to_owned(), output: wire, to: index.to_string(), input: slot };
        wires.insert(id.clone(), wire);
        cards[index].inputs[slot].link = Some(id);
        named.push(name);
    }
    named
}

/// Wires to outside from the outputs that the host shows.
fn lead_out(cards: &[Card], wires: &mut HashMap<String, Wire>, used: &HashSet<(usize, usize)>, group: &Value) {
    let ends = group["external"].as_array().into_iter().flatten();
    let external: HashSet<(u64, u64)> = ends.filter_map(|end| Some((end[0].as_u64()?, end[1].as_u64()?))).collect();
    let mut count = 0;
    for (index, card) in cards.iter().enumerate() {
        for output in 0..card.outputs.len() {
            let leads_out = external.contains(&(index as u64, output as u64));
            let is_inside = used.contains(&(index, output)) && !leads_out;
            let is_passed = nodes::REROUTES.contains(&card.class.as_str()) && is_inside;
            let custom = group["config"][index.to_string()]["output"][output.to_string()]["visible"].as_bool();
            if is_passed || (card.class == PRIMITIVE && is_inside) || !custom.unwrap_or(!is_inside) {
                continue;
            }
            let wire = Wire { from: index.to_string(), output, to: WITHIN_OUT.to_owned(), input: count };
            wires.insert(format!("out {count}"), wire);
            count += 1;
        }
    }
}

/// Names of inputs, each used once: what is there already gets the node's title before it.
#[derive(Default)]
struct Names {
    seen: HashMap<String, usize>,
}

impl Names {
    fn next(&mut self, card: &Card, own: &str, custom: Option<&str>) -> String {
        let mut name = custom.unwrap_or(own).to_owned();
        let mut key = name.clone();
        if (card.class == PRIMITIVE && card.title.is_some()) || self.seen.contains_key(&name) {
            let prefix = card.title.as_deref().unwrap_or(&card.class);
            name = format!("{prefix} {own}");
            key.clone_from(&name);
            if let Some(count) = self.seen.get(&name) {
                name = format!("{prefix} {count} {own}");
            }
        }
        *self.seen.entry(key).or_insert(1) += 1;
        name
    }
}
