//! Reading case files: `<task>.jsonl`, a case on every line.
//!
//! Cases come with a model, from somewhere else. Everything that is read is bounded, and pictures lie in the folder of the
//! case files (`contain.rs`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use qwenc_runtime::chat::{Content, Message, Part};
use qwenc_runtime::printable::printable;
use serde_json::{Map, Value};

use crate::contain;

/// Most entries of the folder that are looked at.
const MAX_ENTRIES: usize = 4096;
/// Most bytes of a case file.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Longest line, in bytes.
pub(super) const MAX_LINE_BYTES: u64 = 1 << 20;
/// Most cases of a task.
pub(super) const MAX_CASES: usize = 100_000;
/// Most messages of a case.
const MAX_MESSAGES: usize = 256;
/// Most pictures of a case.
const MAX_PICTURES: usize = 64;
/// Longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 16 << 10;
/// Longest id and name of a task, in bytes.
const MAX_NAME_BYTES: usize = 200;
/// Characters of a case's own words that an error repeats.
const MAX_SHOWN: usize = 60;

/// The cases of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The file's name without `.jsonl`.
    pub name: String,
    /// Its cases, in the file's order.
    pub cases: Vec<Case>,
}

/// A conversation, and what the model should say next.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its name, which no other case of the task has.
    pub id: String,
    /// Turns, the last of them a user's.
    pub messages: Vec<Message>,
    /// Pictures of all turns in order, as paths in the folder of the case files.
    pub pictures: Vec<String>,
    /// The answer that counts.
    pub answer: String,
}

/// Cases that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The folder.
    #[error("the folder of cases {}: {message}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file as a whole.
    #[error("{file}: {message}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// A line of a file.
    #[error("{file}:{line}: {message}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with the field.
        message: String,
    },
}

/// Reads the case files of a folder, sorted by name: all of them, or the tasks of `wanted`.
///
/// # Errors
/// [`CaseError`], with file and line.
pub fn read_tasks(folder: &Path, wanted: &[String]) -> Result<Vec<Task>, CaseError> {
    let refuse = |message: String| CaseError::Folder { folder: folder.to_owned(), message };
    let mut names = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|error| refuse(error.to_string()))?;
    for (at, entry) in entries.enumerate() {
        if at >= MAX_ENTRIES {
            return Err(refuse(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let name = entry.map_err(|error| refuse(error.to_string()))?.file_name();
        if let Some(task) = name.to_str().and_then(|name| name.strip_suffix(".jsonl"))
            && !task.is_empty()
            && !task.starts_with('.')
        {
            if task.len() > MAX_NAME_BYTES || printable(task, MAX_NAME_BYTES) != task {
                return Err(refuse(format!("`{}` is no name for a task", printable(task, MAX_SHOWN))));
            }
            names.push(task.to_owned());
        }
    }
    names.sort_unstable();
    if names.is_empty() {
        return Err(refuse("it has no case files, <task>.jsonl".to_owned()));
    }
    if let Some(missing) = wanted.iter().find(|task| !names.contains(task)) {
        let missing = printable(missing, MAX_SHOWN);
        return Err(refuse(format!("there is no task `{missing}`; there are {}", names.join(", "))));
    }
    let chosen = names.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name));
    chosen.map(|name| read_task(folder, name)).collect()
}

fn read_task(folder: &Path, name: String) -> Result<Task, CaseError> {
    let file_name = format!("{name}.jsonl");
    let shown = folder.join(&file_name).display().to_string();
    let refuse = |message: String| CaseError::File { file: shown.clone(), message };
    let file = contain::open(folder, &file_name).map_err(|refusal| refuse(refusal.to_string()))?;
    let mut cases: Vec<Case> = Vec::new();
    let mut ids = std::collections::HashSet::new();
    read_lines(file, &shown, &mut |line, text| {
        let wrong = |message: String| CaseError::Line { file: shown.clone(), line, message };
        let case = read_case(text).map_err(wrong)?;
        if !ids.insert(case.id.clone()) {
            return Err(wrong(format!("the id `{}` is there twice", case.id)));
        }
        cases.push(case);
        Ok(())
    })?;
    if cases.is_empty() {
        return Err(refuse("it has no cases".to_owned()));
    }
    Ok(Task { name, cases })
}

