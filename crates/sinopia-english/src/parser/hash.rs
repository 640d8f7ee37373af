//! The two hashes that lead from a word's features to rows of the embedding tables.

/// MurmurHash64A: the id of a string, as spaCy's string store computes it (seed 1).
pub(super) fn string_id(text: &str) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    let bytes = text.as_bytes();
    let mut hash = 1 ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let mut k = eight.iter().rev().fold(0_u64, |k, byte| k << 8 | u64::from(*byte)).wrapping_mul(MULTIPLIER);
        k ^= k >> 47;
        hash = (hash ^ k.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    let rest = eights.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u64::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 47;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 47)
}

/// MurmurHash3_x64_128 of one id: four row numbers, before the remainder by the table's length.
pub(super) fn rows(id: u64, seed: u32) -> [u32; 4] {
    let start = u64::from(seed) ^ 8; // the hashed length, eight bytes, is mixed in at the end
    let mixed = id.wrapping_mul(0x87c3_7b91_1142_53d5).rotate_left(31).wrapping_mul(0x4cf5_ad43_2745_937f);
    let first = (mixed ^ u64::from(seed) ^ 8).wrapping_add(start);
    let second = start.wrapping_add(first);
    let (a, b) = (finalize(first), finalize(second));
    let first = a.wrapping_add(b);
    let second = b.wrapping_add(first);
    [first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32]
}

fn finalize(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::string_id;

    #[test]
    fn ids_are_those_of_spacys_string_store() {
        // spacy.strings.hash_string of each.
        assert_eq!(string_id("apple"), 8_566_208_034_543_834_098);
        assert_eq!(string_id("coffee"), 3_197_928_453_018_144_401);
    }
}
