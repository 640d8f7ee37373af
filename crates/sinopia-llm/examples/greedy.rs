//! Answers each line of stdin with the likeliest tokens: `greedy MODEL.gguf TOKENS < prompts.txt`. One JSON object a line: text, tokens, prompt tokens.
//! `parity/llama_cpp.py` compares them with a llama.cpp server's.

use std::io::{BufRead, Write};

use sinopia_llm::{Generation, LanguageModel, Role, TokenSampling};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(tokens)) = (args.next(), args.next()) else {
        return Err("usage: greedy MODEL.gguf TOKENS < prompts.txt".into());
    };
    let model = LanguageModel::open(path.as_ref())?;
    let sampling = TokenSampling { temperature: 0.0, ..TokenSampling::default() };
    let generation = Generation { sampling, max_tokens: tokens.parse()?, ..Generation::default() };
    for prompt in std::io::stdin().lock().lines() {
        let answer = model.answer(&[(Role::User, &prompt?)], &generation)?;
        let told =
            serde_json::json!({"text": answer.text, "tokens": answer.tokens, "prompt_tokens": answer.prompt_tokens});
        writeln!(std::io::stdout(), "{told}")?;
    }
    Ok(())
}
