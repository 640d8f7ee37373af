//! Token ids against transformers' CLIPTokenizer (`parity/make_tokenizer.py`): the full vocabulary and a trimmed one, both pad tokens.
use serde_json::Value;
use sinopia_models::Tokenizer;

fn check(key: &str, tokenizer: &Tokenizer) {
    let golden = crate::fixture::json("tokenizer/tokenizer.json");
    assert_eq!(golden["header"]["pad_ids"][key], tokenizer.pad());
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 70);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let expected: Vec<u32> =
            case[key].as_array().unwrap().iter().filter_map(Value::as_u64).map(|id| id as u32).collect();
        let mut padded = expected.clone();
        padded.resize(77, tokenizer.pad());
        assert_eq!(tokenizer.encode(text).unwrap().ids, padded, "{key}: {text:?}");
    }
}

#[test]
fn stable_diffusion_1() {
    check("sd1", &Tokenizer::clip().unwrap());
}

#[test]
fn stable_diffusion_2() {
    check("sd2", &Tokenizer::open_clip().unwrap());
}

#[test]
fn trimmed_vocabularies_from_folders() {
    for (key, model) in [("trimmed", "sd1"), ("trimmed_sd2", "sd2")] {
        check(key, &Tokenizer::from_folder(&crate::fixture::model_folder(model).join("tokenizer")).unwrap());
    }
}
