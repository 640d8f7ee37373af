//! Any bytes, as a PyTorch archive, and as the pickle in one: no panic, and little memory.

#![no_main]

use std::io::Write;

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use sinopia_models::{Precision, Weights};

fuzz_target!(|bytes: &[u8]| {
    open(bytes);
    open(&archive(bytes));
});

fn open(bytes: &[u8]) {
    let mut file = tempfile::Builder::new().suffix(".bin").tempfile().expect("a scratch file");
    file.write_all(bytes).expect("room for it");
    if let Ok(weights) = Weights::open(&[file.path().to_owned()], &Device::Cpu, Precision::Auto) {
        for name in weights.names() {
            let shape = weights.shape(&name).unwrap_or_default();
            let _ = weights.get(&name, &shape);
        }
    }
}

/// A ZIP archive that holds `pickle` where PyTorch has it, and 16 numbers.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for (name, content) in [("archive/data.pkl", pickle), ("archive/data/0", &[0; 64])] {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let length = content.len() as u32;
        let mut common = [20, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
        common.extend([crc.sum().to_le_bytes(), length.to_le_bytes(), length.to_le_bytes()].concat());
        common.extend([name.len() as u8, 0, 0, 0]);
        let offset = (archive.len() as u32).to_le_bytes();
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &offset, name.as_bytes()].concat());
        archive.extend([b"PK\x03\x04", &common[..], name.as_bytes(), content].concat());
    }
    let (start, length) = ((archive.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    archive.extend([&directory[..], b"PK\x05\x06", &[0, 0, 0, 0, 2, 0, 2, 0], &length, &start, &[0, 0]].concat());
    archive
}
