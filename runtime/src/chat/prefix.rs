//! What a session has been fed, and how much of the next prompt that is.

/// A position of a sequence, for comparing: a token, or a part of an image.
pub(super) type Key = u64;

/// The key of a text token.
pub(super) fn token_key(id: i32) -> Key {
    u64::from(id.unsigned_abs())
}

/// The key of a position inside of an image, by the image's content.
pub(super) fn image_key(content: u64) -> Key {
    content | 1 << 63
}

/// How a prompt begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// All that was fed is its beginning: go on.
    GoOn,
    /// What was fed up to the snapshot is its beginning.
    Restore,
    /// From nothing.
    Reset,
}

/// What a session has been fed, and where it can go back to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fed {
    /// One key for every position.
    pub(super) keys: Vec<Key>,
    snapshot: Option<Vec<Key>>,
}

impl Fed {
    /// How a prompt of these keys begins. At least its last position must be fed for logits to come.
    pub(super) fn start(&self, prompt: &[Key]) -> Start {
        let begins = |keys: &[Key]| !keys.is_empty() && keys.len() < prompt.len() && prompt.starts_with(keys);
        if begins(&self.keys) {
            Start::GoOn
        } else if self.snapshot.as_ref().is_some_and(|keys| begins(keys)) {
            Start::Restore
        } else {
            Start::Reset
        }
    }

    /// Where the session stands is where it can go back to.
    pub(super) fn snapshot(&mut self) {
        self.snapshot = Some(self.keys.clone());
    }

    /// The session went back.
    pub(super) fn restore(&mut self) {
        if let Some(keys) = &self.snapshot {
            self.keys.clone_from(keys);
        }
    }
}

/// How many positions two prompts have in common at their beginning.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn common<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_goes_on_goes_back_or_starts_anew() {
        let mut fed = Fed::default();
        assert_eq!(fed.start(&[1, 2]), Start::Reset);
        fed.keys = vec![1, 2, 3];
        fed.snapshot();
        fed.keys.extend([4, 5]);
        assert_eq!(fed.start(&[1, 2, 3, 4, 5, 6]), Start::GoOn);
        assert_eq!(fed.start(&[1, 2, 3, 4, 5]), Start::Restore, "no position would be left to feed");
        assert_eq!(fed.start(&[1, 2, 3, 9]), Start::Restore);
        assert_eq!(fed.start(&[1, 2, 3]), Start::Reset);
        assert_eq!(fed.start(&[1, 9, 3, 4]), Start::Reset);
        fed.restore();
        assert_eq!(fed.keys, [1, 2, 3]);
        assert_eq!(fed.start(&[1, 2, 3, 4]), Start::GoOn);
        assert_ne!(image_key(5), token_key(5));
    }
}
