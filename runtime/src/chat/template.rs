//! Chat templates: Jinja as Hugging Face transformers renders it.
//!
//! A template comes with the model and is untrusted. It sees the values it is given and nothing else; its work, its
//! output and its recursion are bounded.

use std::error::Error as _;
use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::python::{self, Dumps};
use super::{Json, Message, clock, message};

/// Longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Work that a rendering may do besides what its input's size allows: about an instruction, or 64 bytes, each.
const BASE_FUEL: u64 = 1_000_000;
/// More work for every byte of input.
const FUEL_PER_BYTE: u64 = 4;
/// Deepest nesting of loops, macros and conditions.
const MAX_RECURSION: usize = 200;

/// A chat template, compiled.
pub struct ChatTemplate {
    name: String,
    environment: Environment<'static>,
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

/// The words of `raise_exception`.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

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
        let mut environment = environment().map_err(|error| syntax(0, error.to_string()))?;
        // Jinja reads every end of line as one line feed.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        environment
            .add_template_owned(name.to_owned(), source)
            .map_err(|error| syntax(error.line().unwrap_or_default(), words(&error)))?;
        Ok(Self { name: name.to_owned(), environment })
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
        // Environments share what they hold; only the budget is this call's own.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment.get_template(&self.name).map_err(|error| self.error(&error))?;
        template.render(to_value(variables)).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &Error) -> TemplateError {
        let (file, line) = (self.name.clone(), error.line().unwrap_or_default());
        let mut cause = error.source();
        while let Some(current) = cause {
            if let Some(Raised(message)) = current.downcast_ref() {
                return TemplateError::Refused { file, line, message: message.clone() };
            }
            cause = current.source();
        }
        let mut message = words(error);
        if error.kind() == ErrorKind::OutOfFuel {
            message = "it does too much work for this conversation".to_owned();
        }
        TemplateError::Failed { file, line, message }
    }
}

/// The error without its place.
fn words(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
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

fn to_value(value: Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(value),
        Json::Int(value) => i64::try_from(value).map_or_else(|_| Value::from(value), Value::from),
        Json::Float(value) => Value::from(value),
        Json::Text(text) => Value::from(text),
        Json::List(items) => Value::from(items.into_iter().map(to_value).collect::<Vec<_>>()),
        Json::Map(pairs) => Value::from_pairs(pairs.into_iter().map(|(key, value)| (key, to_value(value)))),
    }
}

/// Jinja as `apply_chat_template` sets it up.
fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Number => {
            escape_formatter(out, state, &Value::from(python::str(value)?))
        }
        _ => escape_formatter(out, state, value),
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
    });
    environment.add_filter("string", |value: &Value| match value.kind() {
        ValueKind::String => Ok(value.clone()),
        _ => python::str(value).map(Value::from),
    });
    environment.add_filter("trim", |value: &Value, chars: Option<&str>| {
        Ok::<_, Error>(Value::from(strip(&python::str(value)?, chars, true, true)))
    });
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        let message = python::str(message)?;
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    environment.add_function("strftime_now", |format: &str| python::strftime(format, clock::since_epoch()));
    Ok(environment)
}

/// Methods of Python's types. White space is Python's.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let sides = match name {
        "strip" => (true, true),
        "lstrip" => (true, false),
        "rstrip" => (false, true),
        _ => return unknown_method_callback(state, value, name, args),
    };
    let Some(text) = value.as_str() else { return Err(Error::from(ErrorKind::UnknownMethod)) };
    let chars = match args {
        [] => None,
        [chars] if chars.is_none() => None,
        [chars] if chars.as_str().is_some() => chars.as_str(),
        _ => return unknown_method_callback(state, value, name, args),
    };
    Ok(Value::from(strip(text, chars, sides.0, sides.1)))
}

fn strip<'a>(mut text: &'a str, chars: Option<&str>, start: bool, end: bool) -> &'a str {
    let goes = |c: char| chars.map_or_else(|| python::is_space(c), |chars| chars.contains(c));
    if start {
        text = text.trim_start_matches(goes);
    }
    if end {
        text = text.trim_end_matches(goes);
    }
    text
}

/// transformers' `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn tojson(state: &State<'_, '_>, value: &Value, args: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let argument = |at: usize, name: &str| -> Result<Option<Value>, Error> {
        let given = match args.get(at) {
            Some(value) => Some(value.clone()),
            None => kwargs.get::<Option<Value>>(name)?,
        };
        Ok(given.filter(|value| !value.is_none()))
    };
    let flag = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let ensure_ascii = flag(argument(0, "ensure_ascii")?);
    let indent = match argument(1, "indent")? {
        None => None,
        // Deeper indents only make output.
        Some(indent) => Some(usize::try_from(indent)?.min(32)),
    };
    let separators = argument(2, "separators")?;
    let sort_keys = flag(argument(3, "sort_keys")?);
    kwargs.assert_all_used()?;
    let separator = |at: usize, default: &str| -> Result<String, Error> {
        match &separators {
            None => Ok(default.to_owned()),
            Some(pair) => python::str(&pair.get_item_by_index(at)?),
        }
    };
    let item_separator = separator(0, if indent.is_some() { "," } else { ", " })?;
    let key_separator = separator(1, ": ")?;
    let dumps = Dumps { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    let text = dumps.dump(value)?;
    state.consume_fuel(u64::try_from(text.len() / 8).unwrap_or(u64::MAX))?;
    Ok(Value::from(text))
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
            "{{ 'a' * 999999999999 }}",
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