/// Gives every line that is not blank, with its number.
pub(super) fn read_lines(
    file: File,
    shown: &str,
    take: &mut dyn FnMut(usize, &str) -> Result<(), CaseError>,
) -> Result<(), CaseError> {
    let refuse = |message: String| CaseError::File { file: shown.to_owned(), message };
    let bytes = file.metadata().map_err(|error| refuse(error.to_string()))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(refuse(format!("it has {bytes} bytes, more than {MAX_FILE_BYTES}")));
    }
    let mut reader = BufReader::new(file.take(MAX_FILE_BYTES));
    let (mut buffer, mut taken) = (Vec::new(), 0);
    for line in 1.. {
        let wrong = |message: String| CaseError::Line { file: shown.to_owned(), line, message };
        buffer.clear();
        let mut limited = (&mut reader).take(MAX_LINE_BYTES + 1);
        let read = limited.read_until(b'\n', &mut buffer).map_err(|error| wrong(error.to_string()))?;
        if read == 0 {
            break;
        }
        if read as u64 > MAX_LINE_BYTES {
            return Err(wrong(format!("the line is longer than {MAX_LINE_BYTES} bytes")));
        }
        let text = std::str::from_utf8(&buffer).map_err(|error| wrong(format!("no UTF-8: {error}")))?;
        if text.trim().is_empty() {
            continue;
        }
        taken += 1;
        if taken > MAX_CASES {
            return Err(wrong(format!("there are more than {MAX_CASES} cases")));
        }
        take(line, text)?;
    }
    Ok(())
}

/// The object on a line.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("expected a JSON object".to_owned()),
        Err(error) => Err(format!("no JSON: {error}")),
    }
}

/// A field that is text.
pub(super) fn text_field(object: &Map<String, Value>, field: &str) -> Result<String, String> {
    match object.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("`{field}` must be a string")),
        None => Err(format!("there is no `{field}`")),
    }
}

/// A short name on one line.
pub(super) fn name_field(object: &Map<String, Value>, field: &str) -> Result<String, String> {
    let name = text_field(object, field)?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES || printable(&name, MAX_NAME_BYTES) != name {
        return Err(format!("`{field}` must have 1 to {MAX_NAME_BYTES} bytes without control characters"));
    }
    Ok(name)
}

fn read_case(text: &str) -> Result<Case, String> {
    let object = object(text)?;
    let id = name_field(&object, "id")?;
    let answer = text_field(&object, "answer")?;
    if answer.trim().is_empty() || answer.len() > MAX_ANSWER_BYTES {
        return Err(format!("`answer` must have a text of at most {MAX_ANSWER_BYTES} bytes"));
    }
    let turns = match object.get("messages") {
        Some(Value::Array(turns)) if (1..=MAX_MESSAGES).contains(&turns.len()) => turns,
        _ => return Err(format!("`messages` must be a list of 1 to {MAX_MESSAGES} messages")),
    };
    let mut pictures = Vec::new();
    let mut messages = Vec::new();
    for (at, turn) in turns.iter().enumerate() {
        let turn = read_message(turn, &mut pictures).map_err(|reason| format!("messages[{at}]: {reason}"))?;
        messages.push(turn);
    }
    if messages.last().is_none_or(|message| message.role != "user") {
        return Err("the last of `messages` must be the user's, to which `answer` replies".to_owned());
    }
    if pictures.len() > MAX_PICTURES {
        return Err(format!("{} pictures, more than {MAX_PICTURES}", pictures.len()));
    }
    Ok(Case { id, messages, pictures, answer })
}

fn read_message(value: &Value, pictures: &mut Vec<String>) -> Result<Message, String> {
    let Value::Object(object) = value else { return Err("expected an object".to_owned()) };
    let role = text_field(object, "role")?;
    if !["system", "user", "assistant"].contains(&role.as_str()) {
        let role = printable(&role, MAX_SHOWN);
        return Err(format!("the role is `{role}`; there are system, user and assistant"));
    }
    let parts = match object.get("content") {
        Some(Value::String(text)) => return Ok(Message::text(&role, text.as_str())),
        Some(Value::Array(parts)) => parts,
        _ => return Err("`content` must be a string or a list of parts".to_owned()),
    };
    let mut content = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let part = read_part(part, pictures).map_err(|reason| format!("content[{at}]: {reason}"))?;
        content.push(part);
    }
    Ok(Message { role, content: Some(Content::Parts(content)), ..Message::default() })
}

