//! Following the links of a graph backwards, and reading values. What is passed is counted, for links may lead in circles.

use std::cell::{Cell, RefCell};

use serde_json::Value;
use sinopia_layout::limits::GRAPH_LINKS;

use super::graph::{Graph, Link, Node};
use super::nodes;
use crate::cli::failure::bad_request;

/// A node where it stands in the graph.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) id: &'a str,
    pub(super) node: &'a Node,
    /// The output by which it was reached.
    pub(super) output: usize,
}

impl Place<'_> {
    /// The node in words.
    pub(super) fn shown(&self) -> String {
        format!("node `{}` ({})", self.id, self.node.class)
    }

    pub(super) fn is(&self, class: &str) -> bool {
        self.node.class == class
    }
}

pub(super) struct Reader<'a> {
    graph: &'a Graph,
    visits: Cell<usize>,
    /// Nodes that loaded a text encoder which something was read by.
    encoders: RefCell<Vec<Place<'a>>>,
    notes: RefCell<Vec<String>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(graph: &'a Graph) -> Self {
        Self { graph, visits: Cell::new(0), encoders: RefCell::default(), notes: RefCell::new(graph.notes.clone()) }
    }

    /// Remembers what the person who runs the graph should know; once.
    pub(super) fn note(&self, note: String) {
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Remembers whose text encoder something was read by.
    pub(super) fn read_by(&self, loader: Place<'a>) {
        let mut encoders = self.encoders.borrow_mut();
        if !encoders.iter().any(|known| known.id == loader.id) {
            encoders.push(loader);
        }
    }

    /// The loaders of text encoders that were remembered.
    pub(super) fn encoders(&self) -> Vec<Place<'a>> {
        self.encoders.borrow().clone()
    }

    pub(super) fn into_notes(self) -> Vec<String> {
        self.notes.into_inner()
    }

    /// The nodes of a class.
    pub(super) fn of_class(&self, class: &str) -> anyhow::Result<Vec<Place<'a>>> {
        self.graph.of_classes(&[class]).into_iter().map(|id| self.place(id, 0)).collect()
    }

    fn place(&self, id: &str, output: usize) -> anyhow::Result<Place<'a>> {
        let (id, node) = self.graph.node(id)?;
        self.visits.set(self.visits.get() + 1);
        if self.visits.get() > GRAPH_LINKS {
            return Err(bad_request(format!(
                "the graph goes in circles at node `{id}`, or through more than {GRAPH_LINKS}"
            )));
        }
        Ok(Place { id, node, output })
    }

    /// The node that an input is linked to, past reroutes; `None` if it is linked to nothing.
    pub(super) fn linked(&self, place: Place<'a>, input: &str) -> anyhow::Result<Option<Place<'a>>> {
        let mut link = place.node.link(input);
        while let Some(Link { node, output }) = link {
            let found = self.place(&node, output)?;
            if !nodes::REROUTES.contains(&found.node.class.as_str()) {
                return Ok(Some(found));
            }
            link = found.node.inputs.keys().find_map(|name| found.node.link(name));
        }
        Ok(None)
    }

    /// The node that an input is linked to, which must be of one of some classes.
    pub(super) fn follow(&self, place: Place<'a>, input: &str, classes: &[&str]) -> anyhow::Result<Place<'a>> {
        let Some(found) = self.linked(place, input)? else { return Err(self.linked_to_nothing(place, input)) };
        expect(place, input, found, classes)
    }

    /// As [`follow`](Self::follow) where there may be no link.
    pub(super) fn follow_if_linked(
        &self,
        place: Place<'a>,
        input: &str,
        classes: &[&str],
    ) -> anyhow::Result<Option<Place<'a>>> {
        let found = self.linked(place, input)?;
        found.map(|found| expect(place, input, found, classes)).transpose()
    }

    /// That an input lacks its link; a node that is not understood is the likelier reason, if there is one.
    fn linked_to_nothing(&self, place: Place<'_>, input: &str) -> anyhow::Error {
        let nothing = format!("`{input}` of {} is linked to nothing", place.shown());
        match self.graph.unknown() {
            Some(unknown) => bad_request(format!("{unknown}\n  and {nothing}")),
            None => bad_request(nothing),
        }
    }

    /// A value of a node: its own, or that of the primitive that it is linked to.
    pub(super) fn value(&self, place: Place<'a>, name: &str) -> anyhow::Result<Option<&'a Value>> {
        const PRIMITIVES: [&str; 5] =
            ["PrimitiveInt", "PrimitiveFloat", "PrimitiveString", "PrimitiveStringMultiline", "PrimitiveBoolean"];
        let (mut place, mut name) = (place, name);
        while place.node.link(name).is_some() {
            place = self.follow(place, name, &PRIMITIVES)?;
            name = "value";
        }
        Ok(place.node.inputs.get(name))
    }

    /// A value that is a text.
    pub(super) fn text(&self, place: Place<'a>, name: &str) -> anyhow::Result<String> {
        let text = self.value(place, name)?.and_then(Value::as_str);
        let text = text.ok_or_else(|| bad_request(format!("`{name}` of {} is no text", place.shown())))?;
        Ok(text.trim().to_owned())
    }

    /// A value that is a number; `None` if it is absent. Texts of numbers are numbers to ComfyUI.
    pub(super) fn number(&self, place: Place<'a>, name: &str) -> anyhow::Result<Option<f64>> {
        let Some(value) = self.value(place, name)?.filter(|value| !value.is_null()) else { return Ok(None) };
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| bad_request(format!("`{name}` of {} is {value}, no number", place.shown())))
    }

    /// A value that is a number in a range.
    pub(super) fn number_from(&self, place: Place<'a>, name: &str, (least, most): (f64, f64)) -> anyhow::Result<f64> {
        let number = self.number(place, name)?;
        number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
            let found = number.map_or("missing".to_owned(), |number| number.to_string());
            bad_request(format!(
                "`{name}` of {} is {found}; a number from {least} to {most} is expected",
                place.shown()
            ))
        })
    }
}

/// `found` if its class is one of some.
fn expect<'a>(place: Place<'_>, input: &str, found: Place<'a>, classes: &[&str]) -> anyhow::Result<Place<'a>> {
    if classes.contains(&found.node.class.as_str()) {
        return Ok(found);
    }
    if nodes::widgets(&found.node.class).is_none() {
        return Err(bad_request(found.node.not_understood(found.id)));
    }
    let (from, known) = (&found.node.class, classes.join(" or "));
    Err(bad_request(format!("`{input}` of {} comes from a `{from}`; understood is {known}", place.shown())))
}
