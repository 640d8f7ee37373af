//! Any bytes, as a safetensors file: no panic, and no tensor is larger than the file.

#![no_main]

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use sinopia_models::{Precision, Weights};

fuzz_target!(|bytes: &[u8]| {
    let kept = Box::into_raw(Box::<[u8]>::from(bytes));
    // SAFETY: the box is given back below, when nothing of it is in use.
    let lent: &'static [u8] = unsafe { &*kept };
    if let Ok(weights) = Weights::from_bytes("any bytes", lent, &Device::Cpu, Precision::Auto) {
        for name in weights.names() {
            let shape = weights.shape(&name).expect("a name has a shape");
            let _ = weights.get(&name, &shape);
        }
    }
    // SAFETY: as above; the weights are gone.
    drop(unsafe { Box::from_raw(kept) });
});
