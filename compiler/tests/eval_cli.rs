//! `qwenc eval` as a user calls it, on the tiny model, whose own answers are known from transformers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Tokens that end an answer here, besides the model's own: the 6th of the golden answers about the picture, and of
/// those without.
const ENDS: [u32; 2] = [434, 60];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Standard output of a run that must end with this code.
fn ended(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Standard error of a run that must fail, without the line breaks of miette.
fn fail(output: &Output) -> String {
    ended(output, 1);
    text(&output.stderr).split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

fn bundle(dir: &Path) -> PathBuf {
    let (model, out) = (dir.join("model"), dir.join("out"));
    common::copy_tree(&common::model("genai015"), &model);
    let template = common::root().join("models/qwen3_5_chat_template.jinja");
    std::fs::copy(template, model.join("chat_template.jinja")).unwrap();
    let ends = json!({ "eos_token_id": [500, ENDS[0], ENDS[1]] }).to_string();
    std::fs::write(model.join("generation_config.json"), ends).unwrap();
    let compiled =
        Command::new(env!("CARGO_BIN_EXE_qwenc")).args(["compile", "-o"]).arg(&out).arg(&model).output();
    ended(&compiled.unwrap(), 0);
    out
}

fn eval(bundle: &Path, cases: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwenc"));
    command.arg("eval").arg(bundle).args(["--adapter", "llvmpipe", "--cases"]).arg(cases);
    command.args(arguments).output().unwrap()
}

fn compare(before: &Path, after: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwenc"));
    command.args(["eval", "--compare"]).arg(before).arg(after).args(arguments).output().unwrap()
}

fn case(id: &str, image: Option<&str>, question: &str, answer: &str) -> String {
    let content = match image {
        Some(path) => {
            json!([{ "type": "image", "image": path }, { "type": "text", "text": question }])
        }
        None => json!(question),
    };
    json!({ "id": id, "messages": [{ "role": "user", "content": content }], "answer": answer }).to_string()
}

/// Three tasks of two families, with these answers: two questions about the picture, and one without.
fn write_cases(folder: &Path, about: &str, plain: &str) {
    std::fs::create_dir_all(folder.join("pictures")).unwrap();
    std::fs::copy(common::root().join("golden/tiny/chat.png"), folder.join("pictures/a.png")).unwrap();
    let picture = Some("pictures/a.png");
    let lines = [case("p-1", picture, "What?", about), case("p-2", picture, "What?", about)].join("\n");
    std::fs::write(folder.join("see-shapes.jsonl"), lines).unwrap();
    std::fs::write(folder.join("see-letters.jsonl"), case("p-1", picture, "What?", about)).unwrap();
    std::fs::write(folder.join("say.jsonl"), case("t-1", None, "Hello", plain)).unwrap();
}

/// What transformers answered to the first turn of a conversation in Qwen3.5's own template.
fn golden(image: bool) -> (Vec<u32>, String) {
    let file = std::fs::read(common::root().join("golden/tiny/chat.json")).unwrap();
    let golden: Value = serde_json::from_slice(&file).unwrap();
    let conversations = golden["conversations"].as_array().unwrap();
    let wanted = |one: &&Value| {
        one["template"] == "given"
            && one["image"] == image
            && one["system"].is_null()
            && one["thinking"] == false
    };
    let turn = conversations.iter().find(wanted).unwrap()["turns"][0].clone();
    let tokens = serde_json::from_value(turn["tokens"].clone()).unwrap();
    (tokens, turn["raw_text"].as_str().unwrap().to_owned())
}

fn predictions(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn accuracy_is_counted_and_runs_compared() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, cases) = (bundle(dir.path()), dir.path().join("cases"));
    let (first, second) = (dir.path().join("first.jsonl"), dir.path().join("second.jsonl"));
    let arguments = |path: &Path, more: &[&str]| -> Vec<String> {
        let mut all = vec!["--predictions".to_owned(), path.display().to_string()];
        all.extend(more.iter().map(ToString::to_string));
        all
    };
    let run = |path: &Path, more: &[&str]| {
        let arguments = arguments(path, more);
        eval(&bundle, &cases, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };

    // Nothing is right, and what was said is what transformers said up to the end.
    write_cases(&cases, "x", "x");
    let report: Value = serde_json::from_str(&ended(&run(&first, &["--json"]), 0)).unwrap();
    assert_eq!((&report["right"], &report["cases"]), (&json!(0), &json!(4)));
    let said = predictions(&first);
    let ids: Vec<&str> = said.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["t-1", "p-1", "p-1", "p-2"], "tasks by name, cases as they are");
    let [plain, about] = [&said[0], &said[1]].map(|one| one["got"].as_str().unwrap().to_owned());
    for (got, image) in [(&plain, false), (&about, true)] {
        let (tokens, raw) = golden(image);
        assert_eq!(tokens.iter().position(|id| ENDS.contains(id)), Some(5), "the cases end early");
        assert!(got.len() > 3 && got.len() < raw.len() && raw.starts_with(got.as_str()), "{got:?} {raw:?}");
    }
    assert_eq!((&said[2]["got"], &said[3]["got"]), (&json!(about), &json!(about)));

    // The model's own answers are right, with white space around them.
    write_cases(&cases, &format!(" {about}\n"), &plain);
    let report: Value =
        serde_json::from_str(&ended(&run(&second, &["--json", "--at-least", "100"]), 0)).unwrap();
    assert_eq!((&report["right"], &report["percent"]), (&json!(4), &json!(100.0)));
    assert_eq!(report["families"]["see"], json!({ "right": 3, "cases": 3, "percent": 100.0 }));
    assert_eq!(report["tasks"]["see-shapes"]["cases"], 2);
    assert_eq!((&report["misses"], &report["below"]), (&json!([]), &json!([])));
    for field in ["seconds", "prompt_tokens", "generated_tokens", "tokens_per_second"] {
        assert!(report[field].as_f64().unwrap() > 0.0, "{field}: {report}");
    }
    assert!(report["adapter"].as_str().unwrap().contains("llvmpipe"));

    // One answer is another: that family fails, alone.
    std::fs::write(cases.join("see-letters.jsonl"), case("p-1", Some("pictures/a.png"), "What?", "red"))
        .unwrap();
    let table = ended(&run(&first, &["--at-least", "see=66", "--at-least", "100"]), 0);
    assert!(table.contains("see-letters      0      1     0.0 %"), "{table}");
    assert!(table.contains("see              2      3    66.7 %"), "{table}");
    assert!(table.contains("all              3      4    75.0 %"), "{table}");
    assert!(table.contains("see-letters p-1: expected `red`, got `run 012345"), "{table}");
    let table = ended(&run(&first, &["--at-least", "70"]), 1);
    assert!(table.contains("FAIL: see has 66.7 %, at least 70 %") && !table.contains("FAIL: say"), "{table}");
    // Some of the cases.
    let report = ended(&run(&first, &["--json", "--task", "see-shapes", "--limit", "1"]), 0);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["right"], &report["cases"]), (&json!(1), &json!(1)));

    // Runs over other cases are no pair; a run that answers worse is found out.
    let error = fail(&compare(&second, &first, &[]));
    assert!(error.contains("not over the same cases"), "{error}");
    let mut worse = predictions(&second);
    worse[3]["got"] = json!("other");
    worse[3]["right"] = json!(false);
    let lines: Vec<String> = worse.iter().map(Value::to_string).collect();
    std::fs::write(&first, lines.join("\n")).unwrap();
    let table = ended(&compare(&second, &first, &["--lose-at-most", "25"]), 0);
    assert!(table.contains("see-shapes       2   100.0 %    50.0 %   -50.00                1"), "{table}");
    let output = ended(&compare(&second, &first, &["--lose-at-most", "24.9", "--json"]), 1);
    let value: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&value["overall"]["loss"], &value["overall"]["changed"]), (&json!(25.0), &json!(1)));
    ended(&compare(&first, &second, &["--lose-at-most", "0"]), 0);

    mistakes(&bundle, &cases, &plain);
}

