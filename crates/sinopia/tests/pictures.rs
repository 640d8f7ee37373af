//! Pictures as people have them: of other programs, of other kinds, changed, or made to do harm.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/compatibility/pictures/sd.png");
const LAYOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/blue-dog-white-bowl.json");
const A1111: &str = "a blue dog, (white bowl:1.2) <lora:fluffy:0.5>\nNegative prompt: (blurry)\nSteps: 2, Sampler: DPM++ 2M Karras, CFG scale: 4.5, \
                     Seed: 4711, Size: 40x48, Model: v1-5, Clip skip: 2, Version: v1.9.4";

/// A scratch folder and the program, started inside it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
        command.current_dir(self.0.path()).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// stdout and stderr of what must succeed.
    fn ok(&self, args: &[&str]) -> [String; 2] {
        let output = self.run(args);
        let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "{args:?}\n{}", texts[1]);
        texts
    }

    /// Checks that the program ends with 2 and a message that holds every one of `words`.
    fn refuses(&self, args: &[&str], words: &[&str]) {
        let output = self.run(args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}\n{message}");
        assert!(!message.contains("panicked") && output.stdout.is_empty(), "{message}");
        for word in words {
            assert!(message.contains(word), "{args:?}: `{word}` is missing in\n{message}");
        }
    }

    fn inspected(&self, name: &str) -> Value {
        serde_json::from_str(&self.ok(&["inspect", name, "--json"])[0]).unwrap()
    }
}

/// A PNG of one pixel with texts in it.
fn png(texts: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    for (keyword, text) in texts {
        encoder.add_itxt_chunk((*keyword).to_owned(), (*text).to_owned()).unwrap();
    }
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
    bytes
}

/// Our own picture with a value of its recipe changed.
fn changed(pointer: &str, to: Value) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(std::fs::read(OURS).unwrap())).read_info().unwrap();
    reader.finish().unwrap();
    let text = reader.info().utf8_text.iter().find(|text| text.keyword == "sinopia").unwrap().get_text().unwrap();
    let mut recipe: Value = serde_json::from_str(&text).unwrap();
    *recipe.pointer_mut(pointer).unwrap() = to;
    png(&[("sinopia", &recipe.to_string())])
}

/// A PNG of less than 400 kB whose recipe inflates to 256 MB.
fn bomb() -> Vec<u8> {
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let piece = vec![b'a'; 1 << 20];
    (0..256).for_each(|_| deflated.write_all(&piece).unwrap());
    let data = [b"sinopia\0\x01\0\0\0", &deflated.finish().unwrap()[..]].concat();
    let mut crc = flate2::Crc::new();
    crc.update(b"iTXt");
    crc.update(&data);
    let chunk = [&(data.len() as u32).to_be_bytes(), &b"iTXt"[..], &data, &crc.sum().to_be_bytes()].concat();
    let mut bytes = png(&[]);
    bytes.splice(33..33, chunk); // behind the header
    assert!(bytes.len() < 400_000);
    bytes
}

#[test]
fn a_bomb_is_refused() {
    let desk = Desk::new();
    desk.put("bomb.png", &bomb());
    for args in [&["inspect", "bomb.png"][..], &["generate", "--from", "bomb.png"], &["run", "bomb.png"]] {
        desk.refuses(args, &["bomb.png", "`sinopia`", "1048576 bytes"]);
    }
}

