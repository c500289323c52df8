//! The loader: any files are a bundle or an error, and a bundle that is accepted keeps to its word. Every entry point
//! is replayed at the corners of its symbols on a GPU that checks each range and count (`runtime/tests/hostile`).

#![no_main]

#[path = "../../../runtime/tests/checking/mod.rs"]
mod checking;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use qwenc_fuzz::rng::Rng;
use qwenc_fuzz::{json, pack};
use qwenc_runtime::bundle::Bundle;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rng = Rng::new(seed);
    let (sealed, mut files) = pack::unpack(data.get(..size).unwrap_or_default());
    let texts = ["manifest.json", "schedule.json", "schedule.json", "schedule.json"];
    let text = rng.pick(&texts).and_then(|path| files.get_mut(*path));
    if let Some(text) = text.filter(|_| !rng.one_in(6))
        && let Ok(mut value) = serde_json::from_slice(text)
    {
        for _ in 0..=rng.below(3) {
            json::mutate(&mut value, &mut rng);
        }
        *text = value.to_string().into_bytes();
        let bytes = pack::pack(sealed, &files);
        if let Some(room) = data.get_mut(..bytes.len()).filter(|_| bytes.len() <= max_size) {
            room.copy_from_slice(&bytes);
            return bytes.len();
        }
    }
    libfuzzer_sys::fuzzer_mutate(data, size, max_size)
});

fuzz_target!(|data: &[u8]| {
    if let Ok(bundle) = Bundle::open(pack::bundle(data)) {
        checking::replay_corners(&bundle);
    }
});
