//! The grammar of values in LLM answers: what Python literals and JSON have in common, and the usual slips.
//!
//! ```text
//! value  = string+ | number ["%"] | "None" | "null" | list | dict
//! list   = "[" items "]" | "(" items ")"        items may end with a comma
//! dict   = "{" string ":" value, … "}"
//! string = quotes of four kinds ('…' "…" ‘…’ “…”), with Python's and JSON's escapes
//! ```
//!
//! Blanks and comments (`# …` and `// …`) may stand between any two tokens. Brackets, commas and colons may be full-width, as people who write
//! Chinese type them. Nothing is evaluated. A quotation mark inside a string needs no escape when what follows it cannot follow a string:
//! `'a child's toy'` is one name. A key of a dict needs no quotes if it is a word.

use crate::limits::ANSWER_DEPTH;
use crate::wording::counted;

/// A value and the byte where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) offset: usize,
    pub(crate) value: Value,
}

/// A value of the grammar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(f64),
    Nothing,
    List(Vec<Spanned>),
    Dict(Vec<(String, Spanned)>),
}

impl Value {
    /// The value in words, for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::Text(text) => format!("the text `{}`", shortened(text)),
            Value::Number(number) => format!("the number {number}"),
            Value::Nothing => "nothing (`None`)".to_owned(),
            Value::List(items) => format!("a list of {}", counted(items.len(), "item")),
            Value::Dict(entries) => format!("an object of {}", counted(entries.len(), "key")),
        }
    }
}

/// A byte of the text and what was wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        Fault { offset, message: message.into() }
    }
}

