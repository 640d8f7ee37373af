//! Any bytes, as a file of packed weights: no panic, whatever its head and index say.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = sinopia_models::packs::check(bytes);
    // The checksum of the index, which no fuzzer guesses, set right.
    let _ = sinopia_models::packs::check(&sinopia_models::packs::sealed(bytes));
});
