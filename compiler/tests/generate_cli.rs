//! `qwenc generate` and `qwenc chat` as a user calls them, on the tiny model.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn qwenc(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwenc"));
    command.args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn fail(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    // miette breaks lines where the terminal would.
    text(&output.stderr).split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

/// The tiny model's bundle; without some of its files, when asked.
fn bundle(dir: &Path, without: &[&str]) -> PathBuf {
    let model = dir.join("model");
    common::copy_tree(&common::model("genai015"), &model);
    bundle_of(&model, &dir.join("out"), without)
}

fn bundle_of(model: &Path, out: &Path, without: &[&str]) -> PathBuf {
    for name in without {
        std::fs::remove_file(model.join(name)).unwrap();
    }
    let compiled = qwenc(&["compile", "-o"]).arg(out).arg(model).output().unwrap();
    succeed(&compiled);
    out.to_path_buf()
}

fn generate(bundle: &Path, arguments: &[&str]) -> Output {
    qwenc(&["generate", "--adapter", "llvmpipe"]).arg(bundle).args(arguments).output().unwrap()
}

fn turn(at: usize) -> Value {
    let file = std::fs::read(common::root().join("golden/tiny/chat.json")).unwrap();
    serde_json::from_slice::<Value>(&file).unwrap()["conversations"][0]["turns"][at].clone()
}

/// Talks through a pipe; the answers, and what they took.
fn chat(bundle: &Path, arguments: &[&str], lines: &str) -> (String, String) {
    let mut child = qwenc(&["chat", "--adapter", "llvmpipe", "--stats", "--max-new-tokens", "12"])
        .arg(bundle)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let answers = succeed(&output);
    (answers, text(&output.stderr))
}

#[test]
fn a_prompt_is_answered_as_by_transformers() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = bundle(dir.path(), &[]);
    let golden = turn(0);
    let arguments = ["--prompt", "Hello", "--max-new-tokens", "12", "--json"];
    let json: Value = serde_json::from_str(&succeed(&generate(&bundle, &arguments))).unwrap();
    assert_eq!(json["tokens"], golden["tokens"]);
    assert_eq!(json["text"], golden["raw_text"]);
    assert_eq!(json["finish_reason"], golden["finish_reason"]);
    assert_eq!(json["usage"]["prompt_tokens"], golden["prompt_ids"].as_array().unwrap().len());

    // The same prompt, written out.
    let raw =
        ["--prompt", "<|im_start|>user\nHello<|im_end|>\n", "--raw", "--max-new-tokens", "12", "--json"];
    let json: Value = serde_json::from_str(&succeed(&generate(&bundle, &raw))).unwrap();
    assert_eq!(json["tokens"], golden["tokens"]);

    // The same seed, the same answer; another one, another.
    let seeded = |seed: &str| -> Value {
        let arguments = ["--prompt", "Hello", "--max-new-tokens", "12", "--json", "--seed", seed];
        serde_json::from_str(&succeed(&generate(&bundle, &arguments))).unwrap()
    };
    let first = seeded("7");
    assert_eq!(first["tokens"], seeded("7")["tokens"]);
    assert_ne!(first["tokens"], seeded("8")["tokens"]);
    let error = fail(&generate(&bundle, &["--prompt", "a", "--top-p", "1.5"]));
    assert!(error.contains("top_p is 1.5"), "{error}");

    // Streamed: what would command a terminal is not printed.
    let arguments = ["--prompt", "Hello", "--max-new-tokens", "12", "--stats"];
    let output = generate(&bundle, &arguments);
    let streamed = succeed(&output);
    assert!(!streamed.contains('\x03') && streamed.ends_with('\n'), "{streamed:?}");
    let expected = golden["raw_text"].as_str().unwrap().replace(['\x03', '\x7f'], "\u{fffd}");
    assert_eq!(streamed.trim_end_matches('\n'), expected.trim_end_matches('\n'));
    assert!(text(&output.stderr).contains("0 of them reused"), "{}", text(&output.stderr));

    // Images need a vision encoder, and stop strings some text.
    let error = fail(&generate(&bundle, &["--prompt", "a", "--stop", ""]));
    assert!(error.contains("stop strings"), "{error}");
}

