//! References to other files that would leave the model's folder, through every place where a tensor can stand.
//! (CVE-2022-25882, CVE-2024-27318, CVE-2026-34445.)

use qwenc::onnx::proto::{GraphProto, SparseTensorProto};

use crate::onnx_builder::{Attributes, BOOL, Builder, FLOAT, node, tensor, value_info};
use crate::scene::{Scene, external, sum};

/// Locations that name the secret, or would on another system.
fn locations(scene: &Scene) -> Vec<String> {
    let secret = scene.secret().display().to_string();
    let mut all: Vec<String> = [
        "../outside/secret.bin",
        "./../outside/secret.bin",
        "a/../../outside/secret.bin",
        "a/b/../../../outside/secret.bin",
        "model/../../outside/secret.bin",
        "..\\outside\\secret.bin",
        "a\\..\\..\\outside\\secret.bin",
        "\\\\server\\share\\secret.bin",
        "C:\\secret.bin",
        "C:secret.bin",
        "c:/secret.bin",
        "../outside/secret.bin\0",
        "w.bin\0/../../outside/secret.bin",
        "",
        ".",
        "..",
        "/",
        "a/..",
    ]
    .map(str::to_owned)
    .into();
    all.push(secret.clone());
    all.push(format!("/{secret}"));
    all.push(format!("/proc/self/root{secret}"));
    all.push("x".repeat(100_000));
    all
}

#[test]
fn locations_outside_are_refused() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.file("a/b")).unwrap();
    for location in locations(&scene) {
        scene.model(&sum(external(&[("location", &location)])));
        scene.refuses(&["model.onnx", "tensor `w`", "relative path inside the model's folder"]);
    }
    // The same tensor inside compiles: the cases above fail for their locations.
    scene.write("a/w.bin", [0; 16]);
    let path = scene.model(&sum(external(&[("location", "./a//w.bin"), ("length", "16")])));
    scene.compiles(&path);
}

#[test]
fn file_urls_are_names_like_others() {
    let scene = Scene::new();
    let url = format!("file://{}", scene.secret().display());
    scene.model(&sum(external(&[("location", &url)])));
    scene.refuses(&["tensor `w`", "does not exist"]);
}

#[test]
fn every_place_of_a_tensor_is_held_to_the_rules() {
    let scene = Scene::new();
    let out = "../outside/secret.bin";
    let weight = || external(&[("location", out)]);

    // An attribute of `Constant`.
    let constant =
        Builder::new().node(node("Constant", &[], &["y"]).tensor("value", weight())).output("y", FLOAT);
    scene.model(&constant.proto);
    scene.refuses(&["Constant_y", "inside the model's folder"]);

    // The value that `ConstantOfShape` fills with.
    let fill = Builder::new()
        .ints("s", &[4])
        .node(node("ConstantOfShape", &["s"], &["y"]).tensor("value", weight()))
        .output("y", FLOAT);
    scene.model(&fill.proto);
    scene.refuses(&["ConstantOfShape_y"]);

    // The initializer of a branch that is taken.
    let branch = GraphProto {
        initializer: vec![weight()],
        output: vec![value_info("w", FLOAT, None)],
        ..GraphProto::default()
    };
    let condition = qwenc::onnx::proto::TensorProto { int32_data: vec![1], ..tensor("c", BOOL, &[]) };
    let choice = Builder::new()
        .initializer(condition)
        .node(node("If", &["c"], &["y"]).graph("then_branch", branch.clone()).graph("else_branch", branch));
    scene.model(&choice.output("y", FLOAT).proto);
    scene.refuses(&["tensor `w`", "inside the model's folder"]);

    // Sparse tensors, which are not supported, are not read either.
    let sparse = SparseTensorProto { values: Some(weight()), indices: None, dims: vec![4] };
    let mut model = Builder::new().input("x", FLOAT, &["4"]).op("Abs", &["x"], &["y"]).output("y", FLOAT);
    model.graph().sparse_initializer.push(sparse.clone());
    scene.model(&model.proto);
    scene.refuses(&["`w` is sparse"]);
    let mut constant = Builder::new().op("Constant", &[], &["y"]).output("y", FLOAT);
    constant.graph().node[0].attribute.push(qwenc::onnx::proto::AttributeProto {
        name: Some("sparse_value".into()),
        sparse_tensor: Some(sparse),
        r#type: Some(qwenc::onnx::proto::attribute_proto::AttributeType::SparseTensor.into()),
        ..Default::default()
    });
    scene.model(&constant.proto);
    scene.refuses(&["Constant_y", "sparse"]);

    // The body of a function.
    let function = qwenc::onnx::proto::FunctionProto {
        name: Some("F".into()),
        domain: Some("local".into()),
        output: vec!["b".into()],
        node: vec![node("Constant", &[], &["b"]).tensor("value", weight())],
        opset_import: vec![crate::onnx_builder::opset("", 21)],
        ..Default::default()
    };
    scene.model(&Builder::new().function(function).op("local::F", &[], &["y"]).output("y", FLOAT).proto);
    scene.refuses(&["Constant_b", "inside the model's folder"]);
}

