//! Pictures against what transformers and Pillow made of them (`models/scripts/image_golden.py`).
#![cfg(feature = "image")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of generated pictures")]

use std::path::Path;

use qwenc_runtime::image::{ImageError, Preprocessor, Rgb, decode};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

/// More patches than any picture of the recording has.
const MANY: u32 = 1 << 20;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// The picture that the script makes, too.
fn picture(height: u32, width: u32) -> Rgb {
    let mut bytes = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let texture = ((x * 7) ^ (y * 13)) & 63;
            bytes.extend((0..3).map(|c| ((x * (3 + c) + y * (5 - c) + texture) & 255) as u8));
        }
    }
    Rgb::new(width, height, bytes).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn per_channel(config: &serde_json::Value, key: &str) -> [f64; 3] {
    [0, 1, 2].map(|c| config[key][c].as_f64().unwrap())
}

#[test]
fn patches_are_those_of_the_reference() {
    let bytes = data("preprocess.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let names: Vec<&str> = file.names().into_iter().filter_map(|n| n.strip_suffix(".config")).collect();
    assert_eq!(names.len(), 17);
    for name in names {
        let tensor = |what: &str| file.tensor(&format!("{name}.{what}")).unwrap().data().to_vec();
        let (height, rest) = name.split_once('x').unwrap();
        let (width, _) = rest.split_once('.').unwrap();
        let (height, width) = (height.parse().unwrap(), width.parse().unwrap());
        let config = tensor("config");
        let preprocessor = Preprocessor::from_config(&config, MANY).unwrap();
        let patches = preprocessor.prepare(&picture(height, width)).unwrap();
        let grid: Vec<u32> =
            tensor("grid").chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect();
        assert_eq!([patches.grid.t(), patches.grid.h(), patches.grid.w()], grid[..], "{name}");
        assert_eq!(preprocessor.grid(width, height).unwrap(), patches.grid, "{name}");

        // Every byte after resizing, in patch order.
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let (mean, std) = (per_channel(&config, "image_mean"), per_channel(&config, "image_std"));
        let per_patch = patches.values.len() / usize::try_from(patches.grid.patches()).unwrap();
        let byte = |(at, value): (usize, &f32)| {
            let channel = at % per_patch / (per_patch / 3);
            ((f64::from(*value) * std[channel] + mean[channel]) * 255.0).round() as u8
        };
        let resized: Vec<u8> = patches.values.iter().enumerate().map(byte).collect();
        assert_eq!(Sha256::digest(&resized)[..], tensor("sha256"), "{name}: resized pixels differ");

        let expected = floats(&tensor("values"));
        let step = if expected.len() == patches.values.len() { 1 } else { patches.values.len() / 256 };
        let found = patches.values.iter().step_by(step).take(expected.len());
        assert!(expected.len() >= 256);
        for (at, (found, expected)) in found.zip(&expected).enumerate() {
            assert!((found - expected).abs() < 1e-6, "{name}: value {at} is {found}, not {expected}");
        }
    }
}

/// Largest and mean difference of a file's pixels from the recorded ones.
fn difference(file: &SafeTensors<'_>, name: &str) -> (u8, f64) {
    let picture = decode(file.tensor(&format!("{name}.file")).unwrap().data())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected = file.tensor(&format!("{name}.rgb")).unwrap();
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    assert_eq!(expected.shape(), [height, width, 3], "{name}");
    let differences: Vec<u8> =
        picture.bytes().iter().zip(expected.data()).map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: f64 = differences.iter().map(|d| f64::from(*d)).sum();
    (differences.iter().copied().max().unwrap(), sum / differences.len() as f64)
}

#[test]
fn files_are_decoded_as_pillow_does() {
    let bytes = data("image_files.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let names: Vec<&str> = file.names().into_iter().filter_map(|n| n.strip_suffix(".file")).collect();
    assert_eq!(names.len(), 19);
    for name in names {
        let (largest, mean) = difference(&file, name);
        let lossless = name.ends_with(".png") || name == "lossless.webp" || name == "alpha.webp";
        // Decoders of lossy formats may round differently, and blow chroma up with other filters.
        let (most, average) = if lossless { (0, 0.0) } else { (12, 2.0) };
        assert!(largest <= most && mean <= average, "{name}: {largest} at most, {mean} on average");
    }
}

#[test]
fn cut_off_files_are_errors() {
    let bytes = data("image_files.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for name in
        ["rgb.png", "grey16.png", "rgb.jpg", "progressive.jpg", "rotated.jpg", "lossless.webp", "lossy.webp"]
    {
        let whole = file.tensor(&format!("{name}.file")).unwrap();
        let whole = whole.data();
        for keep in [13, 30, whole.len() / 2, whole.len() - 20] {
            let error = decode(&whole[..keep.min(whole.len() - 20)]);
            assert!(matches!(error, Err(ImageError::Damaged(_))), "{name} cut at {keep}: {error:?}");
        }
    }
    for text in
        ["", "not a picture\n", "<svg xmlns='http://www.w3.org/2000/svg'/>", "GIF89a\x01\0\x01\0\0\0\0;"]
    {
        assert_eq!(decode(text.as_bytes()), Err(ImageError::UnknownFormat), "{text:?}");
    }
}

#[test]
fn damaged_files_never_panic() {
    let bytes = data("image_files.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut state = 1_u32;
    for name in file.names().into_iter().filter(|name| name.ends_with(".file")) {
        let whole = file.tensor(name).unwrap().data().to_vec();
        for _ in 0..60 {
            let mut damaged = whole.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % damaged.len();
                damaged[at] = state as u8;
            }
            if let Ok(picture) = decode(&damaged) {
                assert_eq!(picture.bytes().len(), (picture.width() * picture.height() * 3) as usize);
            }
        }
    }
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

/// A PNG of 8-bit RGB whose header says this size, whatever its data.
fn png(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    for (kind, content) in [(b"IHDR", header.as_slice()), (b"IDAT", data), (b"IEND", &[])] {
        out.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        let body = [kind, content].concat();
        out.extend(&body);
        out.extend(crc(&body).to_be_bytes());
    }
    out
}

#[test]
fn sizes_are_refused_before_pixels_are_decoded() {
    // An empty deflate stream: enough if nothing is decoded.
    let nothing = [0x78, 0x9C, 0x03, 0, 0, 0, 0, 1];
    let error = |width, height| decode(&png(width, height, &nothing)).unwrap_err();
    assert!(matches!(error(20_000, 20_000), ImageError::TooLarge { width: 20_000, height: 20_000, .. }));
    assert!(matches!(error(16_000, 16_000), ImageError::TooLarge { .. }));
    assert!(matches!(error(u32::MAX >> 1, 1), ImageError::TooLarge { .. }));
    assert!(matches!(error(0, 0), ImageError::Empty { .. } | ImageError::Damaged(_)), "{:?}", error(0, 0));
    assert!(matches!(error(8000, 8000), ImageError::Damaged(_)), "{:?}", error(8000, 8000));

    let bytes = data("image_files.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut jpeg = file.tensor("rgb.jpg.file").unwrap().data().to_vec();
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xFF);
    assert!(matches!(decode(&jpeg), Err(ImageError::TooLarge { width: 65_535, height: 65_535, .. })));
    let mut webp = file.tensor("lossless.webp.file").unwrap().data().to_vec();
    // 14 bits of width and of height, less one, behind the signature of lossless data.
    let header = webp.windows(4).position(|part| part == b"VP8L").unwrap();
    webp[header + 9..header + 12].copy_from_slice(&[0xFE, 0xBF, 0xFF]);
    webp[header + 12] |= 0x0F;
    assert!(matches!(decode(&webp), Err(ImageError::TooLarge { width: 16_383, height: 16_383, .. })));
}

fn config() -> serde_json::Value {
    serde_json::json!({
        "size": {"longest_edge": 16_777_216, "shortest_edge": 65_536},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
        "image_processor_type": "Qwen2VLImageProcessorFast"
    })
}

fn read(config: &serde_json::Value, max_patches: u32) -> Result<Preprocessor, ImageError> {
    Preprocessor::from_config(config.to_string().as_bytes(), max_patches)
}

#[test]
fn long_pictures_are_refused_and_large_ones_fit_the_limit() {
    let preprocessor = read(&config(), 64).unwrap();
    assert!(matches!(
        preprocessor.prepare(&picture(3, 900)),
        Err(ImageError::Aspect { width: 900, height: 3 })
    ));
    for (height, width) in [(600, 800), (4, 800), (640, 5), (64, 64)] {
        let patches = preprocessor.prepare(&picture(height, width)).unwrap();
        assert!(patches.grid.patches() <= 64, "{height} x {width}: {:?}", patches.grid);
        assert_eq!(patches.values.len() as u64, patches.grid.patches() * 1536);
    }
}

#[test]
fn other_processors_are_refused() {
    assert!(read(&config(), 4).is_ok());
    assert!(read(&serde_json::json!({ "image_processor": config() }), 4).is_ok());
    assert!(matches!(read(&config(), 3), Err(ImageError::Config(_))));
    let changes = [
        ("image_processor_type", serde_json::json!("CLIPImageProcessor")),
        ("do_resize", serde_json::json!(false)),
        ("resample", serde_json::json!(2)),
        ("image_std", serde_json::json!([0.5, 0.0, 0.5])),
        ("image_mean", serde_json::json!([0.5, 0.5])),
        ("patch_size", serde_json::json!(0)),
        ("merge_size", serde_json::json!(4_000_000_000_u64)),
        ("size", serde_json::json!({"longest_edge": 10, "shortest_edge": 20})),
        ("size", serde_json::json!({"height": 10, "width": 20})),
        ("rescale_factor", serde_json::json!(0)),
    ];
    for (key, value) in changes {
        let mut config = config();
        config[key] = value;
        let error = read(&config, 4096).unwrap_err();
        assert!(error.to_string().contains(key), "{key}: {error}");
    }
    assert!(matches!(Preprocessor::from_config(b"{", 4), Err(ImageError::Config(_))));
    assert!(matches!(Preprocessor::from_config(b"[]", 4), Err(ImageError::Config(_))));
}