fn read_part(value: &Value, pictures: &mut Vec<String>) -> Result<Part, String> {
    let Value::Object(object) = value else { return Err("expected an object".to_owned()) };
    match text_field(object, "type")?.as_str() {
        "text" => Ok(Part::Text { text: text_field(object, "text")? }),
        "image" => {
            pictures.push(text_field(object, "image")?);
            Ok(Part::Image)
        }
        other => Err(format!("the type is `{}`; there are text and image", printable(other, MAX_SHOWN))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    const GOOD: &str = r#"{"id": "a-1", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "image", "image": "p/1.png"}, {"type": "text", "text": "How many?"}]}], "answer": "3", "seed": 7}"#;

    #[test]
    fn cases_are_read_in_order_of_files_and_lines() {
        let second = GOOD.replace("a-1", "a-2");
        let lines = format!("{GOOD}\n\n{second}\r\n");
        let dir = folder(&[("b.jsonl", GOOD.as_bytes()), ("a.jsonl", lines.as_bytes()), ("notes.txt", b"x")]);
        let tasks = read_tasks(dir.path(), &[]).unwrap();
        let names: Vec<(&str, usize)> =
            tasks.iter().map(|task| (task.name.as_str(), task.cases.len())).collect();
        assert_eq!(names, [("a", 2), ("b", 1)]);
        let case = &tasks[0].cases[0];
        assert_eq!((case.id.as_str(), case.answer.as_str()), ("a-1", "3"));
        assert_eq!(case.pictures, ["p/1.png"]);
        assert_eq!((case.messages.len(), case.messages[1].images()), (2, 1));
        assert_eq!(read_tasks(dir.path(), &["b".to_owned()]).unwrap().len(), 1);
        let error = read_tasks(dir.path(), &["c".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no task `c`; there are a, b"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_line() {
        let turn = |content: &str| GOOD.replace(r#"{"role": "system", "content": "s"}"#, content);
        let many = format!("[{}]", vec![r#"{"role":"user","content":"u"}"#; 257].join(","));
        let wrong: Vec<(String, &str)> = vec![
            ("{".to_owned(), "no JSON"),
            ("[1]".to_owned(), "expected a JSON object"),
            (GOOD.replace(r#""id": "a-1", "#, ""), "no `id`"),
            (GOOD.replace(r#""a-1""#, r#""\u001b[2J""#), "`id` must"),
            (GOOD.replace(r#""a-1""#, "1"), "`id` must be a string"),
            (GOOD.replace(r#""answer": "3""#, r#""answer": " ""#), "`answer` must"),
            (GOOD.replace(r#", "answer": "3""#, ""), "no `answer`"),
            (r#"{"id":"x","answer":"y"}"#.to_owned(), "`messages` must be a list"),
            (r#"{"id":"x","answer":"y","messages":[]}"#.to_owned(), "1 to 256"),
            (format!(r#"{{"id":"x","answer":"y","messages":{many}}}"#), "1 to 256"),
            (turn(r#"{"role": "tool", "content": "s"}"#), "messages[0]: the role is `tool`"),
            (turn(r#"{"role": "user"}"#), "messages[0]: `content` must"),
            (turn(r#"{"role": "user", "content": [1]}"#), "content[0]: expected an object"),
            (GOOD.replace(r#", "image": "p/1.png""#, ""), "messages[1]: content[0]: there is no `image`"),
            (GOOD.replace(r#""type": "image""#, r#""type": "audio""#), "the type is `audio`"),
            (GOOD.replace(r#""role": "user""#, r#""role": "assistant""#), "must be the user's"),
            (GOOD.to_owned(), "`a-1` is there twice"),
        ];
        for (line, expected) in wrong {
            let text = format!("{GOOD}\n\n{line}\n");
            let dir = folder(&[("a.jsonl", text.as_bytes())]);
            let error = read_tasks(dir.path(), &[]).unwrap_err().to_string();
            assert!(error.contains("a.jsonl:3: ") && error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn lines_and_folders_are_bounded() {
        let long = vec![b' '; usize::try_from(MAX_LINE_BYTES).unwrap() + 1];
        for (bytes, expected) in [
            (long.as_slice(), "a.jsonl:1: the line is longer"),
            (b"\n\xff\n", "a.jsonl:2: no UTF-8"),
            (b"\n \n", "it has no cases"),
        ] {
            let dir = folder(&[("a.jsonl", bytes)]);
            let error = read_tasks(dir.path(), &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let dir = folder(&[("a.json", b"{}")]);
        assert!(read_tasks(dir.path(), &[]).unwrap_err().to_string().contains("no case files"));
        let gone = read_tasks(&dir.path().join("gone"), &[]).unwrap_err().to_string();
        assert!(gone.contains("gone"), "{gone}");
        // Sparse: only its length is looked at.
        let file = File::create(dir.path().join("b.jsonl")).unwrap();
        file.set_len(MAX_FILE_BYTES + 1).unwrap();
        let error = read_tasks(dir.path(), &[]).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_case_file_is_no_link() {
        let dir = folder(&[("x.txt", GOOD.as_bytes())]);
        let inside = dir.path().join("cases");
        std::fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink(dir.path().join("x.txt"), inside.join("a.jsonl")).unwrap();
        let error = read_tasks(&inside, &[]).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
    }
}
