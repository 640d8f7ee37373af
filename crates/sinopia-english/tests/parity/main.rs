//! Tokens, tags, heads and labels against spaCy's, over the sentences of `parity/make_english.py`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, whose figures are worth seeing")]

use std::path::Path;

use serde_json::Value;
use sinopia_english::parser::Parser;
use sinopia_english::tokenizer::tokenize;

/// Of a hundred tokens. The weights are rounded to f16, so that a choice between two nearly equal scores may fall the other way.
const AGREEMENT: f64 = 99.5;
/// Of a hundred sentences that are cut into the same tokens.
const SAME_TOKENS: f64 = 99.0;

#[derive(Default)]
struct Agreement {
    sentences: usize,
    same_tokens: usize,
    tokens: usize,
    tags: usize,
    heads: usize,
    labels: usize,
}

impl Agreement {
    fn percent(&self, of: usize) -> f64 {
        100.0 * of as f64 / self.tokens as f64
    }
}

fn fixture() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../parity/fixtures/english/parses.json");
    let content: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    content["parses"].as_array().unwrap().clone()
}

fn compare(agreement: &mut Agreement, parse: &Value) {
    let text = parse["text"].as_str().unwrap();
    let expected = parse["tokens"].as_array().unwrap();
    let tokens = tokenize(text, &[]);
    agreement.sentences += 1;
    let is_same = tokens.len() == expected.len()
        && tokens.iter().zip(expected).all(|(token, expected)| expected[0] == token.text.as_str());
    if !is_same {
        println!("other tokens: {text}");
        return;
    }
    agreement.same_tokens += 1;
    for (i, (parsed, expected)) in Parser::embedded().parse(&tokens).iter().zip(expected).enumerate() {
        let same = [expected[3] == parsed.tag, expected[4] == parsed.head, expected[5] == parsed.label];
        agreement.tokens += 1;
        agreement.tags += usize::from(same[0]);
        agreement.heads += usize::from(same[1]);
        agreement.labels += usize::from(same[2]);
        if same.contains(&false) {
            println!("{text}: {} {parsed:?}, expected {expected}", tokens[i].text);
        }
    }
}

#[test]
fn parses_are_those_of_spacy() {
    let mut agreement = Agreement::default();
    for parse in fixture() {
        compare(&mut agreement, &parse);
    }
    let figures = [agreement.tags, agreement.heads, agreement.labels].map(|of| agreement.percent(of));
    println!(
        "{} tokens: tags {:.2} %, heads {:.2} %, labels {:.2} %",
        agreement.tokens, figures[0], figures[1], figures[2]
    );
    assert!(
        agreement.same_tokens as f64 >= SAME_TOKENS / 100.0 * agreement.sentences as f64,
        "{} of {}",
        agreement.same_tokens,
        agreement.sentences
    );
    assert!(figures.iter().all(|figure| *figure >= AGREEMENT), "{figures:?}");
}
