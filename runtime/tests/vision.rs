//! Tables and positions of pictures against what transformers computed (`models/scripts/vision_tables.py`).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use qwenc_runtime::format::VisionFacts;
use qwenc_runtime::vision::{Grid, VisionError, rope_index, tables};
use safetensors::SafeTensors;

fn facts() -> VisionFacts {
    VisionFacts {
        max_patches: 4096,
        patch_values: 1536,
        feature_size: 64,
        merge_size: 2,
        position_side: 48,
        max_side: 4096,
        image_token: 508,
        vision_start: 505,
        vision_end: 506,
    }
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn words<const N: usize, T>(file: &SafeTensors<'_>, name: &str, of: impl Fn([u8; N]) -> T) -> Vec<T> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().chunks_exact(N).map(|bytes| of(bytes.try_into().unwrap())).collect()
}

fn ints(file: &SafeTensors<'_>, name: &str) -> Vec<i32> {
    words(file, name, i32::from_le_bytes)
}

fn grid(t: u32, h: u32, w: u32) -> Grid {
    Grid::new(t, h, w).unwrap()
}

/// Bits of weights, where both zeros are one: the sign of a zero weight means nothing.
fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| (weight + 0.0).to_bits()).collect()
}

#[test]
fn tables_are_those_of_transformers() {
    let bytes = read("vision_tables.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let names: Vec<&str> = file.names().into_iter().filter_map(|n| n.strip_suffix(".segments")).collect();
    assert_eq!(names.len(), 8);
    for name in names {
        let parts: Vec<&str> = name.split('.').collect();
        let [side, merge, grids] = parts.as_slice() else { panic!("{name}") };
        let number = |text: &str| text.parse::<u32>().unwrap();
        let facts = VisionFacts { position_side: number(side), merge_size: number(merge), ..facts() };
        let grids: Vec<Grid> = grids
            .split('_')
            .map(|grid| match grid.split('x').map(number).collect::<Vec<_>>().as_slice() {
                [t, h, w] => Grid::new(*t, *h, *w).unwrap(),
                _ => panic!("{name}"),
            })
            .collect();
        let found = tables(&grids, &facts).unwrap();
        let of = |what: &str| format!("{name}.{what}");
        assert_eq!(found.position_index, ints(&file, &of("position_index")), "{name}");
        let weights = words(&file, &of("position_weight"), f32::from_le_bytes);
        assert_eq!(bits(&found.position_weight), bits(&weights), "{name}");
        assert_eq!(found.patch_positions, ints(&file, &of("patch_positions")), "{name}");
        assert_eq!(found.segments, ints(&file, &of("segments")), "{name}");
    }
}

#[test]
fn grids_that_do_not_fit_are_refused() {
    let facts = VisionFacts { max_patches: 64, max_side: 16, ..facts() };
    let fails = |grids: &[Grid]| tables(grids, &facts).unwrap_err();
    assert!(matches!(Grid::new(1, 0, 2), Err(VisionError::Side { h: 0, .. })));
    assert!(matches!(Grid::new(u32::MAX, 2, 2), Err(VisionError::Side { .. })));
    assert!(matches!(fails(&[grid(1, 3, 4)]), VisionError::Blocks { h: 3, w: 4, merge_size: 2 }));
    assert!(matches!(fails(&[grid(1, 2, 18)]), VisionError::TooLong { w: 18, max_side: 16, .. }));
    assert!(matches!(fails(&[grid(1, 8, 10)]), VisionError::TooManyPatches { patches: 80, .. }));
    let many = [grid(1, 8, 6), grid(1, 4, 6)];
    assert!(matches!(fails(&many), VisionError::TooManyPatches { patches: 72, max_patches: 64 }));
    assert!(tables(&[grid(1, 8, 6), grid(1, 4, 4)], &facts).is_ok());
}

#[test]
fn positions_are_those_of_transformers() {
    let bytes = read("rope_index.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let names: Vec<&str> = file.names().into_iter().filter_map(|n| n.strip_suffix(".ids")).collect();
    assert_eq!(names.len(), 7);
    for name in names {
        let of = |what: &str| ints(&file, &format!("{name}.{what}"));
        let sides: Vec<u32> = of("grids").iter().map(|side| side.cast_unsigned()).collect();
        let grids: Vec<Grid> = sides.chunks_exact(3).map(|g| grid(g[0], g[1], g[2])).collect();
        let found = rope_index(&of("ids"), &grids, &facts(), 0, 0).unwrap();
        assert_eq!(found.positions, of("positions"), "{name}");
        assert_eq!(vec![found.rope_delta], of("rope_delta"), "{name}");
    }
}

#[test]
fn a_prompt_in_two_calls_has_the_same_positions() {
    let bytes = read("rope_index.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ids = ints(&file, "two.ids");
    let whole = ints(&file, "two.positions");
    // The first picture and one token after it, then the rest.
    let cut = 3 + 8 + 1;
    let (head, tail) = ids.split_at(cut);
    let first = rope_index(head, &[grid(1, 8, 4)], &facts(), 0, 0).unwrap();
    let second = rope_index(tail, &[grid(1, 2, 10)], &facts(), 12, first.rope_delta).unwrap();
    for axis in 0..3 {
        let joined = [
            &first.positions[axis * cut..(axis + 1) * cut],
            &second.positions[axis * tail.len()..(axis + 1) * tail.len()],
        ]
        .concat();
        assert_eq!(joined, &whole[axis * ids.len()..(axis + 1) * ids.len()]);
    }
    assert_eq!(vec![second.rope_delta], ints(&file, "two.rope_delta"));
}

#[test]
fn runs_of_image_tokens_and_pictures_must_agree() {
    let fails = |ids: &[i32], grids: &[Grid]| rope_index(ids, grids, &facts(), 0, 0).unwrap_err();
    let small = grid(1, 2, 4);
    assert_eq!(fails(&[1, 508, 508], &[]), VisionError::NoPicture { at: 1, images: 0 });
    assert_eq!(fails(&[1, 508, 2], &[small]), VisionError::ImageTokens { image: 0, expected: 2, found: 1 });
    assert_eq!(fails(&[508, 508, 508], &[small]), VisionError::NoPicture { at: 2, images: 1 });
    assert_eq!(fails(&[508, 508, 3], &[small, small]), VisionError::NoTokens { image: 1, images: 2 });
    assert!(rope_index(&[508; 4], &[small, small], &facts(), 0, 0).is_ok());
    let high = rope_index(&[1, 2], &[], &facts(), u32::MAX, 0).unwrap_err();
    assert_eq!(high, VisionError::Positions);
}
