//! Links, pipes and devices in the model's folder. (CVE-2026-27489, CVE-2026-34446, CVE-2026-34447.)
#![cfg(unix)]

use std::fs::{create_dir_all, hard_link};
use std::os::unix::fs::symlink;

use prost::Message;

use crate::scene::{SECRET, Scene, external, holds_secret, sum};

fn at(location: &str) -> qwenc::onnx::proto::ModelProto {
    sum(external(&[("location", location)]))
}

#[test]
fn links_out_of_the_folder_are_not_followed() {
    let scene = Scene::new();
    symlink(scene.secret(), scene.file("absolute.bin")).unwrap();
    symlink("../outside/secret.bin", scene.file("relative.bin")).unwrap();
    symlink(scene.root().join("outside"), scene.file("folder")).unwrap();
    symlink("absolute.bin", scene.file("chain.bin")).unwrap();
    symlink(".", scene.file("here")).unwrap();
    scene.write("w.bin", [0; 16]);
    for location in ["absolute.bin", "relative.bin", "folder/secret.bin", "chain.bin", "here/w.bin"] {
        scene.model(&at(location));
        scene.refuses(&["model.onnx", "tensor `w`", "symbolic link", "copy the file"]);
    }
    hard_link(scene.secret(), scene.file("hard.bin")).unwrap();
    scene.model(&at("hard.bin"));
    scene.refuses(&["tensor `w`", "hard link", "copy the file"]);
}

/// Equal weights that an archive stores once, under two names.
#[test]
fn hard_links_within_the_folder_are_files_like_others() {
    let scene = Scene::new();
    scene.write("w.bin", [1; 16]);
    hard_link(scene.file("w.bin"), scene.file("v.bin")).unwrap();
    scene.compiles(&scene.model(&at("v.bin")));
    // A third name elsewhere: somebody else's file after all.
    hard_link(scene.file("w.bin"), scene.root().join("outside/third.bin")).unwrap();
    scene.model(&at("v.bin"));
    scene.refuses(&["hard link"]);
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let scene = Scene::new();
    create_dir_all(scene.file("folder.bin")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(scene.file("pipe.bin")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(scene.file("socket.bin")).unwrap();
    for location in ["folder.bin", "pipe.bin", "socket.bin"] {
        scene.model(&at(location));
        scene.refuses(&["tensor `w`", location, "no regular file"]);
    }
    scene.write("plain.bin", [0; 16]);
    scene.model(&at("plain.bin/w.bin"));
    scene.refuses(&["tensor `w`", "no folder"]);
    // The model itself.
    let pipe = scene.file("pipe.bin");
    std::fs::rename(&pipe, scene.file("pipe.onnx")).unwrap();
    std::fs::remove_file(scene.file("model.onnx")).unwrap();
    scene.refuses_path(&scene.root().join("model"), &["no regular file"]);
}

/// The path that the user names may be a link: it is the user's choice. What its model refers to lies beside the link.
#[test]
fn the_model_that_is_named_may_be_a_link() {
    let scene = Scene::new();
    scene.write("w.bin", [3; 16]);
    let real = scene.model(&at("w.bin"));
    let link = scene.file("link.onnx");
    symlink(&real, &link).unwrap();
    scene.compiles(&link);
    let elsewhere = scene.root().join("outside/link.onnx");
    symlink(&real, &elsewhere).unwrap();
    scene.refuses_path(&elsewhere, &["tensor `w`", "does not exist"]);
    // A file with two names is nobody else's secret when the user names it.
    let hard = scene.file("hard.onnx");
    hard_link(&real, &hard).unwrap();
    scene.compiles(&hard);
}

/// What is found in a folder must not lead out of it.
#[test]
fn parts_of_a_folder_may_not_be_links() {
    let scene = Scene::new();
    let model = at("w.bin").encode_to_vec();
    std::fs::write(scene.root().join("outside/private.onnx"), &model).unwrap();
    symlink("../outside/private.onnx", scene.file("model.onnx")).unwrap();
    scene.refuses_path(&scene.root().join("model"), &["symbolic link"]);
    // As part of a known layout.
    scene.write("genai_config.json", "{}");
    scene.refuses_path(&scene.root().join("model"), &["model.onnx", "symbolic link"]);
    std::fs::remove_file(scene.file("model.onnx")).unwrap();
    hard_link(scene.root().join("outside/private.onnx"), scene.file("model.onnx")).unwrap();
    scene.refuses_path(&scene.root().join("model"), &["model.onnx", "hard link"]);
}

/// The cache of the hub: `snapshots/<revision>/onnx/model.onnx` is a link to `blobs/<hash>` of the same model.
#[test]
fn the_hubs_cache_is_read_through_its_links() {
    let scene = Scene::new();
    let cache = scene.root().join("model/models--org--name");
    let snapshot = cache.join("snapshots/0123abcd");
    create_dir_all(cache.join("blobs")).unwrap();
    create_dir_all(snapshot.join("onnx")).unwrap();
    std::fs::write(cache.join("blobs/aa"), at("model.onnx_data").encode_to_vec()).unwrap();
    std::fs::write(cache.join("blobs/bb"), [7; 16]).unwrap();
    symlink("../../../blobs/aa", snapshot.join("onnx/model.onnx")).unwrap();
    let data = snapshot.join("onnx/model.onnx_data");
    symlink("../../../blobs/bb", &data).unwrap();
    scene.compiles(&snapshot.join("onnx"));
    scene.compiles(&snapshot.join("onnx/model.onnx"));

    // The same shape of link, but to elsewhere: another model's blobs, a folder above, a link among the blobs.
    let other = scene.root().join("model/models--org--other/blobs");
    create_dir_all(&other).unwrap();
    std::fs::write(other.join("cc"), SECRET).unwrap();
    symlink(scene.secret(), cache.join("blobs/link")).unwrap();
    hard_link(scene.secret(), cache.join("blobs/hard")).unwrap();
    for target in [
        "../../../../models--org--other/blobs/cc",
        "../../../../../outside/secret.bin",
        "../../../blobs/../../../outside/secret.bin",
        "../../../blobs/link",
        "../../../blobs/hard",
        "../../../snapshots/0123abcd/onnx/model.onnx_data",
        "../../blobs/bb",
        &scene.secret().display().to_string(),
    ] {
        std::fs::remove_file(&data).unwrap();
        symlink(target, &data).unwrap();
        scene.refuses_path(&snapshot.join("onnx"), &["tensor `w`", "link"]);
    }
}

/// The check of the secret itself can fail.
#[test]
fn the_secret_shows_when_it_is_read() {
    let scene = Scene::new();
    scene.write("w.bin", SECRET);
    assert!(holds_secret(&scene.compiles(&scene.model(&at("w.bin")))));
}
