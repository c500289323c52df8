//! Golden files, good and malformed.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod maker;

use std::path::Path;

use maker::Maker;
use qwenc_golden::{GoldenError, GoldenFile, Image};

fn parse(maker: &Maker) -> Result<GoldenFile, GoldenError> {
    GoldenFile::parse("test.safetensors", &maker.bytes())
}

/// The error of a file that `change` has spoiled; it must name the file.
fn error_of(change: impl FnOnce(&mut Maker)) -> GoldenError {
    let mut maker = Maker::good();
    change(&mut maker);
    let error = parse(&maker).unwrap_err();
    assert!(error.to_string().contains("test.safetensors"), "{error}");
    error
}

#[test]
fn a_good_file() {
    let golden = parse(&Maker::good()).unwrap();
    assert_eq!(golden.ids(), [4, 2, 0]);
    assert_eq!(golden.splits(), [2, 1]);
    assert_eq!(golden.rows().collect::<Vec<_>>(), [(2, &[0.5, 1.0][..]), (0, &[2.0, -3.0][..])]);
    assert_eq!((golden.min_cosine(), golden.max_abs(), golden.source()), (0.999, None, None));
    assert!(golden.images().is_empty());
}

#[test]
fn metadata() {
    let mut maker = Maker::good();
    maker.metadata("min_cosine", "0.9999").metadata("max_abs", "2e-4").metadata("source", "by hand");
    let golden = parse(&maker).unwrap();
    assert_eq!(
        (golden.min_cosine(), golden.max_abs(), golden.source()),
        (0.9999, Some(2e-4), Some("by hand"))
    );
    for (key, value) in [
        ("min_cosine", "1.5"),
        ("min_cosine", "nan"),
        ("min_cosine", ""),
        ("max_abs", "-1"),
        ("max_abs", "inf"),
    ] {
        let error = error_of(|maker| {
            maker.metadata(key, value);
        });
        assert!(matches!(error, GoldenError::Metadata { .. }), "{error}");
    }
}

#[test]
fn missing_tensors() {
    for tensor in ["input_ids", "splits", "logit_positions", "logits"] {
        let error = error_of(|maker| maker.remove(tensor));
        assert!(matches!(error, GoldenError::MissingTensor { tensor: t, .. } if t == tensor), "{error}");
    }
}

#[test]
fn wrong_types_and_shapes() {
    let wrong = |error: GoldenError| assert!(matches!(error, GoldenError::TensorType { .. }), "{error}");
    wrong(error_of(|maker| maker.f32("input_ids", &[3], &[1.0; 3])));
    wrong(error_of(|maker| maker.i64("input_ids", &[1, 3], &[1; 3])));
    wrong(error_of(|maker| maker.i64("logits", &[2, 2], &[1; 4])));
    wrong(error_of(|maker| maker.f32("logits", &[4], &[1.0; 4])));
    wrong(error_of(|maker| maker.f32("logits", &[1, 2], &[1.0; 2])));
    wrong(error_of(|maker| maker.f32("image_3", &[1, 1, 3], &[1.0; 3])));
    wrong(error_of(|maker| maker.u8("image_0", &[1, 3], &[1; 3])));
}

#[test]
fn impossible_values() {
    let value = |error: GoldenError| assert!(matches!(error, GoldenError::Value { .. }), "{error}");
    value(error_of(|maker| maker.i64("input_ids", &[3], &[1, -1, 2])));
    value(error_of(|maker| maker.i64("input_ids", &[3], &[1, 1 << 40, 2])));
    value(error_of(|maker| maker.i64("logit_positions", &[2], &[0, 3])));
    value(error_of(|maker| maker.i64("logit_positions", &[2], &[-1, 0])));
    value(error_of(|maker| maker.i64("splits", &[3], &[3, 0, 0])));
    value(error_of(|maker| maker.f32("logits", &[2, 2], &[1.0, f32::NAN, 1.0, 1.0])));
}

#[test]
fn splits_must_feed_all_tokens() {
    for splits in [&[2_i64][..], &[2, 2], &[i64::MAX, i64::MAX, i64::MAX]] {
        let error = error_of(|maker| maker.i64("splits", &[splits.len()], splits));
        assert!(matches!(error, GoldenError::Splits { tokens: 3, .. }), "{error}");
    }
}

#[test]
fn a_file_that_checks_nothing_proves_nothing() {
    let error = error_of(|maker| {
        maker.i64("logit_positions", &[0], &[]);
        maker.f32("logits", &[0, 2], &[]);
    });
    assert!(matches!(error, GoldenError::NothingToCheck { .. }), "{error}");
    let error = error_of(|maker| maker.f32("logits", &[2, 0], &[]));
    assert!(matches!(error, GoldenError::NothingToCheck { .. }), "{error}");
}

#[test]
fn images() {
    let mut maker = Maker::good();
    maker.u8("image_0", &[1, 2, 3], &[7; 6]);
    maker.f32("pixel_values", &[4, 5], &[0.5; 20]);
    maker.i64("image_grid_thw", &[1, 3], &[1, 2, 2]);
    let golden = parse(&maker).unwrap();
    let [Image::Rgb { height: 1, width: 2, .. }, Image::Patches { width: 5, grids, .. }] = golden.images()
    else {
        panic!("{:?}", golden.images());
    };
    assert_eq!(grids, &[[1, 2, 2]]);
    let error = error_of(|maker| maker.f32("pixel_values", &[4, 5], &[0.5; 20]));
    assert!(matches!(error, GoldenError::MissingTensor { tensor: "image_grid_thw", .. }), "{error}");
    let error = error_of(|maker| {
        maker.f32("pixel_values", &[4, 5], &[0.5; 20]);
        maker.i64("image_grid_thw", &[1, 3], &[1, -2, -2]);
    });
    assert!(matches!(error, GoldenError::Value { .. }), "{error}");
}

#[test]
fn bytes_that_are_no_golden_file() {
    let good = Maker::good().bytes();
    let cut =
        [&[][..], &good[..7], &good[..20], &good[..good.len() - 1], b"\xFF\xD8\xFF\xE0 JPEG", &[0xFF; 64]];
    for content in cut {
        let error = GoldenFile::parse("test.safetensors", content).unwrap_err();
        assert!(matches!(error, GoldenError::NotSafetensors { .. }), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), &folder.path().join("absent.safetensors")] {
        let error = GoldenFile::read(path).unwrap_err();
        assert!(matches!(error, GoldenError::Io { .. }), "{error}");
    }
}

#[test]
fn the_projects_own_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
    for (name, tokens, calls) in [("text", 22, 6), ("split", 22, 8), ("long", 150, 1)] {
        let golden = GoldenFile::read(&folder.join(name).with_extension("safetensors")).unwrap();
        assert_eq!(
            (golden.ids().len(), golden.splits().len(), golden.rows().count()),
            (tokens, calls, tokens)
        );
        assert_eq!(golden.vocabulary(), 512);
        assert!(golden.source().is_some());
    }
}
