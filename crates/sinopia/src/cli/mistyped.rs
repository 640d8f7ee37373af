//! What was typed and is no command line: clap's message, and a hint where the mistake is a common one.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::kinds::Kind;
use super::terminal;

/// Words that other programs have for our commands.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["version"], "sinopia --version"),
    (
        &["draw", "create", "make", "image", "txt2img", "text2image", "prompt", "imagine"],
        "sinopia generate \"CAPTION\"",
    ),
    (&["layout", "caption"], "sinopia plan \"CAPTION\""),
    (&["show", "info", "describe", "recipe", "metadata"], "sinopia inspect IMAGE"),
    (&["server", "web", "webui", "ui", "gui", "start", "launch"], "sinopia serve"),
    (&["pull", "download", "fetch", "install"], "sinopia models pull OWNER/NAME"),
    (&["list", "ls", "model"], "sinopia models list"),
    (&["score", "report", "evaluate"], "sinopia eval --help"),
    (&["benchmark", "speed", "time", "perf"], "sinopia bench"),
    (
        &["change", "modify", "inpaint", "erase", "remove", "recolor", "recolour"],
        "sinopia edit PICTURE --remove \"OBJECT\"",
    ),
    (&["import"], "sinopia convert FILE --to json"),
    (&["repeat", "redo", "again", "rerun"], "sinopia generate --from IMAGE"),
    (&["comfyui", "workflow"], "sinopia run GRAPH"),
];

/// Flags that other programs have for ours, where ours is no flag of that name.
const FLAGS: &[(&[&str], &str)] = &[
    (&["--port", "--host", "--bind", "-p"], "`sinopia serve` listens where `--listen HOST:PORT` says"),
    (&["--prompt", "--caption"], "the caption is written without a flag: `sinopia generate \"CAPTION\"`"),
    (&["-n", "--num-images", "--batch-size", "--n-iter", "--images"], "`--count N` makes several images"),
    (&["-s"], "`--seed N` and `--steps N` have no short form"),
    (&["-W", "-w", "-H"], "`--size WIDTHxHEIGHT` says how large"),
    (&["-m"], "`--model MODEL` says what paints"),
    (&["-v", "--verbose"], "progress is shown unless `--quiet` is given"),
    (&["--gpu", "--cuda", "--cpu"], "Sinopia computes on the processor; `--threads N` says on how much of it"),
    (&["--lora", "--vae", "--controlnet", "--refiner"], "Sinopia paints with a checkpoint as it is: `--model MODEL`"),
    (
        &["--init-image", "--image", "--strength"],
        "Sinopia paints from a caption and a layout; `--from IMAGE` repeats an image that it made",
    ),
];

/// Prints what clap says, with a hint if there is one. Help and versions are no mistakes.
pub(crate) fn report(mut error: clap::Error) -> ExitCode {
    let hint = hint(&error, &std::env::args_os().skip(1).collect::<Vec<_>>());
    if hint.is_some() {
        // Ours is about the word itself, clap's about its letters.
        for guess in [ContextKind::SuggestedArg, ContextKind::Suggested] {
            error.remove(guess);
        }
    }
    error.print().ok(); // whoever closed the pipe has seen enough
    if let Some(hint) = hint {
        terminal::tell(&format!("hint: {}", terminal::message(&hint)));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn hint(error: &clap::Error, typed: &[OsString]) -> Option<String> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => word.as_str(),
        _ => "",
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand
            if typed.first().is_some_and(|first| first == word(ContextKind::InvalidSubcommand)) =>
        {
            command_hint(word(ContextKind::InvalidSubcommand), typed)
        }
        // Which took the picture for a box.
        ErrorKind::MissingRequiredArgument
            if typed.first().is_some_and(|first| first == "edit") && typed.iter().any(|typed| typed == "--add") =>
        {
            Some("the picture stands before the flags: `sinopia edit PICTURE --add \"PHRASE\"`".to_owned())
        }
        ErrorKind::UnknownArgument => argument_hint(word(ContextKind::InvalidArg), typed),
        ErrorKind::InvalidUtf8 => {
            let odd = typed.iter().find(|typed| typed.to_str().is_none())?;
            Some(format!("`{}` is not UTF-8, which captions and names of models have to be", odd.to_string_lossy()))
        }
        _ => None,
    }
}

