//! Where the text of an answer ends: stop strings.

use super::ChatError;

/// Most stop strings.
const MAX_STRINGS: usize = 64;
/// Longest stop string, in bytes.
const MAX_STRING_BYTES: usize = 4096;

/// Bytes at the end of `text` that could be the beginning of `mark`, but are not all of it.
pub(super) fn held_back(text: &str, mark: &str) -> usize {
    let longest = text.len().min(mark.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|bytes| mark.get(..*bytes).is_some_and(|start| text.ends_with(start)))
        .unwrap_or(0)
}

/// Looks for stop strings in text that comes in pieces.
#[derive(Clone, Debug)]
pub(super) struct StopStrings {
    strings: Vec<String>,
    held: String,
}

impl StopStrings {
    pub(super) fn new(strings: &[String]) -> Result<Self, ChatError> {
        let fits = |text: &String| (1..=MAX_STRING_BYTES).contains(&text.len());
        if strings.len() > MAX_STRINGS || !strings.iter().all(fits) {
            return Err(ChatError::StopStrings { strings: MAX_STRINGS, bytes: MAX_STRING_BYTES });
        }
        Ok(Self { strings: strings.to_vec(), held: String::new() })
    }

    /// Text that is certainly before any stop string, and whether one was found.
    pub(super) fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let first = self.strings.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let open = self.strings.iter().map(|stop| held_back(&self.held, stop)).max().unwrap_or(0);
        (self.held.drain(..self.held.len() - open).collect(), false)
    }

    /// What was held back, at the end.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The search in JavaScript is held to the same cases.
    #[test]
    fn stop_strings_are_found_across_pieces() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/chat/texts.json")).unwrap();
        let stops: Vec<String> = serde_json::from_value(cases["stopStrings"].clone()).unwrap();
        let run = |text: &str, size: usize| {
            let mut stop = StopStrings::new(&stops).unwrap();
            let mut out = String::new();
            for piece in text.chars().collect::<Vec<_>>().chunks(size) {
                let (text, hit) = stop.push(&piece.iter().collect::<String>());
                out.push_str(&text);
                if hit {
                    return (out, true);
                }
            }
            (out + &stop.finish(), false)
        };
        for case in cases["stop"].as_array().unwrap() {
            let text = |at: usize| case[at].as_str().unwrap();
            for size in 1..12 {
                assert_eq!(run(text(0), size), (text(1).to_owned(), case[2].as_bool().unwrap()), "{case}");
            }
        }
        assert!(StopStrings::new(&[String::new()]).is_err());
    }
}
