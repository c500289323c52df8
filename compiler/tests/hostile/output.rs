//! Where a bundle may be written: never over anything that is no bundle, never over the model.

use std::path::Path;

use qwenc::pipeline::{CompileOptions, Silent, compile};

use crate::scene::{Scene, external, sum};

fn good(scene: &Scene) -> std::path::PathBuf {
    scene.write("w.bin", [0; 16]);
    scene.model(&sum(external(&[("location", "w.bin")])))
}

#[track_caller]
fn refuses(scene: &Scene, out: &Path, part: &str) {
    let model = scene.file("model.onnx");
    let before = std::fs::read(&model).unwrap();
    let error = compile(&model, out, &CompileOptions::default(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
    assert_eq!(std::fs::read(&model).unwrap(), before);
    let left: Vec<_> = std::fs::read_dir(scene.root()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".qwenc-")), "{left:?}");
}

#[test]
fn folders_that_hold_something_else() {
    let scene = Scene::new();
    good(&scene);
    let precious = scene.root().join("outside");
    refuses(&scene, &precious, "is no qwenc bundle");
    assert!(scene.secret().exists());
    // A file named like a manifest does not make a folder a bundle.
    std::fs::write(precious.join("manifest.json"), "{\"name\": \"my web app\"}").unwrap();
    refuses(&scene, &precious, "is no qwenc bundle");
    assert!(scene.secret().exists());
    refuses(&scene, &scene.secret(), "is no qwenc bundle");
}

#[test]
fn the_models_own_folder() {
    let scene = Scene::new();
    let model = good(&scene);
    refuses(&scene, &scene.root().join("model"), "is no qwenc bundle");
    refuses(&scene, &model, "is no qwenc bundle");
    // Even when somebody has put a manifest there.
    let bundle = scene.root().join("bundle");
    compile(&model, &bundle, &CompileOptions::default(), &mut Silent).unwrap();
    std::fs::copy(bundle.join("manifest.json"), scene.file("manifest.json")).unwrap();
    refuses(&scene, &scene.root().join("model"), "holds files that are no part of a bundle");
    // A folder inside is one like any other.
    let inside = scene.file("bundle");
    compile(&model, &inside, &CompileOptions::default(), &mut Silent).unwrap();
    assert!(inside.join("manifest.json").exists() && model.exists());
}

#[test]
fn an_earlier_bundle_is_replaced_as_a_whole_or_not_at_all() {
    let scene = Scene::new();
    let model = good(&scene);
    let bundle = scene.root().join("bundle");
    compile(&model, &bundle, &CompileOptions::default(), &mut Silent).unwrap();
    let manifest = std::fs::read(bundle.join("manifest.json")).unwrap();
    compile(&model, &bundle, &CompileOptions::default(), &mut Silent).unwrap();
    scene.write("w.bin", [0; 3]);
    refuses(&scene, &bundle, "truncated");
    assert_eq!(std::fs::read(bundle.join("manifest.json")).unwrap(), manifest);
    scene.write("w.bin", [0; 16]);
    // Notes that somebody keeps beside the bundle's files.
    std::fs::write(bundle.join("notes.txt"), "keep me").unwrap();
    refuses(&scene, &bundle, "holds files that are no part of a bundle");
    assert!(bundle.join("notes.txt").exists());
}

#[cfg(unix)]
#[test]
fn an_output_that_is_a_link() {
    use std::os::unix::fs::symlink;
    let scene = Scene::new();
    let model = good(&scene);
    let link = scene.root().join("link");
    symlink(scene.root().join("outside"), &link).unwrap();
    refuses(&scene, &link, "is a symbolic link");
    assert!(scene.secret().exists());
    // To a bundle, to nothing.
    let bundle = scene.root().join("bundle");
    compile(&model, &bundle, &CompileOptions::default(), &mut Silent).unwrap();
    for target in [bundle.as_path(), Path::new("nowhere")] {
        std::fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
        refuses(&scene, &link, "is a symbolic link");
    }
    assert!(bundle.join("manifest.json").exists() && !scene.root().join("nowhere").exists());
}
