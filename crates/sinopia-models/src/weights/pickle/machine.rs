//! The pickle machine: instructions in, values out. Nothing is imported, called or compared.

use std::collections::HashMap;
use std::rc::Rc;

use sinopia_layout::limits::{PICKLE_BYTES, PICKLE_OBJECTS};

/// Names a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u32);

/// What a pickle is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Shared with the names of globals that are made of it.
    Text(Rc<str>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or a function, by module and name.
    Global(Rc<str>, Rc<str>),
    /// What would come of calling `callable` with `args`, and the items that would then be set on it.
    Call {
        callable: Id,
        args: Id,
        items: Vec<(Id, Id)>,
    },
    /// Something that lies outside of the pickle: a storage.
    Persistent(Id),
    /// A number, bytes or a set that no table of tensors needs.
    Other,
}

/// The values of a file's pickles.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: Vec<Value>,
    /// Values, and how often they were put into others, onto the stack again or into the memo: a few bytes can say "all of these once more" again
    /// and again.
    made: u32,
}

impl Values {
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    /// A text, or a number in decimal digits: what storages and dictionaries have for keys.
    pub(super) fn key(&self, id: Id) -> Option<String> {
        match self.get(id) {
            Value::Text(text) => Some(text.to_string()),
            Value::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The items of a dictionary, ordered or not. (Building an `OrderedDict` is a call.)
    pub(super) fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(items) => Some(items),
            Value::Call { callable, items, .. } => match self.get(*callable) {
                Value::Global(module, name) if &**module == "collections" && &**name == "OrderedDict" => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    /// How many items a value has.
    pub(super) fn len(&self, id: Id) -> usize {
        match self.get(id) {
            Value::Dict(items) | Value::Call { items, .. } => items.len(),
            _ => 0,
        }
    }

    /// The parameters of a module, a dictionary.
    pub(super) fn parameters(&self, id: Id) -> Option<Id> {
        let Value::Call { items, .. } = self.get(id) else { return None };
        let is_it = |key: Id| matches!(self.get(key), Value::Text(text) if &**text == "_parameters");
        items.iter().find(|(key, _)| is_it(*key)).map(|(_, value)| *value)
    }

    /// The item of a dictionary whose key is this text.
    pub(super) fn item(&self, id: Id, key: &str) -> Option<Id> {
        let is_it = |found: Id| matches!(self.get(found), Value::Text(text) if &**text == key);
        self.items(id)?.iter().find(|(found, _)| is_it(*found)).map(|(_, value)| *value)
    }

    /// What lies outside of the pickles, by what says where.
    pub(super) fn persistent(&self) -> impl Iterator<Item = Id> {
        self.values.iter().filter_map(|value| match value {
            Value::Persistent(id) => Some(*id),
            _ => None,
        })
    }

    /// Reads the pickle at the start of `bytes`; what it is about, and how many bytes it has.
    pub(super) fn unpickle(&mut self, bytes: &[u8]) -> Result<(Id, usize), String> {
        let bytes = &bytes[..bytes.len().min(PICKLE_BYTES as usize)];
        let mut machine =
            Machine { values: self, bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        while !machine.step()? {}
        let root = machine.pop()?;
        Ok((root, machine.at))
    }

    fn add(&mut self, value: Value) -> Result<Id, String> {
        self.count(1)?;
        self.values.push(value);
        Ok(Id((self.values.len() - 1) as u32)) // at most PICKLE_OBJECTS
    }

    fn count(&mut self, more: usize) -> Result<(), String> {
        let made = u32::try_from(more)
            .ok()
            .and_then(|more| self.made.checked_add(more))
            .filter(|made| *made <= PICKLE_OBJECTS);
        self.made = made.ok_or_else(|| format!("its table of contents makes more than {PICKLE_OBJECTS} objects"))?;
        Ok(())
    }
}

/// A pickle being read.
struct Machine<'a> {
    values: &'a mut Values,
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Id>,
    /// How high the stack was at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    /// Runs the next instruction; whether it was the last one.
    fn step(&mut self) -> Result<bool, String> {
        let [code] = *self.take::<1>()?;
        match code {
            b'.' => return Ok(true),
            0x80 => drop(self.take::<1>()?), // protocol
            0x95 => drop(self.take::<8>()?), // frame
            _ => {
                let is_known = self.arrange(code)?
                    || self.push_number(code)?
                    || self.push_text_or_bytes(code)?
                    || self.collect(code)?
                    || self.use_memo(code)?
                    || self.make_object(code)?;
                if !is_known {
                    return Err(format!(
                        "its table of contents has the unknown instruction {code:#04x} at byte {}",
                        self.at - 1
                    ));
                }
            }
        }
        Ok(false)
    }

    /// Instructions that arrange the stack; whether `code` is one.
    fn arrange(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'(' => {
                self.values.count(1)?;
                self.marks.push(self.stack.len());
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push_again(top)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Constants and numbers; whether `code` is one.
    fn push_number(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'J' => {
                let number = i32::from_le_bytes(*self.take()?);
                self.push(Value::Int(number.into()))?;
            }
            b'K' | b'M' => {
                let number = self.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Value::Int(number as i64))?;
            }
            0x8a | 0x8b => {
                let length = self.number(if code == 0x8a { 1 } else { 4 })?;
                let value = long(self.part(length)?);
                self.push(value)?;
            }
            b'I' | b'L' => {
                let value = decimal(self.line()?);
                self.push(value)?;
            }
            b'G' => {
                self.take::<8>()?;
                self.push(Value::Other)?;
            }
            b'F' => {
                self.line()?;
                self.push(Value::Other)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Texts, and bytes, which say nothing here; whether `code` is one.
    fn push_text_or_bytes(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'X' | b'T' => self.push_text(4)?,
            0x8c | b'U' => self.push_text(1)?,
            0x8d => self.push_text(8)?,
            b'V' | b'S' => {
                let line = self.line()?;
                let text = line.trim_matches(['\'', '"']).into();
                self.push(Value::Text(text))?;
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let width = match code {
                    b'B' => 4,
                    b'C' => 1,
                    _ => 8,
                };
                let length = self.number(width)?;
                self.part(length)?;
                self.push(Value::Other)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Lists, tuples, dictionaries and sets, and what is put into them; whether `code` is about one.
    fn collect(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b']' => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            0x8f => self.push(Value::Other)?, // a set
            b'l' => {
                let items = self.since_mark()?;
                self.push(Value::List(items))?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items))?;
            }
            0x85..=0x87 => {
                let length = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(length).ok_or_else(underflow)?;
                let items = self.stack.split_off(start);
                self.push(Value::Tuple(items))?;
            }
            b'd' => {
                let items = pairs(&self.since_mark()?);
                self.push(Value::Dict(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set_items(&items)?;
            }
            0x90 => drop(self.since_mark()?), // into a set
            0x91 => {
                self.since_mark()?;
                self.push(Value::Other)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What is remembered and recalled; whether `code` does so.
    fn use_memo(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'h' | b'j' => {
                let key = self.number(if code == b'h' { 1 } else { 4 })?;
                self.recall(key)?;
            }
            b'g' => {
                let key = self.memo_line()?;
                self.recall(key)?;
            }
            b'q' | b'r' => {
                let key = self.number(if code == b'q' { 1 } else { 4 })?;
                self.remember(key)?;
            }
            b'p' => {
                let key = self.memo_line()?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Objects of Python's, none of which is made; whether `code` is about one.
    fn make_object(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'c' => {
                let (module, name) = (self.line()?.into(), self.line()?.into());
                self.push(Value::Global(module, name))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match self.values.get(id) {
                    Value::Text(text) => text.clone(),
                    _ => "".into(),
                };
                let global = Value::Global(text(module), text(name));
                self.push(global)?;
            }
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                self.push(Value::Call { callable, args, items: Vec::new() })?;
            }
            0x92 => {
                let (_named, args, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.push(Value::Call { callable, args, items: Vec::new() })?;
            }
            b'i' => {
                self.line()?;
                self.line()?;
                self.since_mark()?;
                self.push(Value::Other)?;
            }
            b'o' => {
                self.since_mark()?;
                self.push(Value::Other)?;
            }
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            b'P' => {
                let id = Value::Text(self.line()?.into());
                let id = self.values.add(id)?;
                self.push(Value::Persistent(id))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        let id = self.values.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    /// A value that is there already.
    fn push_again(&mut self, id: Id) -> Result<(), String> {
        self.values.count(1)?;
        self.stack.push(id);
        Ok(())
    }

    fn push_text(&mut self, width: usize) -> Result<(), String> {
        let length = self.number(width)?;
        let text = String::from_utf8_lossy(self.part(length)?).into();
        self.push(Value::Text(text))
    }

    /// Not below an open mark: what lies there is not the instruction's.
    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor { self.stack.pop().ok_or_else(underflow) } else { Err(underflow()) }
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(underflow)
    }

    /// Everything since the last mark, which goes too.
    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn append(&mut self, items: &[Id]) -> Result<(), String> {
        self.values.count(items.len())?;
        let top = self.top()?;
        if let Value::List(list) = &mut self.values.values[top.0 as usize] {
            list.extend(items);
        }
        Ok(())
    }

    fn set_items(&mut self, new: &[Id]) -> Result<(), String> {
        self.values.count(new.len())?;
        let top = self.top()?;
        if let Value::Dict(items) | Value::Call { items, .. } = &mut self.values.values[top.0 as usize] {
            items.extend(pairs(new));
        }
        Ok(())
    }

    /// Sets attributes on what lies below. Those of a module count, for its parameters are among them; those of a dictionary do not.
    fn build(&mut self) -> Result<(), String> {
        let attributes = self.pop()?;
        let top = self.top()?;
        if self.values.items(top).is_none() {
            self.values.count(self.values.len(attributes))?;
            let Value::Dict(attributes) = self.values.get(attributes) else { return Ok(()) };
            let attributes = attributes.clone();
            if let Value::Call { items, .. } = &mut self.values.values[top.0 as usize] {
                items.extend(attributes);
            }
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Result<(), String> {
        self.values.count(1)?;
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), String> {
        let id = *self
            .memo
            .get(&key)
            .ok_or_else(|| format!("its table of contents speaks of value {key} before it is there"))?;
        self.push_again(id)
    }

    fn take<const N: usize>(&mut self) -> Result<&[u8; N], String> {
        let (part, _) = self.bytes[self.at..].split_first_chunk::<N>().ok_or_else(cut_short)?;
        self.at += N;
        Ok(part)
    }

    /// A number of `width` bytes without a sign.
    fn number(&mut self, width: usize) -> Result<u64, String> {
        Ok(self.part(width as u64)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn part(&mut self, length: u64) -> Result<&[u8], String> {
        let start = self.at;
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length)).ok_or_else(cut_short)?;
        let part = self.bytes.get(start..end).ok_or_else(cut_short)?;
        self.at = end;
        Ok(part)
    }

    /// Up to the end of the line, without it.
    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or_else(cut_short)?;
        self.at += length + 1;
        Ok(String::from_utf8_lossy(&rest[..length]).trim_end_matches('\r').to_owned())
    }

    fn memo_line(&mut self) -> Result<u64, String> {
        self.line()?.parse().map_err(|_| "its table of contents is damaged: a number is none".to_owned())
    }
}

fn underflow() -> String {
    "its table of contents is damaged: it takes more values than there are".to_owned()
}

fn cut_short() -> String {
    "it is cut short: its table of contents does not end".to_owned()
}

/// A list of keys and values in turn.
fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)).collect()
}

/// A little-endian number in two's complement of any length.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Other;
    }
    let sign = if bytes.last().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
    Value::Int(bytes.iter().rev().fold(sign, |number: i64, byte| number << 8 | i64::from(*byte)))
}

/// A line with a number of protocol 0; `01` and `00` are truth values there.
fn decimal(line: String) -> Value {
    match line.trim_end_matches('L') {
        "01" => Value::Bool(true),
        "00" => Value::Bool(false),
        number => number.parse().map_or(Value::Other, Value::Int),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pickle_makes_has_an_end() {
        let made = |pickle: &[u8]| Values::default().unpickle(pickle).map(|(_, length)| length);
        let values = b")".repeat(PICKLE_OBJECTS as usize + 1);
        assert!(made(&values).unwrap_err().contains("objects"));
        // A dictionary of two thousand items, set on an object ten thousand times.
        let items = b"K\x01K\x02".repeat(2000);
        let again = b"h\x01h\x00b0".repeat(10_000);
        let bomb = [&b"}("[..], &items, b"uq\x00ca\nb\n)Rq\x01", &again, b"N."].concat();
        assert!(made(&bomb).unwrap_err().contains("objects"));
        // References are not copies: twice as much, thirty times, is sixty-one values.
        let doubled = [&b")q\x01"[..], &b"h\x01h\x01\x86q\x01".repeat(30), b"."].concat();
        assert_eq!(made(&doubled), Ok(doubled.len()));
        // Marks, and values that are recalled, doubled or remembered, take memory too.
        let many = PICKLE_OBJECTS as usize + 1;
        for (start, again) in [
            (&b""[..], &b"("[..]),
            (b"N", b"2"),
            (b"N", b"\x94"),
            (b"Nq\x01", b"h\x01"),
            (b"Nq\x01", b"j\x01\0\0\0"),
            (b"Nq\x01", b"g1\n"),
        ] {
            let count = (PICKLE_BYTES as usize / again.len()).min(many);
            let pickle = [start, &again.repeat(count)].concat();
            let refused = made(&pickle).unwrap_err();
            assert!(count < many || refused.contains("objects"), "{again:?}: {refused}");
        }
    }

    #[test]
    fn names_of_globals_are_not_copies() {
        let module = [b"X", &1_000_000_u32.to_le_bytes()[..], &b"m".repeat(1_000_000)].concat();
        let pickle = [&module[..], b"q\x01", &b"h\x01h\x01\x930".repeat(1000), b"."].concat();
        let mut values = Values::default();
        let (root, _) = values.unpickle(&pickle).unwrap();
        let Value::Text(text) = values.get(root) else { panic!("{:?}", values.get(root)) };
        assert_eq!(Rc::strong_count(text), 2001);
    }
}
