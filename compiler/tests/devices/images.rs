//! Prompts with images against Hugging Face transformers, from several exporters, on both drivers.

use std::collections::BTreeMap;

use crate::common::verify::{compiled_with, report_with, sessions};
use crate::common::{copy_tree, golden, model};
use qwenc::model::entries::DecoderSizes;
use qwenc::pipeline::{CompileOptions, Silent, compile_to};
use qwenc_golden::{GoldenError, GoldenFile, VerifyOptions, verify};
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::gpu::probe::test_gpus;
use qwenc_runtime::image::{Preprocessor, Rgb};
use qwenc_runtime::session::{Picture, Positions, SessionError};
use qwenc_runtime::vision::{Grid, VisionError};

/// Largest difference of a logit; the float32 reference is some 1e-5 off its float64 value.
const LIMIT: f64 = 3e-4;
/// With a vision encoder in 16 bits.
const LIMIT_F16: f64 = 2e-2;

fn read(name: &str) -> GoldenFile {
    GoldenFile::read(&golden(name)).unwrap()
}

fn options() -> CompileOptions {
    CompileOptions { max_image_patches: 64, ..CompileOptions::default() }
}

fn check(dialect: &str, limit: f64) {
    check_files(dialect, &compiled_with(dialect, &options()).1, limit);
}

fn check_files(dialect: &str, files: &BTreeMap<String, Vec<u8>>, limit: f64) {
    for session in &mut sessions(files, &test_gpus().unwrap()) {
        for name in ["image", "two_images"] {
            let report = report_with(session, &read(name), limit, None);
            assert!(report.passed, "{dialect}, {name}:\n{report}");
        }
    }
}

#[test]
fn mobius() {
    check("mobius", LIMIT);
}

/// The folder has graphs only. Which token stands for images, the configuration beside them says.
#[test]
fn mobius_in_standard_operators() {
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&model("mobius_standard"), folder.path());
    for name in ["genai_config.json", "tokenizer.json"] {
        std::fs::copy(model("mobius").join(name), folder.path().join(name)).unwrap();
    }
    let mut files = BTreeMap::new();
    compile_to(folder.path(), &mut files, &options(), &mut Silent).unwrap();
    check_files("mobius_standard", &files, LIMIT);
}

#[test]
fn torch_with_a_vision_encoder_in_16_bits() {
    check("torch_q4", LIMIT_F16);
}

fn small_chunks() -> BTreeMap<String, Vec<u8>> {
    let options = CompileOptions {
        // One picture of the golden run at a time; its tokens go through several chunks.
        max_image_patches: 320,
        sizes: DecoderSizes { max_context: 256, prefill_chunk: 48 },
        ..CompileOptions::default()
    };
    compiled_with("genai015", &options).1
}

#[test]
fn pictures_are_prepared_encoded_one_after_another_and_cut_into_chunks() {
    let files = small_chunks();
    let bundle = Bundle::open(Memory { files: files.clone() }).unwrap();
    let preprocessor = Preprocessor::of_bundle(&bundle).unwrap();
    for session in &mut sessions(&files, &test_gpus().unwrap()) {
        for (name, limit) in [("pictures", LIMIT), ("image", LIMIT), ("two_images", LIMIT), ("text", 2e-4)] {
            let report = report_with(session, &read(name), limit, Some(preprocessor.clone()));
            assert!(report.passed, "{name}:\n{report}");
        }
        assert_eq!(session.rope_delta(), 0);
        refusals(session, &preprocessor);
    }
}

/// What does not fit is refused before anything is fed, and the session goes on.
fn refusals(
    session: &mut qwenc_runtime::session::Session<qwenc_runtime::gpu::Gpu>,
    preprocessor: &Preprocessor,
) {
    let facts = session.vision().unwrap().clone();
    let image = i32::try_from(facts.image_token).unwrap();
    session.reset().unwrap();
    let before = session.feed_pictures(&[1, 2, 3], &[], &[2]).unwrap();
    let values = vec![0.1; 8 * 1536];
    let picture = |h, w, values| Picture { grid: Grid::new(1, h, w).unwrap(), values };
    let mut fails = |ids: &[i32], pictures: &[Picture<'_>]| match session.feed_pictures(ids, pictures, &[]) {
        Err(SessionError::Vision(error)) => error,
        other => panic!("{other:?}"),
    };
    let one = [picture(2, 4, &values[..])];
    assert!(matches!(fails(&[image], &one), VisionError::ImageTokens { expected: 2, found: 1, .. }));
    assert!(matches!(fails(&[1, 2], &one), VisionError::NoTokens { image: 0, images: 1 }));
    assert!(matches!(fails(&[image], &[]), VisionError::NoPicture { at: 0, images: 0 }));
    assert!(matches!(fails(&[image], &[picture(2, 2, &values[..7])]), VisionError::Values { found: 7, .. }));
    assert!(matches!(fails(&[image], &[picture(20, 20, &values[..])]), VisionError::TooManyPatches { .. }));
    let long = Rgb::new(300, 1, vec![0; 900]).unwrap();
    assert!(preprocessor.prepare(&long).is_err());

    // Two tokens of a picture, which advance positions by two: none is skipped.
    session.feed_pictures(&[image, image, 5], &one, &[]).unwrap();
    assert_eq!((session.past(), session.rope_delta()), (6, 0));
    session.reset().unwrap();
    assert_eq!(session.feed_pictures(&[1, 2, 3], &[], &[2]).unwrap(), before);
    assert_eq!(session.feed(&[1], Positions::Text, &[]).unwrap(), Vec::<Vec<f32>>::new());

    let missing = verify(session, &read("pictures"), &VerifyOptions::default());
    assert!(matches!(missing, Err(GoldenError::Image { .. })));
}
