//! Answers each line of stdin with the likeliest tokens: `greedy MODEL.gguf TOKENS < prompts.txt`. One JSON object a line: text, tokens, how the prompt was
//! read, and seconds. `parity/llama_cpp.py` compares them with a llama.cpp server's.

use std::cell::Cell;
use std::io::{BufRead, Write};
use std::time::Instant;

use sinopia_llm::{Generation, LanguageModel, Observer, PromptProgress, Role, TokenSampling};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(tokens)) = (args.next(), args.next()) else {
        return Err("usage: greedy MODEL.gguf TOKENS < prompts.txt".into());
    };
    let model = LanguageModel::open(path.as_ref())?;
    let sampling = TokenSampling { temperature: 0.0, ..TokenSampling::default() };
    let generation = Generation { sampling, max_tokens: tokens.parse()?, ..Generation::default() };
    for prompt in std::io::stdin().lock().lines() {
        let (began, known, read) = (Instant::now(), Cell::new(None), Cell::new(0.0));
        let on_prompt = |progress: PromptProgress| {
            known.set(known.get().or(Some(progress.read)));
            read.set(began.elapsed().as_secs_f64());
        };
        let observer = Observer { on_prompt: &on_prompt, ..Observer::default() };
        let answer = model.answer_observed(&[(Role::User, &prompt?)], &generation, &observer)?;
        let told = serde_json::json!({
            "text": answer.text,
            "tokens": answer.tokens,
            "prompt_tokens": answer.prompt_tokens,
            "known_tokens": known.get(),
            "prompt_seconds": read.get(),
            "answer_seconds": began.elapsed().as_secs_f64() - read.get(),
        });
        writeln!(std::io::stdout(), "{told}")?;
    }
    Ok(())
}
