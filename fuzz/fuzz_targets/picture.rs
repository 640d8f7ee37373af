//! Any bytes, as a picture from outside: no panic, and little memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia::pictures::decode;

/// Pixels of the pictures that are decoded here: what is larger is refused before that.
const PIXELS: u64 = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(picture) = decode(bytes, PIXELS) {
        assert!(u64::from(picture.width()) * u64::from(picture.height()) <= PIXELS);
    }
});