#[test]
fn a_chat_goes_on_over_turns_and_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = bundle(dir.path(), &[]);
    let lines = "Hello\n/nonsense\n/image\n/image /does/not/exist.png\n\nWhat then?\n/think\n/clear\nHello\n/quit\nnever\n";
    let (answers, notes) = chat(&bundle, &[], lines);
    let said = |at: usize| turn(at)["raw_text"].as_str().unwrap().replace(['\x03', '\x7f'], "\u{fffd}");
    let expected = format!("{}\n{}\nReasoning is on.\nA new conversation.\n{}\n", said(0), said(1), said(0));
    assert_eq!(answers, expected);
    assert!(notes.contains("there is no command /nonsense") && notes.contains("/image FILE"), "{notes}");
    assert!(notes.contains("/does/not/exist.png"), "{notes}");
    let counts: Vec<&str> = notes.lines().filter(|line| line.contains("of them reused")).collect();
    let lengths: Vec<usize> = (0..2).map(|at| turn(at)["prompt_ids"].as_array().unwrap().len()).collect();
    let start = |at: usize, reused: usize| format!("{} prompt tokens, {reused} of them reused;", lengths[at]);
    assert_eq!(counts.len(), 3, "{notes}");
    assert!(counts[0].starts_with(&start(0, 0)), "{notes}");
    // The own template has no opening of the answer: all of the first prompt is known.
    assert!(counts[1].starts_with(&start(1, lengths[0])), "{notes}");
}

/// The golden picture's file with other sides in its header, and the header's check sum made right.
fn with_sides(png: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut png = png.to_vec();
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = !png[12..29].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    });
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    png
}

#[test]
fn images_that_are_none_are_refused_and_the_chat_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // The model's own template has no place for images.
    let model = dir.path().join("model");
    common::copy_tree(&common::model("genai015"), &model);
    let template = common::root().join("models/qwen3_5_chat_template.jinja");
    std::fs::copy(template, model.join("chat_template.jinja")).unwrap();
    let bundle = bundle_of(&model, &dir.path().join("out"), &[]);
    let good = common::root().join("golden/tiny/chat.png");
    let png = std::fs::read(&good).unwrap();
    assert_eq!(with_sides(&png, 96, 64), png);
    let bad = [
        ("text.png", b"no image at all".to_vec(), "neither PNG, JPEG nor WebP"),
        ("cut.png", png[..png.len() / 2].to_vec(), "damaged or cut off"),
        ("empty.png", with_sides(&png, 0, 0), "picture"),
        ("large.png", with_sides(&png, 20_000, 20_000), "20000 x 20000"),
        ("wide.png", with_sides(&png, 3000, 10), "picture"),
    ];
    let mut lines = String::new();
    for (name, bytes, _) in &bad {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        lines += &format!("/image {}\n", path.display());
    }
    lines += &format!("/image {}\nHello\n", good.display());
    let (answers, notes) = chat(&bundle, &[], &lines);
    let words = notes.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    for (name, _, expected) in &bad {
        assert!(words.contains(name) && words.contains(expected), "{name}: {words}");
    }
    assert!(answers.starts_with(&format!("{} goes with the next message.", good.display())), "{answers}");
    assert_eq!(notes.matches("of them reused").count(), 1, "{notes}");
}

/// Ctrl-C ends the answer, not the chat.
#[cfg(unix)]
#[test]
fn an_interrupt_stops_an_answer_and_the_chat_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = bundle(dir.path(), &[]);
    let mut child = qwenc(&["chat", "--adapter", "llvmpipe", "--stats"])
        .arg(&bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Hello\n").unwrap();
    // The first piece of the answer.
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    stdin.write_all(b"/think\n/quit\n").unwrap();
    // The first piece may have been cut inside of a character.
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let rest = text(&rest);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(rest.ends_with("Reasoning is on.\n"), "{rest}");
    assert!(text(&output.stderr).contains("cancelled"), "{}", text(&output.stderr));
}

#[test]
fn what_is_missing_is_said_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let out = bundle(dir.path(), &["chat_template.jinja"]);
    let error = fail(&generate(&out, &["--prompt", "Hello"]));
    assert!(error.contains("chat_template.jinja") && error.contains("--raw"), "{error}");
    let arguments =
        ["--prompt", "<|im_start|>user\nHello<|im_end|>\n", "--raw", "--max-new-tokens", "12", "--json"];
    let json: Value = serde_json::from_str(&succeed(&generate(&out, &arguments))).unwrap();
    assert_eq!(json["tokens"], turn(0)["tokens"]);
    let error = fail(&qwenc(&["chat", "--adapter", "llvmpipe"]).arg(&out).output().unwrap());
    assert!(error.contains("chat_template.jinja"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let out = bundle(dir.path(), &["tokenizer.json"]);
    let error = fail(&generate(&out, &["--prompt", "Hello"]));
    assert!(error.contains("no tokenizer") && error.contains("tokenizer.json"), "{error}");
}
