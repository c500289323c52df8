//! Choosing the next token.

use super::ChatError;
use crate::engine::Backend;
use crate::session::Session;

/// The token that follows what the session was fed.
pub(super) async fn next_token<B: Backend>(
    session: &mut Session<B>,
    tokens: usize,
) -> Result<u32, ChatError> {
    let rows = u32::try_from(session.last_chunk().len()).unwrap_or(u32::MAX);
    let logits = session.logits_async(rows.saturating_sub(1)).await?;
    largest(&logits).ok_or(ChatError::NotFinite { tokens })
}

/// The place of the largest number, the first of equals; `None` when there is none.
fn largest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (at, logit) in logits.iter().enumerate() {
        if logit.is_finite() && best.is_none_or(|(_, found)| *logit > found) {
            best = Some((at, *logit));
        }
    }
    best.and_then(|(at, _)| u32::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_is_taken() {
        assert_eq!(largest(&[1.0, 3.0, 3.0, f32::NAN, f32::NEG_INFINITY]), Some(1));
        assert_eq!(largest(&[f32::NAN, f32::NAN]), None);
    }
}
