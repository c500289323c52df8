//! From tokens to expressions.

use super::ast::{Arguments, Binary, Compare, Expr, FilterCall, Id};
use super::lexer::Token;
use super::parser::MAX_DEPTH;
use super::{Trouble, trouble};

/// Words that are no names.
const RESERVED: [&str; 8] = ["and", "or", "not", "in", "is", "if", "else", "recursive"];

pub(super) struct Tokens<'a> {
    pub(super) exprs: &'a mut Vec<Expr>,
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) depth: usize,
    pub(super) line: usize,
}

impl Tokens<'_> {
    fn trouble<T>(&self, message: impl Into<String>) -> Result<T, Trouble> {
        Err(trouble(self.line, message))
    }

    fn unexpected<T>(&self) -> Result<T, Trouble> {
        match self.tokens.get(self.at) {
            None => self.trouble("unexpected end of a tag"),
            Some(Token::Name(name)) => self.trouble(format!("unexpected `{name}`")),
            Some(Token::Symbol(symbol)) => self.trouble(format!("unexpected `{symbol}`")),
            Some(_) => self.trouble("unexpected literal"),
        }
    }

    fn add(&mut self, expr: Expr) -> Id {
        self.exprs.push(expr);
        self.exprs.len() - 1
    }

    pub(super) fn is_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(super) fn end(&self) -> Result<(), Trouble> {
        if self.is_end() { Ok(()) } else { self.unexpected() }
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Symbol(found)) if *found == symbol)
    }

    pub(super) fn eat(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), Trouble> {
        if self.eat(symbol) { Ok(()) } else { self.unexpected() }
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Name(found)) if found == name)
    }

    pub(super) fn eat_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_name(&mut self, name: &str) -> Result<(), Trouble> {
        if self.eat_name(name) { Ok(()) } else { self.unexpected() }
    }

    pub(super) fn name(&mut self) -> Result<String, Trouble> {
        match self.tokens.get(self.at) {
            Some(Token::Name(name)) if !RESERVED.contains(&name.as_str()) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected(),
        }
    }

    /// Names to assign to, perhaps in parentheses.
    pub(super) fn targets(&mut self) -> Result<Vec<String>, Trouble> {
        let parentheses = self.eat("(");
        let mut names = vec![self.name()?];
        while self.eat(",") && !self.is_name("in") && !self.is("=") && !self.is(")") {
            names.push(self.name()?);
        }
        if parentheses {
            self.expect(")")?;
        }
        Ok(names)
    }

    /// One expression, or several with commas.
    pub(super) fn tuple(&mut self) -> Result<Id, Trouble> {
        self.tuple_of(Self::expression)
    }

    /// What a `for` goes over: the `if` behind it is not part of it.
    pub(super) fn tuple_without_choice(&mut self) -> Result<Id, Trouble> {
        self.tuple_of(Self::or)
    }

    fn tuple_of(&mut self, item: fn(&mut Self) -> Result<Id, Trouble>) -> Result<Id, Trouble> {
        let first = item(self)?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.eat(",") && !self.is_end() && !self.is(")") && !self.is("]") {
            items.push(item(self)?);
        }
        Ok(self.add(Expr::Tuple(items)))
    }

    pub(super) fn expression(&mut self) -> Result<Id, Trouble> {
        if self.depth >= MAX_DEPTH {
            return self.trouble("an expression is nested too deeply");
        }
        self.depth += 1;
        let mut value = self.or()?;
        while self.eat_name("if") {
            let condition = self.or()?;
            let otherwise =
                if self.eat_name("else") { self.expression()? } else { self.add(Expr::Undefined) };
            value = self.add(Expr::Choice(condition, value, otherwise));
        }
        self.depth -= 1;
        Ok(value)
    }

    fn or(&mut self) -> Result<Id, Trouble> {
        let mut left = self.and()?;
        while self.eat_name("or") {
            let right = self.and()?;
            left = self.add(Expr::Or(left, right));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Id, Trouble> {
        let mut left = self.not()?;
        while self.eat_name("and") {
            let right = self.not()?;
            left = self.add(Expr::And(left, right));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Id, Trouble> {
        let mut nots = 0_usize;
        while self.eat_name("not") {
            nots += 1;
        }
        let mut value = self.compare()?;
        for _ in 0..nots {
            value = self.add(Expr::Not(value));
        }
        Ok(value)
    }

    fn compare(&mut self) -> Result<Id, Trouble> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let symbols = [
                ("==", Compare::Equal),
                ("!=", Compare::Unequal),
                ("<=", Compare::LessEqual),
                (">=", Compare::GreaterEqual),
                ("<", Compare::Less),
                (">", Compare::Greater),
            ];
            let mut found =
                symbols.into_iter().find(|(symbol, _)| self.is(symbol)).map(|(_, compare)| compare);
            if self.is_name("in") {
                found = Some(Compare::In);
            } else if self.is_name("not") {
                self.at += 1;
                if !self.is_name("in") {
                    return self.unexpected();
                }
                found = Some(Compare::NotIn);
            }
            let Some(compare) = found else { break };
            self.at += 1;
            rest.push((compare, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { self.add(Expr::Compare(first, rest)) })
    }

    /// A chain of operators of the same strength.
    fn chain(
        &mut self,
        operators: &[(&str, Binary)],
        operand: fn(&mut Self) -> Result<Id, Trouble>,
    ) -> Result<Id, Trouble> {
        let mut left = operand(self)?;
        while let Some((_, binary)) = operators.iter().find(|(symbol, _)| self.is(symbol)) {
            self.at += 1;
            let right = operand(self)?;
            left = self.add(Expr::Binary(*binary, left, right));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Id, Trouble> {
        self.chain(&[("+", Binary::Add), ("-", Binary::Subtract)], Self::concat)
    }

    fn concat(&mut self) -> Result<Id, Trouble> {
        self.chain(&[("~", Binary::Concat)], Self::product)
    }

    fn product(&mut self) -> Result<Id, Trouble> {
        let operators = [
            ("*", Binary::Multiply),
            ("/", Binary::Divide),
            ("//", Binary::FloorDivide),
            ("%", Binary::Modulo),
        ];
        self.chain(&operators, Self::power)
    }

    fn power(&mut self) -> Result<Id, Trouble> {
        self.chain(&[("**", Binary::Power)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filters: bool) -> Result<Id, Trouble> {
        if self.depth >= MAX_DEPTH {
            return self.trouble("an expression is nested too deeply");
        }
        self.depth += 1;
        let mut value = if self.eat("-") {
            let value = self.unary(false)?;
            self.add(Expr::Negative(value))
        } else if self.eat("+") {
            let value = self.unary(false)?;
            self.add(Expr::Positive(value))
        } else {
            self.primary()?
        };
        value = self.postfix(value)?;
        if with_filters {
            value = self.filters_and_tests(value)?;
        }
        self.depth -= 1;
        Ok(value)
    }

    fn primary(&mut self) -> Result<Id, Trouble> {
        let Some(token) = self.tokens.get(self.at).cloned() else { return self.unexpected() };
        self.at += 1;
        let expr = match token {
            Token::Int(value) => Expr::Int(value),
            Token::Float(value) => Expr::Float(value),
            Token::Text(mut text) => {
                // Strings beside each other are one.
                while let Some(Token::Text(more)) = self.tokens.get(self.at) {
                    text.push_str(more);
                    self.at += 1;
                }
                Expr::Text(text)
            }
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                _ if RESERVED.contains(&name.as_str()) => {
                    self.at -= 1;
                    return self.unexpected();
                }
                _ => Expr::Name(name),
            },
            Token::Symbol("(") => {
                if self.eat(")") {
                    Expr::Tuple(Vec::new())
                } else {
                    let inner = self.tuple()?;
                    self.expect(")")?;
                    return Ok(inner);
                }
            }
            Token::Symbol("[") => {
                let mut items = Vec::new();
                while !self.eat("]") {
                    items.push(self.expression()?);
                    if !self.eat(",") {
                        self.expect("]")?;
                        break;
                    }
                }
                Expr::List(items)
            }
            Token::Symbol("{") => {
                let mut pairs = Vec::new();
                while !self.eat("}") {
                    let key = self.expression()?;
                    self.expect(":")?;
                    pairs.push((key, self.expression()?));
                    if !self.eat(",") {
                        self.expect("}")?;
                        break;
                    }
                }
                Expr::Map(pairs)
            }
            Token::Symbol(_) => {
                self.at -= 1;
                return self.unexpected();
            }
        };
        Ok(self.add(expr))
    }

    fn postfix(&mut self, mut value: Id) -> Result<Id, Trouble> {
        loop {
            value = if self.eat(".") {
                match self.tokens.get(self.at).cloned() {
                    Some(Token::Name(name)) => {
                        self.at += 1;
                        if self.eat("(") {
                            let arguments = self.arguments()?;
                            self.add(Expr::Method(value, name, arguments))
                        } else {
                            self.add(Expr::Attribute(value, name))
                        }
                    }
                    Some(Token::Int(index)) => {
                        self.at += 1;
                        let index = self.add(Expr::Int(index));
                        self.add(Expr::Index(value, index))
                    }
                    _ => return self.unexpected(),
                }
            } else if self.eat("[") {
                self.subscript(value)?
            } else if self.eat("(") {
                let arguments = self.arguments()?;
                self.add(Expr::Call(value, arguments))
            } else {
                return Ok(value);
            };
        }
    }

    fn subscript(&mut self, value: Id) -> Result<Id, Trouble> {
        let mut parts = [None; 3];
        let mut colons = 0;
        while !self.is("]") {
            if self.eat(":") {
                colons += 1;
            } else if let Some(part) = parts.get_mut(colons).filter(|part| part.is_none()) {
                *part = Some(self.tuple()?);
            } else {
                return self.unexpected();
            }
        }
        self.expect("]")?;
        match (colons, parts) {
            (0, [Some(index), ..]) => Ok(self.add(Expr::Index(value, index))),
            (1 | 2, _) => Ok(self.add(Expr::Slice(value, parts))),
            _ => self.trouble("a subscript is empty"),
        }
    }

    /// Arguments of a call, behind its opening parenthesis.
    fn arguments(&mut self) -> Result<Arguments, Trouble> {
        let mut arguments = Arguments::default();
        while !self.eat(")") {
            let named =
                matches!(self.tokens.get(self.at..self.at + 2), Some([Token::Name(_), Token::Symbol("=")]));
            if named {
                let name = self.name()?;
                self.expect("=")?;
                arguments.names.push((name, self.expression()?));
            } else if arguments.names.is_empty() {
                arguments.places.push(self.expression()?);
            } else {
                return self.unexpected();
            }
            if !self.eat(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(arguments)
    }

    /// A filter's name and arguments.
    pub(super) fn filter(&mut self) -> Result<FilterCall, Trouble> {
        let name = self.name()?;
        let arguments = if self.eat("(") { self.arguments()? } else { Arguments::default() };
        Ok((name, arguments))
    }

    /// Filters up to the end of the tag.
    pub(super) fn filters(&mut self) -> Result<Vec<FilterCall>, Trouble> {
        let mut filters = Vec::new();
        while self.eat("|") {
            filters.push(self.filter()?);
        }
        self.end()?;
        Ok(filters)
    }

    fn filters_and_tests(&mut self, mut value: Id) -> Result<Id, Trouble> {
        loop {
            value = if self.eat("|") {
                let (name, arguments) = self.filter()?;
                self.add(Expr::Filter(value, name, arguments))
            } else if self.eat_name("is") {
                let negated = self.eat_name("not");
                let name = match self.tokens.get(self.at).cloned() {
                    // `in` is a test, too.
                    Some(Token::Name(name)) => name,
                    _ => return self.unexpected(),
                };
                self.at += 1;
                let arguments = self.test_arguments()?;
                let test = self.add(Expr::Test(value, name, arguments));
                if negated { self.add(Expr::Not(test)) } else { test }
            } else if self.eat("(") {
                let arguments = self.arguments()?;
                self.add(Expr::Call(value, arguments))
            } else {
                return Ok(value);
            };
        }
    }

    /// Arguments of a test: in parentheses, or one that follows.
    fn test_arguments(&mut self) -> Result<Vec<Id>, Trouble> {
        if self.eat("(") {
            return Ok(self.arguments()?.places);
        }
        let follows = match self.tokens.get(self.at) {
            Some(Token::Name(name)) => {
                !["and", "or", "not", "in", "is", "if", "else", "recursive"].contains(&name.as_str())
            }
            Some(Token::Symbol(symbol)) => ["[", "{"].contains(symbol),
            Some(_) => true,
            None => false,
        };
        if !follows {
            return Ok(Vec::new());
        }
        let argument = self.primary()?;
        Ok(vec![self.postfix(argument)?])
    }
}
