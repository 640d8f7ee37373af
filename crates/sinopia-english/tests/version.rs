//! The reader's version is raised whenever captions are read otherwise: caches of plans hold it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use sha2::{Digest, Sha256};
use sinopia_english::{READER_VERSION, read};

/// A version, and the digest of what that version reads and reads with.
struct Reader {
    version: u32,
    digest: &'static str,
}

const KNOWN: Reader = Reader { version: 1, digest: "c1935bdace839e18" };

/// What the reader reads with; of the list of words the rows without their reasons, which change no reading.
const ASSETS: [&[u8]; 6] = [
    include_bytes!("../assets/parser.f16"),
    include_bytes!("../assets/norms.tsv"),
    include_bytes!("../assets/symbols.tsv"),
    include_bytes!("../assets/tags.txt"),
    include_bytes!("../assets/moves.txt"),
    include_bytes!("../assets/nouns.deflate"),
];
const WORDS: &str = include_str!("../assets/words.tsv");

/// A caption for each kind of thing that readings tell.
const CAPTIONS: [&str; 24] = [
    "two red apples to the left of a sleeping cat, no dogs",
    "a photo of three cats and a dog in the snow, no people",
    "a man in a red shirt and a blue hat holding an umbrella",
    "a watercolour of a lighthouse at dawn, highly detailed",
    "two dogs chase cats",
    "a fork on a plate and a knife to its right",
    "a bowl of ramen on a wooden table, steam rising",
    "a woman with long red hair and green eyes",
    "several birds flying above a house by the sea",
    "a ball between two cups, all blue",
    "a dozen eggs in a row, one of them broken",
    "a dragon made of cheese",
    "a sign that says \"OPEN\" in the top left corner",
    "a girl (red car:1.2), <lora:x:1>, sunset --ar 16:9",
    "The cat is black and the dog is white.",
    "a street without cars or people in the rain",
    "a horse bigger than the house behind it",
    "four to six balloons floating in the sky",
    "a teacher surrounded by children, each with a book",
    "three zorblats and a green flumox, no wuggles",
    "zwei Katzen und ein Hund",
    "二只猫",
    "no",
    "",
];

fn digest() -> String {
    let mut hash = Sha256::new();
    for asset in ASSETS {
        hash.update(Sha256::digest(asset));
    }
    for row in WORDS.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = row.split('\t').take(3).collect();
        hash.update(columns.join("\t"));
        hash.update("\n");
    }
    for caption in CAPTIONS {
        hash.update(serde_json::to_string(&read(caption)).unwrap());
        hash.update("\n");
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn readings_and_version_change_together() {
    let digest = digest();
    assert_eq!(
        (READER_VERSION, digest.as_str()),
        (KNOWN.version, KNOWN.digest),
        "captions are read otherwise than by version {}: raise `READER_VERSION` in `src/version.rs`, and write both here",
        KNOWN.version
    );
}
