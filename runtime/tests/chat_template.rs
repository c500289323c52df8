//! Chat templates against transformers: byte for byte, on the conversations that `models/scripts/chat_cases.py` records.

#![cfg(feature = "chat")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::path::Path;

use qwenc_runtime::chat::{ChatTemplate, Json, Message, RenderOptions, TemplateError};

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn list<'a>(value: &'a Json, key: &str) -> &'a [Json] {
    match value.get(key) {
        Some(Json::List(items)) => items,
        other => panic!("`{key}` is {other:?}"),
    }
}

/// The same text, or the same refusal. Other errors have other words than Python's.
fn agrees(case: &Json, outcome: &Result<String, TemplateError>) -> bool {
    match (case.get("text"), case.get("error"), outcome) {
        (Some(Json::Text(expected)), None, Ok(text)) => text == expected,
        (None, Some(Json::Text(expected)), Err(TemplateError::Refused { message, line, .. })) => {
            message == expected && *line > 0
        }
        (None, Some(Json::Null), Err(TemplateError::Syntax { .. } | TemplateError::Failed { .. })) => true,
        _ => false,
    }
}

/// What differs, for people.
fn difference(name: &str, case: &Json, outcome: &Result<String, TemplateError>) -> Option<String> {
    let expected = || case.get("text").or_else(|| case.get("error"));
    (!agrees(case, outcome)).then(|| format!("{name}\n  expected {:?}\n  found    {outcome:?}", expected()))
}

#[test]
fn conversations_are_rendered_as_by_transformers() {
    let cases = Json::parse(&file("tests/chat_template/cases.json")).unwrap();
    let source = file("../models/qwen3_5_chat_template.jinja");
    let template = ChatTemplate::new("chat_template.jinja", &source).unwrap();
    let conversations = list(&cases, "conversations");
    assert!(conversations.len() > 70, "{}", conversations.len());
    let mut differences = Vec::new();
    for case in conversations {
        let messages = serde_json::to_string(case.get("messages").unwrap()).unwrap();
        let messages: Vec<Message> = serde_json::from_str(&messages).unwrap();
        let mut options = RenderOptions::default();
        if let Some(Json::List(tools)) = case.get("tools") {
            options.tools = Some(tools.clone());
        }
        let Some(Json::Map(arguments)) = case.get("arguments") else { panic!("{case:?}") };
        for (name, value) in arguments {
            match (name.as_str(), value) {
                ("add_generation_prompt", Json::Bool(value)) => options.add_generation_prompt = *value,
                ("enable_thinking", Json::Bool(value)) => options.enable_thinking = Some(*value),
                _ => options.variables.push((name.clone(), value.clone())),
            }
        }
        let name = format!("{:?} {arguments:?}", case.get("name"));
        differences.extend(difference(&name, case, &template.render(&messages, &options)));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn templates_do_as_in_python() {
    let cases = Json::parse(&file("tests/chat_template/cases.json")).unwrap();
    let snippets = list(&cases, "snippets");
    assert!(snippets.len() > 45, "{}", snippets.len());
    let mut differences = Vec::new();
    for case in snippets {
        let source = case.get("template").and_then(Json::as_str).unwrap();
        let variables = case.get("variables").unwrap().clone();
        let outcome = ChatTemplate::new("t", source).and_then(|template| template.render_with(variables));
        differences.extend(difference(source, case, &outcome));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
