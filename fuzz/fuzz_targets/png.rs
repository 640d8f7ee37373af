//! Any bytes, as a PNG and as the content of each text that programs write into one: no panic, and little memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia::pictures::{Origin, read};

const KEYWORDS: [&str; 16] = [
    "sinopia",
    "parameters",
    "prompt",
    "workflow",
    "invokeai_metadata",
    "sd-metadata",
    "Dream",
    "Software",
    "Comment",
    "Description",
    "XML:com.adobe.xmp",
    "negative_prompt",
    "seed",
    "width",
    "use_stable_diffusion_model",
    "guidance_scale",
];

fuzz_target!(|bytes: &[u8]| {
    tell(bytes);
    let Some((choice, content)) = bytes.split_first() else { return };
    let keyword = KEYWORDS[usize::from(choice % 16)].as_bytes();
    let text = match choice / 16 % 4 {
        0 => chunk(b"tEXt", &[keyword, b"\0", content].concat()),
        1 => chunk(b"zTXt", &[keyword, b"\0\0", content].concat()),
        2 => chunk(b"iTXt", &[keyword, b"\0\x01\0\0\0", content].concat()),
        _ => chunk(b"iTXt", &[keyword, b"\0\0\0\0\0", content].concat()),
    };
    // NovelAI's texts come in pairs.
    let software = chunk(b"tEXt", b"Software\0NovelAI");
    let software = if choice / 64 == 3 { software } else { Vec::new() };
    let header = chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
    tell(&[b"\x89PNG\r\n\x1a\n".to_vec(), header, software, text, chunk(b"IEND", &[])].concat());
});

fn tell(bytes: &[u8]) {
    if let Ok(Origin::Foreign(made)) = read(bytes) {
        let _ = (made.caption(), made.plain_negative(), made.notes());
    }
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes(), &kind[..], data, &crc.sum().to_be_bytes()].concat()
}