/// A place in the text that moves forward as values are read.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str, offset: usize) -> Self {
        Cursor { text, offset }
    }

    /// The byte about to be read.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Reads the value that starts here, after blanks.
    pub(crate) fn value(&mut self) -> Result<Spanned, Fault> {
        self.value_at_depth(0)
    }

    /// Skips white space and comments.
    pub(crate) fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest().trim_start();
            self.offset = self.text.len() - rest.len();
            if !rest.starts_with('#') && !rest.starts_with("//") {
                return;
            }
            self.offset += rest.find('\n').unwrap_or(rest.len());
        }
    }

    /// The next character, not consumed.
    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Consumes the character, or its full-width form, if it comes next.
    pub(crate) fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek().filter(|c| plain(*c) == wanted);
        self.offset += found.map_or(0, char::len_utf8);
        found.is_some()
    }

    /// The next character in its plain form, not consumed.
    fn peek_plain(&self) -> Option<char> {
        self.peek().map(plain)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.offset..]
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.offset += c.len_utf8();
        Some(c)
    }

    fn value_at_depth(&mut self, depth: usize) -> Result<Spanned, Fault> {
        self.skip_blanks();
        let offset = self.offset;
        if depth > ANSWER_DEPTH {
            return Err(Fault::new(offset, format!("lists are nested more than {ANSWER_DEPTH} deep")));
        }
        let value = match self.peek_plain() {
            Some('[') => self.list(']', depth)?,
            Some('(') => self.list(')', depth)?,
            Some('{') => self.dict(depth)?,
            Some(c) if closing_quote(c).is_some() => Value::Text(self.adjacent_strings()?),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => match (self.number()?, self.eat('%')) {
                (number, true) => Value::Text(format!("{number}%")),
                (number, false) => Value::Number(number),
            },
            _ => self.word()?,
        };
        Ok(Spanned { offset, value })
    }

    fn list(&mut self, close: char, depth: usize) -> Result<Value, Fault> {
        self.bump();
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            if self.eat(close) {
                return Ok(Value::List(items));
            }
            items.push(self.value_at_depth(depth + 1)?);
            self.separator(close)?;
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Value, Fault> {
        self.bump();
        let mut entries = Vec::new();
        loop {
            self.skip_blanks();
            if self.eat('}') {
                return Ok(Value::Dict(entries));
            }
            let key = match self.peek() {
                Some(c) if closing_quote(c).is_some() => self.adjacent_strings()?,
                Some(c) if c.is_alphabetic() => self.bare_key(),
                _ => return Err(self.expected("a quoted key or `}`")),
            };
            self.skip_blanks();
            if !self.eat(':') {
                return Err(self.expected("`:` after the key"));
            }
            entries.push((key, self.value_at_depth(depth + 1)?));
            self.separator('}')?;
        }
    }

    fn bare_key(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-')).unwrap_or(rest.len());
        self.offset += end;
        rest[..end].to_owned()
    }

    /// Consumes a comma; leaves the closing bracket.
    fn separator(&mut self, close: char) -> Result<(), Fault> {
        self.skip_blanks();
        if self.eat(',') || self.peek_plain() == Some(close) {
            return Ok(());
        }
        Err(self.expected(&format!("`,` or `{close}`")))
    }

    /// Strings side by side are one string.
    fn adjacent_strings(&mut self) -> Result<String, Fault> {
        let mut text = String::new();
        while let Some(close) = self.peek().and_then(closing_quote) {
            self.string(close, &mut text)?;
            self.skip_blanks();
        }
        Ok(text)
    }

    fn string(&mut self, close: char, text: &mut String) -> Result<(), Fault> {
        let start = self.offset;
        self.bump();
        loop {
            match self.bump() {
                None | Some('\n') => {
                    return Err(Fault::new(
                        start,
                        format!("the text that starts here is not closed by {close} on its line"),
                    ));
                }
                Some('\\') => self.escape(text),
                Some(c) if c == close && self.string_ends_here(close) => return Ok(()),
                Some(c) => text.push(c),
            }
        }
    }

    /// Whether a quotation mark just read closes its string: only then can a separator or another string follow.
    fn string_ends_here(&self, close: char) -> bool {
        let rest = self.rest();
        let follows = |rest: &str| rest.trim_start().chars().next().map(plain);
        if let Some(after) = rest.strip_prefix(close) {
            return !matches!(follows(after), Some(',' | ']' | ')')); // `'the boys'',` ends at the second mark
        }
        match follows(rest) {
            None | Some(',' | ']' | ')' | '}' | ':' | '#') => true,
            Some('/') => rest.trim_start().starts_with("//"),
            Some(c) => closing_quote(c).is_some(),
        }
    }

    /// Reads what follows a backslash. What is no escape is kept as it stands, as Python does.
    fn escape(&mut self, text: &mut String) {
        let Some(c) = self.bump() else { return text.push('\\') };
        match c {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            '\\' | '\'' | '"' | '/' | '‘' | '’' | '“' | '”' => text.push(c),
            '\n' => {}
            'x' | 'u' | 'U' => match self.code_point(c) {
                Some(decoded) => text.push(decoded),
                None => text.extend(['\\', c]),
            },
            _ => text.extend(['\\', c]),
        }
    }

    /// `\xHH`, `\uHHHH` (two of them for a surrogate pair) or `\UHHHHHHHH`; consumes nothing if there is none.
    fn code_point(&mut self, kind: char) -> Option<char> {
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            _ => 8,
        };
        let start = self.offset;
        let code = self.hex(digits)?;
        let decoded = match code {
            0xD800..=0xDBFF if self.rest().starts_with("\\u") => {
                self.offset += 2;
                self.hex(4).and_then(|low| char::decode_utf16([code as u16, low as u16]).next()?.ok())
            }
            _ => char::from_u32(code),
        };
        if decoded.is_none() {
            self.offset = start;
        }
        decoded
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let found = self.rest().get(..digits)?;
        if !found.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.offset += digits;
        u32::from_str_radix(found, 16).ok()
    }

    fn number(&mut self) -> Result<f64, Fault> {
        let start = self.offset;
        let rest = self.rest();
        let mut previous = ' ';
        let end = rest
            .char_indices()
            .find(|&(_, c)| {
                let sign_of_exponent = matches!(c, '+' | '-') && matches!(previous, 'e' | 'E' | ' ');
                previous = c;
                !(c.is_alphanumeric() || matches!(c, '.' | '_') || sign_of_exponent)
            })
            .map_or(rest.len(), |(end, _)| end);
        let found = &rest[..end];
        let starts_like_one = found.bytes().any(|b| b.is_ascii_digit());
        let number = found.replace('_', "").parse::<f64>().ok().filter(|_| starts_like_one);
        let number =
            number.ok_or_else(|| Fault::new(start, format!("expected a number, found `{}`", shortened(found))))?;
        if !number.is_finite() {
            return Err(Fault::new(start, format!("the number `{}` is too large", shortened(found))));
        }
        self.offset += end;
        Ok(number)
    }

    fn word(&mut self) -> Result<Value, Fault> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if matches!(&rest[..end], "None" | "null") {
            self.offset += end;
            return Ok(Value::Nothing);
        }
        Err(self.expected("a quoted name, a number or a list"))
    }

    /// A fault at this place that quotes what stands there.
    fn expected(&self, wanted: &str) -> Fault {
        // No more of a long text without blanks than is shown: there may be many faults before its end.
        let near = self.rest().char_indices().nth(SHOWN_CHARS + 1).map_or(self.rest(), |(end, _)| &self.rest()[..end]);
        let found = match near.split_whitespace().next() {
            None => "the end of the answer".to_owned(),
            Some(word) => format!("`{}`", shortened(word)),
        };
        Fault::new(self.offset, format!("expected {wanted}, found {found}"))
    }
}

