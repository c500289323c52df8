//! Reading a graph.

use std::collections::BTreeMap;

use super::attrs::read_op;
use super::constant;
use super::lexer::{Kind, Token, tokenize};
use super::names::Named;
use super::{ConstPool, ParseError};
use crate::dim::Dim;
use crate::graph::{Graph, State, StateKind, ValueId, ValueType};
use crate::infer::MAX_RANK;
use crate::tensor::Tensor;

/// Elements that all `seeded` constants of one text may have together: 64 MiB of f32.
const MAX_SEEDED: usize = 1 << 24;

type Result<T> = std::result::Result<T, ParseError>;

/// Reads a graph; `extern` constants come from `pool`.
pub fn parse(text: &str, pool: &ConstPool) -> Result<Graph> {
    let mut parser = Parser { tokens: tokenize(text)?, at: 0 };
    parser.expect_word("graph")?;
    let name = parser.text()?;
    let mut reader =
        GraphReader { parser, graph: Graph::new(name), ids: BTreeMap::new(), pool, seeded_left: MAX_SEEDED };
    reader.body()?;
    Ok(reader.graph)
}

/// A position in the tokens.
pub(super) struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// Index of the next token.
    pub(super) fn here(&self) -> usize {
        self.at
    }

    /// Continues at an earlier or later token.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    fn token(&self, at: usize) -> Option<&Token<'a>> {
        self.tokens.get(at).or_else(|| self.tokens.last())
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        self.error_at(self.at, message)
    }

    pub(super) fn error_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        match self.token(at) {
            Some(token) => token.error(message),
            None => ParseError { line: 1, column: 1, message: message.into() },
        }
    }

    fn expected(&self, what: &str) -> ParseError {
        let found = self.token(self.at).map_or_else(String::new, Token::describe);
        self.error(format!("{what} is expected, not {found}"))
    }

    pub(super) fn peek_kind(&self) -> &Kind<'a> {
        self.token(self.at).map_or(&Kind::End, |token| &token.kind)
    }

    pub(super) fn next_kind(&mut self) -> Kind<'a> {
        let kind = self.peek_kind().clone();
        self.at += 1;
        kind
    }

    pub(super) fn take_mark(&mut self, mark: char) -> bool {
        let there = *self.peek_kind() == Kind::Mark(mark);
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect_mark(&mut self, mark: char) -> Result<()> {
        if self.take_mark(mark) { Ok(()) } else { Err(self.expected(&format!("`{mark}`"))) }
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let there = matches!(self.peek_kind(), Kind::Word(have) if *have == word);
        self.at += usize::from(there);
        there
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.take_word(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    pub(super) fn word(&mut self) -> Result<&'a str> {
        match *self.peek_kind() {
            Kind::Word(word) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.expected("a word")),
        }
    }

    fn id(&mut self) -> Result<&'a str> {
        match *self.peek_kind() {
            Kind::Id(id) => {
                self.at += 1;
                Ok(id)
            }
            _ => Err(self.expected("a value such as `%x`")),
        }
    }

    fn text(&mut self) -> Result<String> {
        self.take_text().ok_or_else(|| self.expected("a string"))
    }

    fn take_text(&mut self) -> Option<String> {
        match self.peek_kind().clone() {
            Kind::Text(text) => {
                self.at += 1;
                Some(text)
            }
            _ => None,
        }
    }

    /// A value of an enumeration.
    pub(super) fn named<T: Named>(&mut self) -> Result<T> {
        let at = self.here();
        let word = self.word()?;
        T::from_word(word).ok_or_else(|| self.error_at(at, format!("`{word}` is no {}", T::WHAT)))
    }

    /// A non-negative integer.
    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let at = self.here();
        let word = self.signed_word()?;
        word.parse().map_err(|_| self.error_at(at, format!("`{word}` is no integer that fits here")))
    }

    /// Items between `open` and `close`, separated by commas.
    pub(super) fn list<T>(
        &mut self,
        (open, close): (char, char),
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect_mark(open)?;
        let mut items = Vec::new();
        while !self.take_mark(close) {
            if !items.is_empty() {
                self.expect_mark(',')?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `f32[1, tokens]`.
    fn value_type(&mut self) -> Result<ValueType> {
        let start = self.here();
        let dtype = self.dtype()?;
        let shape = self.list(('[', ']'), Self::dim)?;
        if shape.len() > MAX_RANK {
            return Err(self.error_at(start, format!("the rank is above the supported {MAX_RANK}")));
        }
        Ok(ValueType { dtype, shape })
    }
}

struct GraphReader<'a, 'p> {
    parser: Parser<'a>,
    graph: Graph,
    ids: BTreeMap<&'a str, ValueId>,
    pool: &'p ConstPool,
    seeded_left: usize,
}

impl<'a> GraphReader<'a, '_> {
    fn body(&mut self) -> Result<()> {
        self.parser.expect_mark('{')?;
        while !self.parser.take_mark('}') {
            match self.parser.peek_kind() {
                Kind::Word("input") => self.input()?,
                Kind::Word("const") => self.constant()?,
                Kind::Word("output") => self.output()?,
                Kind::Word("state") => self.state()?,
                Kind::Id(_) => self.node()?,
                _ => {
                    return Err(self
                        .parser
                        .expected("`input`, `const`, `output`, `state`, a `%value` or `}`"));
                }
            }
        }
        match self.parser.peek_kind() {
            Kind::End => Ok(()),
            _ => Err(self.parser.expected("the end of the text")),
        }
    }

    /// The id of a value that is being defined.
    fn new_id(&mut self) -> Result<&'a str> {
        let at = self.parser.here();
        let id = self.parser.id()?;
        if self.ids.contains_key(id) {
            return Err(self.parser.error_at(at, format!("`%{id}` is defined twice")));
        }
        Ok(id)
    }

    fn known_value(&mut self) -> Result<ValueId> {
        let at = self.parser.here();
        let id = self.parser.id()?;
        let value = self.ids.get(id).copied();
        value.ok_or_else(|| self.parser.error_at(at, format!("`%{id}` is not defined yet")))
    }

    fn input(&mut self) -> Result<()> {
        self.parser.expect_word("input")?;
        let id = self.new_id()?;
        self.parser.expect_mark(':')?;
        let ty = self.parser.value_type()?;
        let name = self.parser.take_text().unwrap_or_else(|| id.to_owned());
        let value = self.graph.add_input(name, ty);
        self.ids.insert(id, value);
        Ok(())
    }

    fn constant(&mut self) -> Result<()> {
        self.parser.expect_word("const")?;
        let id = self.new_id()?;
        self.parser.expect_mark(':')?;
        let at = self.parser.here();
        let ty = self.parser.value_type()?;
        let shape = ty.shape.iter().map(Dim::as_usize).collect::<Option<Vec<usize>>>();
        let shape = shape.ok_or_else(|| self.parser.error_at(at, "a constant has constant dimensions"))?;
        self.parser.expect_mark('=')?;
        let at = self.parser.here();
        let tensor = self.tensor(&ty, shape).map_err(|error| match error {
            Fault::Parse(error) => error,
            Fault::Message(message) => self.parser.error_at(at, message),
        })?;
        let name = self.parser.take_text().unwrap_or_else(|| id.to_owned());
        let value = self.graph.add_const(name, tensor);
        self.ids.insert(id, value);
        Ok(())
    }

    fn tensor(&mut self, ty: &ValueType, shape: Vec<usize>) -> std::result::Result<Tensor, Fault> {
        match self.parser.word()? {
            "dense" => {
                let words = self.parser.list(('(', ')'), Parser::signed_word)?;
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                Ok(constant::from_dense(ty.dtype, shape, &words)?)
            }
            "seeded" => {
                let words = self.parser.list(('(', ')'), Parser::signed_word)?;
                let seed = words.first().and_then(|word| word.parse().ok());
                let range = match words.get(1..) {
                    Some([low, high]) => low.parse().ok().zip(high.parse().ok()),
                    _ => None,
                };
                let (Some(seed), true) = (seed, words.len() == 1 || range.is_some()) else {
                    return Err("`seeded(seed)` or `seeded(seed, low, high)` is expected".to_owned().into());
                };
                let count = crate::tensor::element_count(&shape).unwrap_or(usize::MAX);
                self.seeded_left = self.seeded_left.checked_sub(count).ok_or_else(|| {
                    Fault::Message(format!("more than {MAX_SEEDED} elements of seeded constants"))
                })?;
                Ok(constant::seeded(ty.dtype, shape, seed, range)?)
            }
            "extern" => {
                let hash = self.parser.text()?;
                match self.pool.get(&hash) {
                    Some(tensor) if tensor.dtype() == ty.dtype && tensor.shape() == shape => {
                        Ok(tensor.clone())
                    }
                    Some(tensor) => Err(format!("the pool has {tensor:?} under this hash").into()),
                    None => Err("the pool has no constant of this hash".to_owned().into()),
                }
            }
            other => Err(format!("`{other}` is no constant; use `dense`, `seeded` or `extern`").into()),
        }
    }

    /// `%a, %b("name") = op(inputs) {attributes} : types "name"`.
    fn node(&mut self) -> Result<()> {
        let mut results: Vec<(&'a str, Option<String>)> = Vec::new();
        loop {
            let at = self.parser.here();
            let id = self.new_id()?;
            if results.iter().any(|(have, _)| *have == id) {
                return Err(self.parser.error_at(at, format!("`%{id}` is defined twice")));
            }
            let name = match self.parser.take_mark('(') {
                true => {
                    let name = self.parser.text()?;
                    self.parser.expect_mark(')')?;
                    Some(name)
                }
                false => None,
            };
            results.push((id, name));
            if !self.parser.take_mark(',') {
                break;
            }
        }
        self.parser.expect_mark('=')?;
        let at = self.parser.here();
        let op_name = self.parser.word()?;
        let inputs = self.node_inputs()?;
        let op = read_op(op_name, at, &mut self.parser)?;
        let annotated = self.annotation()?;
        let name = self.parser.take_text();
        let name =
            name.unwrap_or_else(|| results.first().map_or_else(String::new, |(id, _)| (*id).to_owned()));

        let values = self
            .graph
            .add_node(name, op, &inputs)
            .map_err(|error| self.parser.error_at(at, format!("{op_name}: {error}")))?;
        if values.len() != results.len() {
            let message = format!("{op_name} has {} results, not {}", values.len(), results.len());
            return Err(self.parser.error_at(at, message));
        }
        if let Some((types_at, types)) = annotated {
            let inferred: Vec<&ValueType> = values.iter().map(|id| &self.graph.value(*id).ty).collect();
            if !inferred.iter().copied().eq(&types) {
                let inferred: Vec<String> = inferred.iter().map(ToString::to_string).collect();
                let message = format!("the results are {}", inferred.join(", "));
                return Err(self.parser.error_at(types_at, message));
            }
        }
        for ((id, name), value) in results.into_iter().zip(values) {
            if let Some(name) = name {
                self.graph.value_mut(value).name = name;
            }
            self.ids.insert(id, value);
        }
        Ok(())
    }

    fn node_inputs(&mut self) -> Result<Vec<Option<ValueId>>> {
        self.parser.expect_mark('(')?;
        let mut inputs = Vec::new();
        while !self.parser.take_mark(')') {
            if !inputs.is_empty() {
                self.parser.expect_mark(',')?;
            }
            inputs.push(if self.parser.take_word("_") { None } else { Some(self.known_value()?) });
        }
        Ok(inputs)
    }

    fn annotation(&mut self) -> Result<Option<(usize, Vec<ValueType>)>> {
        if !self.parser.take_mark(':') {
            return Ok(None);
        }
        let at = self.parser.here();
        let mut types = vec![self.parser.value_type()?];
        while self.parser.take_mark(',') {
            types.push(self.parser.value_type()?);
        }
        Ok(Some((at, types)))
    }

    fn output(&mut self) -> Result<()> {
        self.parser.expect_word("output")?;
        let name = self.parser.text()?;
        self.parser.expect_mark('=')?;
        let value = self.known_value()?;
        self.graph.add_output(name, value);
        Ok(())
    }

    fn state(&mut self) -> Result<()> {
        self.parser.expect_word("state")?;
        let kind: StateKind = self.parser.named()?;
        let name = self.parser.text()?;
        self.parser.expect_word("past")?;
        self.parser.expect_mark('=')?;
        let past = self.known_value()?;
        self.parser.expect_word("present")?;
        self.parser.expect_mark('=')?;
        let present = self.known_value()?;
        self.graph.add_state(State { name, kind, past, present });
        Ok(())
    }
}

/// An error with its place, or one that belongs to the constant as a whole.
enum Fault {
    Parse(ParseError),
    Message(String),
}

impl From<ParseError> for Fault {
    fn from(error: ParseError) -> Self {
        Fault::Parse(error)
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault::Message(message)
    }
}
