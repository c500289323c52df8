//! From pieces to a program: Jinja's grammar, as far as templates without other templates go.

use super::ast::{For, Id, Kind, Macro, Program, Stmt};
use super::expression::Tokens;
use super::lexer::{Piece, Token, pieces};
use super::{Trouble, trouble};

/// Deepest nesting of statements, and of expressions.
pub(super) const MAX_DEPTH: usize = 100;

/// Parses a template.
pub(super) fn parse(source: &str) -> Result<Program, Trouble> {
    let mut pieces = pieces(source)?.into_iter();
    let mut program = Program::default();
    let mut blocks = Blocks { program: &mut program, pieces: &mut pieces, depth: 0, line: 1 };
    let (body, end) = blocks.body(&[])?;
    debug_assert!(end.is_none());
    program.body = body;
    Ok(program)
}

struct Blocks<'a> {
    program: &'a mut Program,
    pieces: &'a mut dyn Iterator<Item = (usize, Piece)>,
    depth: usize,
    line: usize,
}

/// A tag that ends a body: its name and the rest of its tokens.
type End = Option<(String, Vec<Token>)>;

impl Blocks<'_> {
    fn trouble<T>(&self, message: impl Into<String>) -> Result<T, Trouble> {
        Err(trouble(self.line, message))
    }

    /// Statements up to one of the tags in `ends`, or to the end of the template when there are none.
    fn body(&mut self, ends: &[&str]) -> Result<(Vec<Stmt>, End), Trouble> {
        if self.depth >= MAX_DEPTH {
            return self.trouble("tags are nested too deeply");
        }
        self.depth += 1;
        let opened = self.line;
        let mut body = Vec::new();
        while let Some((line, piece)) = self.pieces.next() {
            self.line = line;
            let kind = match piece {
                Piece::Text(text) => Kind::Text(text),
                Piece::Output(tokens) => Kind::Output(self.whole(tokens)?),
                Piece::Block(tokens) => {
                    let mut tokens = tokens.into_iter();
                    let Some(Token::Name(name)) = tokens.next() else {
                        return self.trouble("a tag has no name");
                    };
                    let rest: Vec<Token> = tokens.collect();
                    if ends.contains(&name.as_str()) {
                        self.depth -= 1;
                        return Ok((body, Some((name, rest))));
                    }
                    self.statement(&name, rest)?
                }
            };
            body.push(Stmt { line, kind });
        }
        if let Some(end) = ends.last() {
            self.line = opened;
            return self.trouble(format!("a tag is open: `{end}` is missing"));
        }
        self.depth -= 1;
        Ok((body, None))
    }

    fn closed_body(&mut self, end: &str) -> Result<Vec<Stmt>, Trouble> {
        Ok(self.body(&[end])?.0)
    }

    /// An expression that is all of the tokens.
    fn whole(&mut self, tokens: Vec<Token>) -> Result<Id, Trouble> {
        let mut parser = self.tokens(tokens);
        let id = parser.tuple()?;
        parser.end()?;
        Ok(id)
    }

    fn tokens(&mut self, tokens: Vec<Token>) -> Tokens<'_> {
        Tokens { exprs: &mut self.program.exprs, tokens, at: 0, depth: 0, line: self.line }
    }

    fn statement(&mut self, name: &str, rest: Vec<Token>) -> Result<Kind, Trouble> {
        Ok(match name {
            "if" => {
                let mut arms = Vec::new();
                let mut condition = Some(self.whole(rest)?);
                loop {
                    let ends: &[&str] =
                        if condition.is_some() { &["elif", "else", "endif"] } else { &["endif"] };
                    let (body, end) = self.body(ends)?;
                    arms.push((condition, body));
                    condition = match end {
                        Some((name, tokens)) if name == "elif" => Some(self.whole(tokens)?),
                        Some((name, _)) if name == "else" => None,
                        _ => break,
                    };
                }
                Kind::If(arms)
            }
            "for" => {
                let mut parser = self.tokens(rest);
                let targets = parser.targets()?;
                parser.expect_name("in")?;
                let items = parser.tuple_without_choice()?;
                let condition = if parser.eat_name("if") { Some(parser.expression()?) } else { None };
                let recursive = parser.eat_name("recursive");
                parser.end()?;
                let (body, end) = self.body(&["else", "endfor"])?;
                let otherwise = match end {
                    Some((name, _)) if name == "else" => self.closed_body("endfor")?,
                    _ => Vec::new(),
                };
                Kind::For(For { targets, items, condition, recursive, body, otherwise })
            }
            "set" => {
                let mut parser = self.tokens(rest);
                let targets = parser.targets()?;
                let [target] = targets.as_slice() else {
                    parser.expect("=")?;
                    let value = parser.tuple()?;
                    parser.end()?;
                    return Ok(Kind::Set(targets, value));
                };
                if parser.eat(".") {
                    let attribute = parser.name()?;
                    parser.expect("=")?;
                    let value = parser.tuple()?;
                    parser.end()?;
                    return Ok(Kind::SetAttribute(target.clone(), attribute, value));
                }
                if parser.eat("=") {
                    let value = parser.tuple()?;
                    parser.end()?;
                    return Ok(Kind::Set(targets, value));
                }
                let filters = parser.filters()?;
                Kind::SetBlock(target.clone(), filters, self.closed_body("endset")?)
            }
            "macro" => {
                let mut parser = self.tokens(rest);
                let name = parser.name()?;
                parser.expect("(")?;
                let mut parameters = Vec::new();
                while !parser.eat(")") {
                    let parameter = parser.name()?;
                    let default = if parser.eat("=") { Some(parser.expression()?) } else { None };
                    parameters.push((parameter, default));
                    if !parser.eat(",") {
                        parser.expect(")")?;
                        break;
                    }
                }
                parser.end()?;
                Kind::Macro(Macro { name, parameters, body: self.closed_body("endmacro")? })
            }
            "with" => {
                let mut parser = self.tokens(rest);
                let mut values = Vec::new();
                while !parser.is_end() {
                    let name = parser.name()?;
                    parser.expect("=")?;
                    values.push((name, parser.expression()?));
                    if !parser.eat(",") {
                        break;
                    }
                }
                parser.end()?;
                Kind::With(values, self.closed_body("endwith")?)
            }
            "filter" => {
                let mut parser = self.tokens(rest);
                let first = parser.filter()?;
                let mut filters = parser.filters()?;
                filters.insert(0, first);
                Kind::FilterBlock(filters, self.closed_body("endfilter")?)
            }
            "generation" => {
                self.tokens(rest).end()?;
                Kind::With(Vec::new(), self.closed_body("endgeneration")?)
            }
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "include" | "extends" | "import" | "from" => Kind::NoTemplates(name.to_owned()),
            _ => return self.trouble(format!("unknown tag `{name}`")),
        })
    }
}