/// For a first word that is no command.
fn command_hint(word: &str, typed: &[OsString]) -> Option<String> {
    let path = Path::new(word);
    if let Some(kind) = Kind::of(path) {
        return Some(kind.use_of(path));
    }
    if path.exists() {
        return None;
    }
    if let Some((_, command)) = COMMANDS.iter().find(|(words, _)| words.contains(&word.to_lowercase().as_str())) {
        return Some(format!("that is `{command}`"));
    }
    if is_file_name(path) {
        return Some(format!("there is no file `{word}`"));
    }
    let words = typed.iter().take_while(|typed| !is_flag(typed)).count();
    let is_caption = word.contains(char::is_whitespace) || words > 2;
    is_caption.then(|| caption_hint("generate", typed))
}

/// For an argument that the command does not have.
fn argument_hint(argument: &str, typed: &[OsString]) -> Option<String> {
    let flag = argument.split('=').next().unwrap_or_default();
    if let Some((_, hint)) = FLAGS.iter().find(|(flags, _)| flags.contains(&flag)) {
        return Some((*hint).to_owned());
    }
    let command = typed.first()?.to_str()?;
    match (command, is_flag(OsStr::new(argument))) {
        ("generate" | "plan" | "export", false) => Some(caption_hint(command, typed.get(1..)?)),
        ("paint" | "inspect" | "convert" | "run", false) => {
            Some(format!("`sinopia {command}` takes one file at a time"))
        }
        _ => None,
    }
}

/// The words before the first flag, as one caption.
fn caption_hint(command: &str, typed: &[OsString]) -> String {
    let words: Vec<_> = typed.iter().take_while(|typed| !is_flag(typed)).map(|word| word.to_string_lossy()).collect();
    let caption = words.join(" ").replace('"', "\\\"");
    format!("a caption is one argument, in quotes: `sinopia {command} \"{caption}\"`")
}

fn is_flag(typed: &OsStr) -> bool {
    typed.to_string_lossy().starts_with('-')
}

/// Whether it is named as a file of ours is.
fn is_file_name(path: &Path) -> bool {
    let endings = ["png", "jpg", "jpeg", "webp", "json", "txt", "safetensors", "ckpt", "gguf", "toml"];
    path.extension().is_some_and(|ending| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Cli;
    use super::*;

    fn hint_for(line: &[&str]) -> Option<String> {
        let error = Cli::try_parse_from([&["sinopia"], line].concat()).unwrap_err();
        hint(&error, &line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn common_mistakes_have_a_way_out() {
        for (line, words) in [
            (&["two red apples"][..], "`sinopia generate \"two red apples\"`"),
            (&["two", "red", "apples", "--steps", "3"], "`sinopia generate \"two red apples\"`"),
            (&["generate", "two", "red", "apples"], "`sinopia generate \"two red apples\"`"),
            (&["plan", "a", "cat"], "`sinopia plan \"a cat\"`"),
            (&["nowhere.png"], "there is no file `nowhere.png`"),
            (&["webui"], "that is `sinopia serve`"),
            (&["serve", "--port", "80"], "`--listen HOST:PORT`"),
            (&["serve", "--port=80"], "`--listen HOST:PORT`"),
            (&["generate", "--prompt", "a cat"], "without a flag"),
            (&["paint", "a.json", "b.json"], "one file at a time"),
        ] {
            let hint = hint_for(line).unwrap_or_default();
            assert!(hint.contains(words), "{line:?}: {hint}");
        }
        for line in [&["paitn", "x.json"][..], &["cache", "lsit"], &["generate", "a cat", "--sedd", "3"]] {
            assert_eq!(hint_for(line), None, "{line:?}: clap knows better");
        }
    }
}
