//! Files beside the model: configuration, tokenizer, golden runs.

use qwenc::model::assets;
use qwenc::model::config::ModelConfig;
use qwenc::pipeline::{CompileOptions, Silent, compile};
use qwenc::tokenizer;

use crate::scene::{Scene, external, holds_secret, sum};

fn config_error(scene: &Scene) -> String {
    ModelConfig::read(&scene.root().join("model")).unwrap_err().to_string()
}

#[test]
fn configurations_that_are_none() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for name in ["config.json", "genai_config.json"] {
        let scene = Scene::new();
        for text in ["", "{", "\u{0}", "\u{FEFF}{}", "{\"a\":1}{\"b\":2}", "NaN", &deep] {
            scene.write(name, text);
            let error = config_error(&scene);
            assert!(error.contains(name) && error.contains("JSON"), "{error}");
        }
        scene.write(name, vec![b' '; (4 << 20) + 1]);
        assert!(config_error(&scene).contains("too many for a configuration"));
        std::fs::remove_file(scene.file(name)).unwrap();
        std::fs::create_dir(scene.file(name)).unwrap();
        assert!(config_error(&scene).contains("no regular file"));
    }
}

/// Values of the wrong type, or beyond any model, leave the fact unknown.
#[test]
fn configurations_of_wrong_types() {
    let scene = Scene::new();
    for value in
        ["-1", "1e300", "\"8\"", "[8]", "{}", "null", "18446744073709551615", "99999999999999999999999"]
    {
        let decoder = format!(r#"{{"head_size":{value},"num_hidden_layers":{value}}}"#);
        scene.write(
            "config.json",
            format!(r#"{{"text_config":{{"head_dim":{value},"num_hidden_layers":{value}}}}}"#),
        );
        scene.write("genai_config.json", format!(r#"{{"model":{{"type":{value},"decoder":{decoder}}}}}"#));
        let config = ModelConfig::read(&scene.root().join("model")).unwrap();
        assert_eq!((config.head_dim, config.layers), (None, None), "{value}");
    }
    scene.write("config.json", r#"{"model_type":"a\u001b[2J\u202e","license":["x"]}"#);
    let config = ModelConfig::read(&scene.root().join("model")).unwrap();
    assert_eq!(config.model_type.as_deref(), Some("a\\u{1b}[2J\\u{202e}"));
}

#[cfg(unix)]
#[test]
fn links_beside_the_model_do_not_reach_the_bundle() {
    let names = ["config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"];
    for name in names {
        for hard in [false, true] {
            let scene = Scene::new();
            scene.write("genai_config.json", "{}");
            scene.write("w.bin", [0; 16]);
            scene.model(&sum(external(&[("location", "w.bin")])));
            if hard {
                std::fs::hard_link(scene.secret(), scene.file(name)).unwrap();
            } else {
                std::os::unix::fs::symlink(scene.secret(), scene.file(name)).unwrap();
            }
            let model = scene.root().join("model");
            let read = if name.starts_with("tokenizer") {
                tokenizer::compile(&model).map(drop)
            } else {
                assets::read(&model).map(drop)
            };
            let error = read.expect_err(name).to_string();
            assert!(error.contains(name) && error.contains("link"), "{error}");
            // The compiler as a whole refuses the folder too; whatever it says first, the secret stays where it is.
            let error = scene.refuses_path(&scene.root().join("model"), &[]);
            assert!(!holds_secret(error.as_bytes()));
        }
    }
}

#[test]
fn tokenizers_beyond_their_size() {
    let scene = Scene::new();
    let file = std::fs::File::create(scene.file("tokenizer.json")).unwrap();
    // Sparse on the disk.
    file.set_len((64 << 20) + 1).unwrap();
    let error = tokenizer::compile(&scene.root().join("model")).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("at most"), "{error}");
}

#[test]
fn golden_files_that_are_none() {
    let scene = Scene::new();
    scene.write("w.bin", [0; 16]);
    let model = scene.model(&sum(external(&[("location", "w.bin")])));
    let header = |text: &str| {
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text.as_bytes());
        file
    };
    let cases: [Vec<u8>; 8] = [
        vec![],
        b"short".to_vec(),
        u64::MAX.to_le_bytes().to_vec(),
        (1u64 << 40).to_le_bytes().to_vec(),
        header("not json"),
        header(r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#),
        header(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#),
        header(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#),
    ];
    for content in cases {
        let golden = scene.write("golden.safetensors", content);
        let options = CompileOptions { golden: Some(golden), ..CompileOptions::default() };
        let error =
            compile(&model, &scene.root().join("bundle"), &options, &mut Silent).unwrap_err().to_string();
        assert!(error.contains("golden.safetensors"), "{error}");
        assert!(!scene.root().join("bundle").exists());
    }
}
