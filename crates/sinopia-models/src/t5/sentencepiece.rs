//! Reading SentencePiece's `spiece.model`: a protocol buffer with the pieces of a unigram model and how text is normalised before it is cut.
//!
//! Only the fields that a T5 uses are read; field numbers are those of `sentencepiece_model.proto` (google/sentencepiece).

/// `ModelProto.pieces`.
const PIECES: u64 = 1;
/// `ModelProto.trainer_spec`.
const TRAINER_SPEC: u64 = 2;
/// `ModelProto.normalizer_spec`.
const NORMALIZER_SPEC: u64 = 3;
/// `TrainerSpec.model_type`, and its value for unigram models.
const MODEL_TYPE: u64 = 3;
const UNIGRAM: u64 = 1;
/// `NormalizerSpec.precompiled_charsmap`.
const PRECOMPILED_CHARSMAP: u64 = 2;
/// `SentencePiece.type` of the piece for what no other piece covers.
const UNKNOWN: u64 = 2;

/// What a `spiece.model` holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct SentencePieceModel {
    /// The pieces in the order of their ids, and their log probabilities.
    pub(super) pieces: Vec<(String, f64)>,
    /// The piece for what no other piece covers.
    pub(super) unknown: Option<usize>,
    /// The table of characters to replace; empty for none.
    pub(super) charsmap: Vec<u8>,
}

impl SentencePieceModel {
    /// Reads the file's bytes; the error says what is wrong with them.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut model = Self::default();
        for field in Fields(bytes) {
            match field? {
                (PIECES, Value::Bytes(piece)) => model.add_piece(piece)?,
                (TRAINER_SPEC, Value::Bytes(spec)) => check_model_type(spec)?,
                (NORMALIZER_SPEC, Value::Bytes(spec)) => {
                    for field in Fields(spec) {
                        if let (PRECOMPILED_CHARSMAP, Value::Bytes(charsmap)) = field? {
                            check_charsmap(charsmap).ok_or("its table of characters is damaged")?;
                            model.charsmap = charsmap.to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
        if model.pieces.is_empty() { Err("it has no pieces".to_owned()) } else { Ok(model) }
    }

    fn add_piece(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (mut text, mut score, mut kind) = (String::new(), 0.0, 1);
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(piece)) => text = String::from_utf8_lossy(piece).into_owned(),
                (2, Value::Fixed32(bits)) => score = f64::from(f32::from_bits(bits)),
                (3, Value::Varint(value)) => kind = value,
                _ => {}
            }
        }
        if kind == UNKNOWN {
            self.unknown = Some(self.pieces.len());
        }
        self.pieces.push((text, score));
        Ok(())
    }
}

fn check_model_type(spec: &[u8]) -> Result<(), String> {
    for field in Fields(spec) {
        if let (MODEL_TYPE, Value::Varint(kind)) = field? {
            return match kind {
                UNIGRAM => Ok(()),
                _ => Err(format!("its model type is {kind}; T5's is {UNIGRAM}, unigram")),
            };
        }
    }
    Ok(())
}

/// Follows every path through a table of characters, since whoever looks a text up in it does so without checks.
///
/// The table is the length in bytes of a double-array trie, its units (32 bits each, as darts-clone packs them), and texts that end in 0; a path's value is where in
/// them the replacement begins.
fn check_charsmap(charsmap: &[u8]) -> Option<()> {
    if charsmap.is_empty() {
        return Some(());
    }
    let (length, rest) = charsmap.split_first_chunk::<4>()?;
    let (trie, texts) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let texts = std::str::from_utf8(texts).ok()?;
    let units: Vec<u32> = trie.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
    let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
    let mut found = vec![offset(*units.first()?)];
    let mut seen = std::collections::HashSet::new();
    while let Some(base) = found.pop() {
        if !seen.insert(base) {
            continue;
        }
        // Any byte may be looked up here, and they all lie in one block of 256 units.
        units.get(base | 0xff)?;
        for byte in 1..=0xff_u32 {
            let unit = units[base ^ byte as usize];
            if unit & (1 << 31 | 0xff) != byte {
                continue;
            }
            let next = base ^ byte as usize ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = (*units.get(next)? & 0x7fff_ffff) as usize;
                texts.is_char_boundary(start).then_some(())?;
            }
            found.push(next);
        }
    }
    Some(())
}