/// The mark that closes a string opened by `open`, if `open` is a quotation mark. Whoever types fast opens with the mark that closes.
fn closing_quote(open: char) -> Option<char> {
    match open {
        '\'' | '"' | '’' | '”' | '＂' => Some(open),
        '‘' => Some('’'),
        '“' => Some('”'),
        '「' => Some('」'),
        '『' => Some('』'),
        _ => None,
    }
}

/// Punctuation without the width that Chinese gives it.
pub(crate) fn plain(c: char) -> char {
    match c {
        '，' | '、' => ',',
        '：' => ':',
        '（' => '(',
        '）' => ')',
        '［' | '【' => '[',
        '］' | '】' => ']',
        '｛' => '{',
        '｝' => '}',
        c => c,
    }
}

/// Whether a string can start with this character.
pub(crate) fn opens_string(c: char) -> bool {
    closing_quote(c).is_some()
}

/// Most of a text that a message repeats.
const SHOWN_CHARS: usize = 24;

/// At most [`SHOWN_CHARS`] characters of a text.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> String {
        let mut cursor = Cursor::new(source, 0);
        match cursor.value().unwrap_or_else(|fault| panic!("{source}: {fault:?}")).value {
            Value::Text(text) => text,
            other => panic!("{source} is {other:?}"),
        }
    }

    fn number(source: &str) -> Result<f64, String> {
        match Cursor::new(source, 0).value() {
            Ok(Spanned { value: Value::Number(number), .. }) => Ok(number),
            Ok(other) => panic!("{source} is {other:?}"),
            Err(fault) => Err(fault.message),
        }
    }

    #[test]
    fn strings() {
        for (source, expected) in [
            ("'a dog'", "a dog"),
            (r#""a dog""#, "a dog"),
            ("“a dog”", "a dog"),
            ("‘a dog’", "a dog"),
            ("'a child's toy'", "a child's toy"),
            ("'the boys' ball'", "the boys' ball"),
            ("'the boys'',", "the boys'"),
            ("'rock 'n' roll'", "rock 'n' roll"),
            (r#""a 10" plate""#, r#"a 10" plate"#),
            (r"'a child\'s toy'", "a child's toy"),
            (r"'caf\u00e9 \xe9 \U0001F600 \ud83d\ude00'", "café é 😀 😀"),
            (r"'a\qb\ud83d'", r"a\qb\ud83d"),
            ("'a ' 'dog'", "a dog"),
            ("'a ' # first half\n 'dog'", "a dog"),
            ("''", ""),
            ("'''a dog'''", "a dog"),
            ("”a dog”", "a dog"),
            ("「a dog」", "a dog"),
            ("“a dog”，", "a dog"),
        ] {
            assert_eq!(text(source), expected, "{source}");
        }
    }

    #[test]
    fn numbers() {
        for (source, expected) in [
            ("12", 12.),
            ("-3", -3.),
            ("+4", 4.),
            ("1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.),
            ("1e2", 100.),
            ("1.5e-1", 0.15),
            ("1_000", 1000.),
        ] {
            assert_eq!(number(source), Ok(expected), "{source}");
        }
        for source in ["1-2", "-", ".", "0x10", "12px", "1e999", "--1", "1e", "+inf", "-nan"] {
            assert!(number(source).is_err() || source == "1-2", "{source}");
        }
        assert_eq!(number("1e999").unwrap_err(), "the number `1e999` is too large");
        assert_eq!(number("12px").unwrap_err(), "expected a number, found `12px`");
    }

    #[test]
    fn full_width_punctuation_comments_and_bare_keys() {
        let read = |source: &str| {
            Cursor::new(source, 0).value().unwrap_or_else(|fault| panic!("{source}: {fault:?}")).value.describe()
        };
        assert_eq!(read("【（“a dog”， [1， 2、3]）】"), "a list of 1 item");
        assert_eq!(read("｛a_key： 1， “b”：2｝"), "an object of 2 keys");
        assert_eq!(read("{'a': 'x', // plain\n 'b': 2}"), "an object of 2 keys");
        assert_eq!(read("{'a': 'x' // plain\n }"), "an object of 1 key");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let fault = Cursor::new(&"[".repeat(100_000), 0).value().unwrap_err();
        assert_eq!(fault.message, "lists are nested more than 16 deep");
    }
}
