//! Loading takes hardly more memory than the weights themselves.
//!
//! A counting allocator measures the heap; on Linux the kernel's own figure of the process's peak, mapped files included, is checked too.
//! One test in a binary of its own, so that nothing else allocates meanwhile.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, and its figures are worth seeing")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle_core::{Device, Tensor};
use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sinopia_models::{Precision, Weights};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "the only way to count allocations")]
// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; the pointer came from `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// 32 tensors of 2 MiB in f16: a file of 64 MiB.
const NUM_TENSORS: usize = 32;
const SHAPE: [usize; 2] = [1024, 1024];
const NUM_WEIGHTS: usize = NUM_TENSORS * SHAPE[0] * SHAPE[1];

#[test]
fn peak_memory_is_at_most_fifteen_percent_above_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    write(&path);

    // First in a fresh process, where the kernel's figure means something: later rounds reuse memory that the allocator has not given
    // back, and appear to need none.
    let resident_before = reset_resident_peak();
    let (size, heap) = load(&path, Precision::Auto, 2);
    check("heap, auto", heap, size);
    if let (Some(before), Some(peak)) = (resident_before, resident_kib("VmHWM:")) {
        check("resident memory, auto", (peak - before) * 1024, size);
    }
    for (precision, bytes_a_weight) in [(Precision::Bf16, 2), (Precision::F32, 4)] {
        let (size, heap) = load(&path, precision, bytes_a_weight);
        check(&format!("heap, {precision:?}"), heap, size);
    }
}

/// Loads everything; the size of the weights in memory and the heap's peak while loading, in bytes.
fn load(path: &std::path::Path, precision: Precision, bytes_a_weight: usize) -> (usize, usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let weights = Weights::open(&[path.to_owned()], &Device::Cpu, precision).unwrap();
    let tensors: Vec<Tensor> = weights.names().iter().map(|name| weights.get(name, &SHAPE).unwrap()).collect();
    assert_eq!(tensors.len(), NUM_TENSORS);
    (NUM_WEIGHTS * bytes_a_weight, PEAK.load(Relaxed) - before)
}

fn check(what: &str, peak: usize, weights_size: usize) {
    let ratio = peak as f64 / weights_size as f64;
    println!("peak of {what}: {ratio:.3} × the weights");
    assert!(ratio <= 1.15, "{what}: {ratio:.3}");
    assert!(ratio >= 0.9, "{what} measures nothing: {ratio:.3}");
}

/// Written piece by piece, so that the test itself never holds the file.
fn write(path: &std::path::Path) {
    let tensor: Vec<u8> = (0..SHAPE[0] * SHAPE[1]).flat_map(|i| f16::from_f32((i % 97) as f32).to_le_bytes()).collect();
    let views = (0..NUM_TENSORS)
        .map(|i| (format!("layer.{i}.weight"), TensorView::new(Dtype::F16, SHAPE.to_vec(), &tensor).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// Sets the kernel's peak to the present figure and returns it in KiB; nothing where there is no such figure.
fn reset_resident_peak() -> Option<usize> {
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    resident_kib("VmRSS:")
}

fn resident_kib(key: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