#[test]
fn pictures_of_other_programs_are_told() {
    let desk = Desk::new();
    desk.put("a.png", &png(&[("parameters", A1111)]));
    let [shown, _] = desk.ok(&["inspect", "a.png"]);
    insta::assert_snapshot!(shown.trim_end(), @"
    made by     Stable Diffusion web UI v1.9.4
    prompt      a blue dog, (white bowl:1.2) <lora:fluffy:0.5>
    negative    (blurry)
    seed        4711
    size        40 × 48 px
    steps       2
    cfg         4.5
    sampler     DPM++ 2M Karras
    model       v1-5
    other       Clip skip: 2
    ");
    let made = &desk.inspected("a.png")["foreign"];
    assert_eq!((&made["caption"], &made["negative"]), (&json!("a blue dog, white bowl"), &json!("blurry")));
    assert_eq!((&made["seed"], &made["guidance_scale"], &made["width"]), (&json!("4711"), &json!(4.5), &json!(40)));
    assert_eq!(made["notes"].as_array().unwrap().len(), 5, "{made:#}");
}

#[test]
fn what_a_foreign_picture_says_is_painted_and_what_cannot_be_is_told() {
    let desk = Desk::new();
    desk.put("a.png", &png(&[("parameters", A1111)]));
    let args = [
        "generate",
        "--from",
        "a.png",
        "--layout",
        LAYOUT,
        "--method",
        "multidiffusion",
        "--threads",
        "1",
        "--out",
        "b.png",
    ];
    let [_, told] = desk.ok(&args);
    for part in [
        "`a.png` is from Stable Diffusion web UI",
        "weights",
        "<lora:fluffy:0.5>",
        "DPM++ 2M Karras",
        "v1-5",
        "Clip skip",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let recipe = desk.inspected("b.png");
    let sampling = &recipe["sampling"];
    assert_eq!((&recipe["caption"], &recipe["negative"]), (&json!("a blue dog, white bowl"), &json!("blurry")));
    assert_eq!((&sampling["seed"], &sampling["width"], &sampling["height"]), (&json!(4711), &json!(40), &json!(48)));
    assert_eq!((&sampling["num_inference_steps"], &sampling["guidance_scale"]), (&json!(2), &json!(4.5)));
    // What is typed wins.
    desk.ok(&[&args[..9], &["1", "--seed", "3", "--width", "32", "--height", "32", "--out", "c.png"]].concat());
    assert_eq!(desk.inspected("c.png")["sampling"]["seed"], 3);
    desk.ok(&[&args[..9], &["1", "--size", "32x24", "--out", "e.png"]].concat());
    let sampling = &desk.inspected("e.png")["sampling"];
    assert_eq!((&sampling["width"], &sampling["height"]), (&json!(32), &json!(24)));
    desk.refuses(&[&args[..9], &["1", "--model", "miniature", "--variant", "fp16"]].concat(), &["no variant `fp16`"]);
    desk.put("none.png", &png(&[("prompt", r#"{"1": {"class_type": "LoadImage", "inputs": {}}}"#)]));
    desk.refuses(&["generate", "--from", "none.png"], &["none.png", "ComfyUI", "write the caption"]);
    desk.put("far.png", &png(&[("parameters", "a dog\nSteps: 5000, CFG scale: 0.5, Seed: 1, Size: 9000x48")]));
    let [_, told] = desk.ok(&["generate", "--from", "far.png", "--layout", LAYOUT, "--steps", "1", "--out", "d.png"]);
    for part in ["the width 9000 is not kept", "steps 5000", "guidance scale 0.5"] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
}

#[test]
fn other_files_are_called_what_they_are() {
    let desk = Desk::new();
    desk.put("x.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\xfe\xfd");
    desk.put("x.webp", b"RIFF\x10\0\0\0WEBPVP8 \xff\xfe");
    desk.put("silent.png", &png(&[("Software", "GIMP")]));
    for (file, kind) in [("x.jpg", "JPEG"), ("x.webp", "WebP")] {
        desk.refuses(&["inspect", file], &[file, kind, "not a PNG"]);
        desk.refuses(&["generate", "--from", file], &[file, kind, "not a PNG"]);
        desk.refuses(&["generate", "a dog", "--layout", file], &[file, kind, "picture"]);
        desk.refuses(&["convert", file, "--to", "json", "--out", "y.json"], &[file, kind, "picture"]);
        desk.refuses(&["run", file], &[file, kind, "picture"]);
    }
    desk.refuses(&["inspect", "silent.png"], &["silent.png", "says nothing about how it was made"]);
    desk.refuses(&["generate", "a dog", "--layout", "silent.png"], &["silent.png", "PNG picture"]);
    desk.put("latin1.txt", b"caf\xe9");
    desk.refuses(&["generate", "a dog", "--layout", "latin1.txt"], &["latin1.txt", "not text in UTF-8"]);
}

#[test]
fn what_a_recipe_asks_for_and_is_not_there_is_named() {
    let desk = Desk::new();
    desk.put("method.png", &changed("/method", json!("dreamt-up")));
    desk.put("option.png", &changed("/options", json!({"dreamt_up": 1})));
    desk.put("scheduler.png", &changed("/sampling/scheduler", json!("dreamt-up")));
    for (file, name) in [("method.png", "unknown method `dreamt-up`"), ("option.png", "`dreamt_up`")] {
        desk.refuses(&["generate", "--from", file], &[name]);
        let [shown, told] = desk.ok(&["inspect", file]);
        assert!(
            shown.contains("dreamt") && told.contains("cannot paint it again") && told.contains(name),
            "{shown}\n{told}"
        );
    }
    desk.refuses(&["generate", "--from", "scheduler.png"], &["scheduler.png", "dreamt-up"]);
    // With another method the recipe's options count no more; what is left is that picture's.
    desk.ok(&["generate", "--from", "method.png", "--method", "sd", "--steps", "1", "--out", "other.png"]);
    assert_eq!(desk.inspected("other.png")["method"], "sd");
}

/// A server that answers without an end.
#[test]
fn an_answer_without_an_end_is_read_to_its_limit() {
    let desk = Desk::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = std::io::Read::read(&mut client, &mut [0; 4096]);
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n");
        let piece = vec![b' '; 1 << 20];
        while client.write_all(&piece).is_ok() {}
    });
    let output = desk.run(&["generate", "a dog", "--server", &address, "--out", "x.png"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("more than 134217728 bytes"), "{message}");
}

#[test]
fn files_without_an_end_are_read_to_their_limit() {
    let desk = Desk::new();
    for (name, limit, args) in [
        ("large.toml", 1_048_576, &["generate", "a dog", "--config", "large.toml"][..]),
        ("large.jinja", 262_144, &["plan", "a dog", "--llm-model", "x", "--template", "large.jinja"]),
        ("large.json", 67_108_864, &["generate", "a dog", "--layout", "large.json"]),
        ("large.token", 65_536, &["serve", "--token-file", "large.token"]),
        ("large.png", 134_217_728, &["inspect", "large.png"]),
    ] {
        let file = std::fs::File::create(desk.0.path().join(name)).unwrap();
        file.set_len(limit + 1).unwrap(); // sparse
        desk.refuses(args, &[name, &format!("more than {limit} bytes")]);
    }
}