/// A field's content in one of the encodings of protocol buffers.
enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message: number and content. Ends after the first that is cut short.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed64)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for place in 0..10 {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "it is cut short or no protocol buffer".to_owned()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn tagged(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, content.len() as u8];
        bytes.extend_from_slice(content);
        bytes
    }

    fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
        let mut bytes = tagged(1, text.as_bytes());
        bytes.push(2 << 3 | 5);
        bytes.extend_from_slice(&score.to_le_bytes());
        bytes.extend_from_slice(&[3 << 3, kind]);
        tagged(1, &bytes)
    }

    /// A unigram model of a few pieces, without normalisation.
    pub(in crate::t5) fn example() -> Vec<u8> {
        let pieces = [
            piece("<pad>", 0.0, 3),
            piece("</s>", 0.0, 3),
            piece("<unk>", 0.0, 2),
            piece("▁red", -1.0, 1),
            piece("▁car", -1.5, 1),
            piece("▁", -3.0, 1),
            piece("s", -3.5, 1),
        ];
        [pieces.concat(), tagged(2, &[3 << 3, 1]), tagged(3, &tagged(1, b"identity"))].concat()
    }

    #[test]
    fn pieces_are_read_with_their_scores() {
        let model = SentencePieceModel::read(&example()).unwrap();
        assert_eq!(model.pieces.len(), 7);
        assert_eq!(model.pieces[4], ("▁car".to_owned(), -1.5));
        assert_eq!((model.unknown, model.charsmap.len()), (Some(2), 0));
    }

    /// The table that replaces `A` by `b`: the root, whose children begin at 256, and one path.
    fn charsmap(child: u32, value: u32) -> Vec<u8> {
        let mut units = [0_u32; 768];
        units[0] = 256 << 10;
        units[256 ^ 0x41] = child;
        units[512] = 1 << 31 | value;
        let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, "b\0".as_bytes()].concat()
    }

    #[test]
    fn a_table_of_characters_cannot_lead_astray() {
        // From the child at 256 ^ 0x41 to a value at `target`.
        let unit = |target: u32| (256 ^ 0x41 ^ target) << 10 | 1 << 8 | 0x41;
        let good = charsmap(unit(512), 0);
        assert_eq!(check_charsmap(&good), Some(()));
        assert_eq!(check_charsmap(&[]), Some(()));
        assert_eq!(check_charsmap(&charsmap(unit(512), 9)), None, "a replacement behind the texts");
        assert_eq!(check_charsmap(&charsmap(unit(1 << 20), 0)), None, "a path out of the table");
        for length in [1, 4, 100, good.len() - 3] {
            assert_eq!(check_charsmap(&good[..length]), None, "{length}");
        }
        let model = [example(), tagged(3, &tagged(2, &[1, 0, 0]))].concat();
        assert!(SentencePieceModel::read(&model).unwrap_err().contains("its table of characters is damaged"));
    }

    #[test]
    fn what_is_no_unigram_model_is_refused() {
        let check = |bytes: &[u8], part: &str| {
            let problem = SentencePieceModel::read(bytes).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        };
        check(&[], "no pieces");
        check(&[tagged(2, &[3 << 3, 2]), example()].concat(), "its model type is 2");
        let whole = example();
        for length in [1, 3, 9, 20] {
            check(&whole[..length], "cut short");
        }
        check(&[0xff; 12], "no protocol buffer");
        check(&[1 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "cut short");
    }
}
