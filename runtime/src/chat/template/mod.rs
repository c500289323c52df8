//! Chat templates: Jinja as Hugging Face transformers renders it.
//!
//! A template comes with the model and is untrusted. It sees the values it is given and nothing else; its work, its
//! output and its recursion are bounded.

mod arrange;
mod ast;
mod call;
mod date;
mod dumps;
mod eval;
mod expression;
mod filters;
mod lexer;
mod methods;
mod number;
mod parser;
mod repr;
mod text;
mod value;

use std::fmt;

use self::ast::Program;
use self::eval::Eval;
use self::value::Value;
use super::{Json, Message, message};

/// Longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Work that a rendering may do besides what its input's size allows: about an instruction, or 64 bytes, each.
const BASE_FUEL: u64 = 1_000_000;
/// More work for every byte of input.
const FUEL_PER_BYTE: u64 = 4;

/// A chat template, compiled.
pub struct ChatTemplate {
    name: String,
    program: Program,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a template is given besides the messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RenderOptions {
    /// Ends with the opening of the assistant's next message.
    pub add_generation_prompt: bool,
    /// Lets the model reason before it answers, where the template knows `enable_thinking`.
    pub enable_thinking: Option<bool>,
    /// Functions that the model may call, in the shape of OpenAI's API.
    pub tools: Option<Vec<Json>>,
    /// Other variables of the template, such as `add_vision_id`.
    pub variables: Vec<(String, Json)>,
}

/// A template cannot be used, or refused what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is no template.
    #[error("{file}, line {line}: the chat template does not compile: {message}")]
    Syntax {
        /// The template's file.
        file: String,
        /// The line.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The template itself refused: it called `raise_exception`.
    #[error("{message} (the chat template says so, {file}, line {line})")]
    Refused {
        /// The template's file.
        file: String,
        /// The line.
        line: usize,
        /// The template's words.
        message: String,
    },
    /// The template failed.
    #[error("{file}, line {line}: the chat template fails: {message}")]
    Failed {
        /// The template's file.
        file: String,
        /// The line.
        line: usize,
        /// Why.
        message: String,
    },
}

/// What is wrong with a template's text, and where.
struct Trouble {
    line: usize,
    message: String,
}

impl ChatTemplate {
    /// Compiles a template; `name` is its file's name, for messages.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn new(name: &str, source: &str) -> Result<Self, TemplateError> {
        let syntax =
            |line: usize, message: String| TemplateError::Syntax { file: name.to_owned(), line, message };
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(syntax(
                0,
                format!("it has {} bytes, at most {MAX_TEMPLATE_BYTES} are read", source.len()),
            ));
        }
        // Jinja reads every end of line as one line feed.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let program = parser::parse(&source).map_err(|trouble| syntax(trouble.line, trouble.message))?;
        Ok(Self { name: name.to_owned(), program })
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] and [`TemplateError::Failed`].
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String, TemplateError> {
        let mut variables = options.variables.clone();
        variables.push(("messages".to_owned(), message::to_json(messages)));
        variables.push(("tools".to_owned(), options.tools.clone().map_or(Json::Null, Json::List)));
        variables.push(("documents".to_owned(), Json::Null));
        variables.push(("add_generation_prompt".to_owned(), Json::Bool(options.add_generation_prompt)));
        if let Some(thinking) = options.enable_thinking {
            variables.push(("enable_thinking".to_owned(), Json::Bool(thinking)));
        }
        self.render_with(Json::Map(variables))
    }

    /// Renders with exactly these variables: an object.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_with(&self, variables: Json) -> Result<String, TemplateError> {
        let fuel = size(&variables).saturating_mul(FUEL_PER_BYTE).saturating_add(BASE_FUEL);
        let failed = |line, message| TemplateError::Failed { file: self.name.clone(), line, message };
        let Json::Map(pairs) = variables else {
            return Err(failed(0, "its variables are no object".to_owned()));
        };
        let mut globals = Vec::new();
        for (name, value) in &pairs {
            let value = Value::from_json(value).map_err(|message| failed(0, message))?;
            globals.push((name.as_str(), value));
        }
        let mut eval = Eval::new(&self.program, &globals, fuel);
        let outcome = eval.run();
        let (line, raised) = (eval.line, eval.raised);
        match outcome {
            Ok(()) => Ok(eval.out),
            Err(message) if raised => Err(TemplateError::Refused { file: self.name.clone(), line, message }),
            Err(message) => Err(failed(line, message)),
        }
    }
}

/// About how many bytes a value takes.
fn size(value: &Json) -> u64 {
    let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    match value {
        Json::Text(text) => length(text.len()).saturating_add(32),
        Json::List(items) => items.iter().map(size).fold(32, u64::saturating_add),
        Json::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| size(value).saturating_add(length(key.len())))
            .fold(32, u64::saturating_add),
        _ => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, TemplateError> {
        ChatTemplate::new("chat_template.jinja", source)?
            .render(&[Message::text("user", "u")], &RenderOptions::default())
    }

    /// What a hostile template can do is to fail.
    #[test]
    fn work_output_and_recursion_are_bounded() {
        for source in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% set n = namespace(x='aaaaaaaa') %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
            "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
            "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
            "{% set n = namespace(x=[1]) %}{% for a in range(9999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | string }}",
            "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x == n.x }}",
            "{% set n = namespace() %}{% for a in range(9) %}{% set n.x = namespace(x=n) %}{% endfor %}",
            "{{ 'a' * 999999999999 }}",
            "{% set x = 'a' * 1000000 %}{{ x.replace('a', x) }}",
            "{% set x = 'a' * 1000000 %}{% for a in range(99) %}{{ x.split('') or x.split('a') | sort }}{% endfor %}",
            "{{ 'x' | center(99999999999) }}",
            "{{ '%999999999d' | format(1) }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% include 'chat_template.jinja' %}",
            "{% extends 'chat_template.jinja' %}",
            "{% include '/etc/passwd' %}",
        ] {
            match render(source) {
                Err(TemplateError::Failed { file, line, .. }) => {
                    assert_eq!((file.as_str(), line), ("chat_template.jinja", 1), "{source}");
                }
                other => panic!("{source}: {:.200?}", other),
            }
        }
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(matches!(render(&deep), Err(TemplateError::Syntax { .. })));
        for link in ["+1", "~1", "|abs", ".a", "[0]", " is none", " if 1"] {
            let chain = format!("{{{{ 1{} }}}}", link.repeat(100_000));
            assert!(render(&chain).is_err(), "{link}");
        }
        assert!(matches!(render(&" ".repeat(2 << 20)), Err(TemplateError::Syntax { .. })));
    }

    #[test]
    fn errors_name_file_line_and_the_templates_words() {
        let error = render("a\n{{ raise_exception('no ' ~ messages[0].role) }}").unwrap_err();
        assert_eq!(error.to_string(), "no user (the chat template says so, chat_template.jinja, line 2)");
        let error = render("a\n\n{{ messages.x.y }}").unwrap_err().to_string();
        assert!(
            error.starts_with("chat_template.jinja, line 3: the chat template fails: undefined value"),
            "{error}"
        );
        let error = render("a\n{% if %}").unwrap_err().to_string();
        assert!(
            error.starts_with("chat_template.jinja, line 2: the chat template does not compile"),
            "{error}"
        );
    }
}
