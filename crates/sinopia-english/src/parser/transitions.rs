//! Arc-eager parsing with a stack and a buffer; what is scored is the network's, what is allowed is here.

/// A kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The next word onto the stack.
    Shift,
    /// The top of the stack away.
    Reduce,
    /// The top of the stack depends on the next word, and goes.
    LeftArc,
    /// The next word depends on the top of the stack, and goes onto it.
    RightArc,
    /// A sentence starts at the word after the next.
    Break,
}

/// A step with its label.
pub(super) struct Move {
    pub(super) action: Action,
    pub(super) label: &'static str,
}

impl Move {
    /// From the model's name of it: `S`, `D`, `L-det`, `R-pobj`, `B-ROOT`.
    pub(super) fn named(name: &'static str) -> Option<Self> {
        let (letter, label) = name.split_once('-').unwrap_or((name, ""));
        let action = match letter {
            "S" => Action::Shift,
            "D" => Action::Reduce,
            "L" => Action::LeftArc,
            "R" => Action::RightArc,
            "B" => Action::Break,
            _ => return None,
        };
        Some(Self { action, label })
    }
}

/// Head and label of a word. The label may still name where a crossing arc belongs (`pobj||prep`).
#[derive(Clone, Copy)]
pub(super) struct Arc {
    pub(super) head: usize,
    pub(super) label: &'static str,
}

/// How far the parse has come.
pub(super) struct State {
    len: usize,
    /// The first word that was never taken from the buffer.
    next: usize,
    stack: Vec<usize>,
    /// Words that came back from the stack, the last to be read first.
    returned: Vec<usize>,
    pub(super) arcs: Vec<Option<Arc>>,
    left: Vec<Vec<usize>>,
    right: Vec<Vec<usize>>,
    was_returned: Vec<bool>,
    starts: Vec<bool>,
}

/// Words of which the network scores the next step, see [`State::context`].
pub(super) const CONTEXT: usize = 8;

impl State {
    pub(super) fn new(len: usize) -> Self {
        Self {
            len,
            next: 0,
            stack: Vec::new(),
            returned: Vec::new(),
            arcs: vec![None; len],
            left: vec![Vec::new(); len],
            right: vec![Vec::new(); len],
            was_returned: vec![false; len],
            starts: vec![false; len],
        }
    }

    pub(super) fn is_final(&self) -> bool {
        self.stack.is_empty() && self.buffer_len() == 0
    }

    fn buffer_len(&self) -> usize {
        self.len - self.next + self.returned.len()
    }

    fn buffer(&self, i: usize) -> Option<usize> {
        match self.returned.len().checked_sub(i + 1) {
            Some(place) => Some(self.returned[place]),
            None => Some(self.next + i - self.returned.len()).filter(|word| *word < self.len),
        }
    }

    fn stack(&self, i: usize) -> Option<usize> {
        self.stack.len().checked_sub(i + 1).map(|place| self.stack[place])
    }

    /// The next two words, the upper three of the stack, and the outermost dependents of the next and the uppermost.
    pub(super) fn context(&self) -> [Option<usize>; CONTEXT] {
        let (next, top) = (self.buffer(0), self.stack(0));
        let leftmost = |word: Option<usize>| word.and_then(|w| self.left[w].last().copied());
        let rightmost = top.and_then(|w| self.right[w].last().copied());
        [next, self.buffer(1), top, self.stack(1), self.stack(2), leftmost(next), leftmost(top), rightmost]
    }

    pub(super) fn allows(&self, action: Action) -> bool {
        let next = self.buffer(0);
        let next_starts = next.is_some_and(|word| self.starts[word]);
        let next_was_returned = next.is_some_and(|word| self.was_returned[word]);
        match action {
            Action::Shift => {
                self.stack.is_empty() && next.is_some() || self.buffer_len() >= 2 && !next_starts && !next_was_returned
            }
            Action::Reduce => !self.stack.is_empty(),
            Action::LeftArc | Action::RightArc => !self.stack.is_empty() && next.is_some() && !next_starts,
            Action::Break => {
                let after = self.buffer(1);
                after.is_some() && after == next.map(|word| word + 1) && after.is_some_and(|word| !self.starts[word])
            }
        }
    }

    /// Takes a step that is allowed; one that is not changes nothing.
    pub(super) fn apply(&mut self, step: &Move) {
        match (step.action, self.stack(0), self.buffer(0)) {
            (Action::Shift, _, Some(_)) => self.push(),
            (Action::Reduce, Some(top), _) => {
                self.stack.pop();
                if self.arcs[top].is_none() && !self.stack.is_empty() {
                    self.was_returned[top] = true;
                    self.returned.push(top);
                }
            }
            (Action::LeftArc, Some(top), Some(next)) => {
                self.attach(top, Arc { head: next, label: step.label });
                self.was_returned[next] = false;
                self.stack.pop();
            }
            (Action::RightArc, Some(top), Some(next)) => {
                self.attach(next, Arc { head: top, label: step.label });
                self.push();
            }
            (Action::Break, _, _) => {
                if let Some(after) = self.buffer(1) {
                    self.starts[after] = true;
                }
            }
            _ => {}
        }
    }

    fn push(&mut self) {
        let word = self.returned.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.stack.push(word);
    }

    fn attach(&mut self, word: usize, arc: Arc) {
        if let Some(old) = self.arcs[word].replace(arc) {
            self.left[old.head].retain(|child| *child != word);
            self.right[old.head].retain(|child| *child != word);
        }
        let side = if arc.head > word { &mut self.left } else { &mut self.right };
        side[arc.head].push(word);
    }
}