#[test]
fn a_model_in_memory_has_no_folder() {
    let scene = Scene::new();
    let model = sum(external(&[("location", &scene.secret().display().to_string())]));
    crate::scene::refused(model, &["tensor `w`", "not in a file"]);
}

#[test]
fn entries_that_are_none_of_the_format() {
    let scene = Scene::new();
    scene.write("w.bin", [0; 16]);
    let cases: [(&[(&str, &str)], &str); 17] = [
        (&[("offset", "0")], "no location"),
        (&[("location", "w.bin"), ("location", "../outside/secret.bin")], "stated twice"),
        (&[("location", "w.bin"), ("__class__", "os.system")], "unknown entry `__class__`"),
        (&[("location", "w.bin"), ("__dict__", "{}")], "unknown entry"),
        (&[("location", "w.bin"), ("basepath", "/")], "unknown entry `basepath`"),
        (&[("location", "w.bin"), ("", "")], "unknown entry"),
        (&[("location", "w.bin"), ("\u{1b}[2J", "")], "unknown entry"),
        (&[("location", "w.bin"), ("offset", "-1")], "no non-negative"),
        (&[("location", "w.bin"), ("offset", "0x10")], "no non-negative"),
        (&[("location", "w.bin"), ("offset", "1e3")], "no non-negative"),
        (&[("location", "w.bin"), ("length", "-9223372036854775808")], "no non-negative"),
        (&[("location", "w.bin"), ("length", "99999999999999999999999999")], "no non-negative"),
        (&[("location", "w.bin"), ("length", "1125899906842624")], "states 1125899906842624 bytes"),
        (&[("location", "w.bin"), ("length", "12")], "take 16"),
        (&[("location", "w.bin"), ("offset", "1")], "needs 16 bytes at offset 1"),
        (&[("location", "w.bin"), ("offset", "18446744073709551615")], "truncated"),
        (&[("location", "w.bin"), ("offset", "18446744073709551600"), ("length", "16")], "truncated"),
    ];
    for (entries, message) in cases {
        scene.model(&sum(external(entries)));
        scene.refuses(&["model.onnx", "tensor `w`", message]);
    }
}

#[test]
fn external_and_inline_values_together() {
    let scene = Scene::new();
    scene.write("w.bin", [0; 16]);
    let mut both = external(&[("location", "w.bin")]);
    both.raw_data = Some(vec![0; 16].into());
    scene.model(&sum(both));
    scene.refuses(&["tensor `w`", "both external and inline"]);
    // Inline by its flag, external by its entries: the entries are not followed.
    let mut inline = external(&[("location", "../outside/secret.bin")]);
    inline.data_location = None;
    scene.model(&sum(inline));
    scene.refuses(&["tensor `w`", "0 are stored"]);
}
