//! Where an answer ends: stop tokens and stop strings.

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

/// What ends an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopRules {
    /// Tokens, which are not part of the text.
    pub tokens: Vec<u32>,
    /// Strings, which are not part of the text either.
    pub strings: Vec<String>,
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

    #[test]
    fn stop_strings_are_found_across_pieces() {
        let stops = ["\nUser:".to_owned(), "END".to_owned(), "NDX".to_owned()];
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
        for size in 1..12 {
            assert_eq!(run("Hello\nUser: you", size), ("Hello".to_owned(), true));
            assert_eq!(run("ENENEND!", size), ("ENEN".to_owned(), true));
            assert_eq!(run("Hello\nUse", size), ("Hello\nUse".to_owned(), false));
            assert_eq!(run("é\n\nUser:", size), ("é\n".to_owned(), true));
        }
        assert!(StopStrings::new(&[String::new()]).is_err());
    }
}
