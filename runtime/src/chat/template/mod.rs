//! Chat templates: Jinja as Hugging Face transformers renders it.
//!
//! A template comes with the model and is untrusted. It sees the values it is given and nothing else; its work, its
//! output and its recursion are bounded.
//!
//! There are two interpreters of the same language, held against the same cases: `native`, and for browsers one in JavaScript
//! (`runtime/web/src/template`), which takes a third of the bytes there.

mod native;

use std::fmt;

use self::native::Compiled;
use super::{Json, Message, message};

/// A chat template, compiled.
pub struct ChatTemplate {
    name: String,
    compiled: Compiled,
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

/// What is wrong with a template, and where.
struct Trouble {
    line: usize,
    message: String,
    /// The template said so itself.
    raised: bool,
}

impl ChatTemplate {
    /// Compiles a template; `name` is its file's name, for messages.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`].
    pub fn new(name: &str, source: &str) -> Result<Self, TemplateError> {
        match Compiled::new(source) {
            Ok(compiled) => Ok(Self { name: name.to_owned(), compiled }),
            Err(Trouble { line, message, .. }) => {
                Err(TemplateError::Syntax { file: name.to_owned(), line, message })
            }
        }
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
        self.compiled.render(&variables).map_err(|trouble| {
            let Trouble { line, message, raised } = trouble;
            let file = self.name.clone();
            if raised {
                TemplateError::Refused { file, line, message }
            } else {
                TemplateError::Failed { file, line, message }
            }
        })
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
