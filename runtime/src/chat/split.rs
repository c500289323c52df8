//! Splitting a streamed answer into reasoning, text and tool calls.
//!
//! The marks are text: `<think>` and `</think>` around reasoning, `<tool_call>` and `</tool_call>` around a call. A mark may
//! come in pieces, so what could be the beginning of one is held back.

use super::stop::held_back;

const THINK: &str = "<think>";
const END_THINK: &str = "</think>";
const CALL: &str = "<tool_call>";
const END_CALL: &str = "</tool_call>";

/// What a piece of generated text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// Reasoning, without its marks and the line breaks around it.
    Reasoning,
    /// The answer.
    Answer,
    /// A tool call, with its marks.
    ToolCall,
}

/// A piece of generated text; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    /// The text.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space yet: the model may open its reasoning itself.
    Start,
    /// Line breaks before reasoning.
    BeforeReasoning,
    Reasoning,
    /// Line breaks before an answer that follows reasoning.
    BeforeAnswer,
    Answer,
    Call,
}

/// Splits text that comes in pieces of any size.
#[derive(Clone, Debug)]
pub struct Splitter {
    state: State,
    held: String,
}

impl Splitter {
    /// At the start of an answer. `thinking`: the prompt ends inside of reasoning, as templates with thinking enabled
    /// leave it.
    #[must_use]
    pub fn new(thinking: bool) -> Self {
        Self { state: if thinking { State::BeforeReasoning } else { State::Start }, held: String::new() }
    }

    /// Takes text; gives what is certain.
    #[must_use]
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut out = Vec::new();
        while self.step(&mut out) {}
        out
    }

    /// The end of the text: gives what was held back.
    #[must_use]
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut out = Vec::new();
        let rest = self.held.len();
        match self.state {
            State::Start | State::Answer | State::BeforeAnswer => {
                self.give(rest, PieceKind::Answer, &mut out)
            }
            State::BeforeReasoning | State::Reasoning => self.give(rest, PieceKind::Reasoning, &mut out),
            State::Call => self.give(rest, PieceKind::ToolCall, &mut out),
        }
        out
    }

    /// Does one thing; `false` when more text is needed.
    fn step(&mut self, out: &mut Vec<Piece>) -> bool {
        match self.state {
            State::Start => {
                let text = self.held.trim_start();
                let space = self.held.len() - text.len();
                if text.starts_with(THINK) {
                    self.held.drain(..space + THINK.len());
                    self.state = State::BeforeReasoning;
                } else if THINK.starts_with(text) {
                    return false;
                } else {
                    self.state = State::Answer;
                }
                true
            }
            State::BeforeReasoning => self.skip_line_breaks(State::Reasoning),
            State::BeforeAnswer => self.skip_line_breaks(State::Answer),
            State::Reasoning => match self.held.find(END_THINK) {
                Some(at) => {
                    let end = self.held.get(..at).unwrap_or_default().trim_end_matches('\n').len();
                    self.give(end, PieceKind::Reasoning, out);
                    self.held.drain(..at - end + END_THINK.len());
                    self.state = State::BeforeAnswer;
                    true
                }
                None => {
                    let certain = self.held.len() - held_back(&self.held, END_THINK);
                    let end = self.held.get(..certain).unwrap_or_default().trim_end_matches('\n').len();
                    self.give(end, PieceKind::Reasoning, out);
                    false
                }
            },
            State::Answer => self.until(CALL, 0, PieceKind::Answer, State::Call, out),
            State::Call => self.until(END_CALL, END_CALL.len(), PieceKind::ToolCall, State::Answer, out),
        }
    }

    fn skip_line_breaks(&mut self, next: State) -> bool {
        let breaks = self.held.len() - self.held.trim_start_matches('\n').len();
        self.held.drain(..breaks);
        if self.held.is_empty() {
            return false;
        }
        self.state = next;
        true
    }

    /// Gives text up to a mark, and `more` bytes of the mark itself.
    fn until(&mut self, mark: &str, more: usize, kind: PieceKind, next: State, out: &mut Vec<Piece>) -> bool {
        match self.held.find(mark) {
            Some(at) => {
                self.give(at + more, kind, out);
                self.state = next;
                true
            }
            None => {
                self.give(self.held.len() - held_back(&self.held, mark), kind, out);
                false
            }
        }
    }

    fn give(&mut self, bytes: usize, kind: PieceKind, out: &mut Vec<Piece>) {
        let text: String = self.held.drain(..bytes).collect();
        match out.last_mut() {
            _ if text.is_empty() => {}
            Some(last) if last.kind == kind => last.text.push_str(&text),
            _ => out.push(Piece { kind, text }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same for every way to cut the text into pieces: reasoning, answer, calls.
    fn split(thinking: bool, text: &str) -> [String; 3] {
        let mut outcomes = Vec::new();
        for size in 1..=text.len().max(1) {
            let mut splitter = Splitter::new(thinking);
            let chars: Vec<char> = text.chars().collect();
            let mut pieces = Vec::new();
            for piece in chars.chunks(size) {
                pieces.extend(splitter.push(&piece.iter().collect::<String>()));
            }
            pieces.extend(splitter.finish());
            assert!(pieces.iter().all(|piece| !piece.text.is_empty()));
            let of =
                |kind| pieces.iter().filter(|p| p.kind == kind).map(|p| p.text.as_str()).collect::<String>();
            outcomes.push([of(PieceKind::Reasoning), of(PieceKind::Answer), of(PieceKind::ToolCall)]);
        }
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{outcomes:?}");
        outcomes.pop().unwrap()
    }

    /// The splitter in JavaScript is held to the same cases.
    #[test]
    fn reasoning_answers_and_calls_are_told_apart() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/chat/texts.json")).unwrap();
        for case in cases["split"].as_array().unwrap() {
            let text = |at: usize| case[at].as_str().unwrap();
            assert_eq!(split(case[0].as_bool().unwrap(), text(1)), [text(2), text(3), text(4)], "{case}");
        }
    }

    /// Text is given as soon as it is certain.
    #[test]
    fn nothing_is_held_back_for_long() {
        let mut splitter = Splitter::new(false);
        assert_eq!(splitter.push("Hel")[0].text, "Hel");
        assert_eq!(splitter.push("lo <")[0].text, "lo ");
        assert_eq!(splitter.push("b>")[0].text, "<b>");
    }
}