/// What is wrong with cases is said before or while they run, with their place.
fn mistakes(bundle: &Path, cases: &Path, plain: &str) {
    let write = |line: &str| std::fs::write(cases.join("say.jsonl"), line).unwrap();
    let picture = |path: &str| case("t-1", Some(path), "What?", "x");
    for (path, expected) in [
        ("../../secret.png", "must be a relative path inside"),
        ("/etc/passwd", "must be a relative path inside"),
        ("pictures/none.png", "does not exist"),
        ("pictures", "no regular file"),
        ("say.jsonl", "neither PNG, JPEG nor WebP"),
    ] {
        write(&picture(path));
        let error = fail(&eval(bundle, cases, &["--task", "say"]));
        assert!(error.contains("case `t-1` of task `say`") && error.contains(expected), "{path}: {error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(common::root().join("golden/tiny/chat.png"), cases.join("link.png"))
            .unwrap();
        write(&picture("link.png"));
        let error = fail(&eval(bundle, cases, &["--task", "say"]));
        assert!(error.contains("symbolic link"), "{error}");
    }
    write(&case("t-1", None, &"Hello ".repeat(5000), plain));
    let error = fail(&eval(bundle, cases, &["--task", "say"]));
    assert!(error.contains("case `t-1`") && error.contains("4096"), "{error}");
    write("{\"id\": 1}");
    let error = fail(&eval(bundle, cases, &[]));
    assert!(error.contains("say.jsonl:1: `id` must be a string"), "{error}");
    let error = fail(&eval(bundle, cases, &["--task", "sing"]));
    assert!(error.contains("no task `sing`; there are say, see-letters, see-shapes"), "{error}");
    let usage = Command::new(env!("CARGO_BIN_EXE_qwenc")).args(["eval"]).arg(bundle).output().unwrap();
    ended(&usage, 2);
}
