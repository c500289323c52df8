//! Parameters of sampling, checked, and their layout on the GPU.

use crate::host::short;
use crate::json::{Json, JsonError, Object, Trouble};

/// 32-bit words of the input `sampling`.
pub const PARAM_WORDS: usize = 12;

/// How the next token is chosen. The steps are those of Hugging Face's logits processors, in their order: repetition
/// penalty, presence penalty, temperature, top-k, top-p, min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingParams {
    /// Logits are divided by it. 0 takes the largest logit (after penalties), of equal ones the lowest id; the filters do
    /// not matter then. Else 0.001 to 1000.
    pub temperature: f32,
    /// Keep the k largest logits, and those equal to the smallest of them. 0 keeps all.
    pub top_k: u32,
    /// Keep the most probable tokens until their mass reaches this: a token stays when those of larger logits have less
    /// mass together. Tokens of equal logits stay or go together. 1 keeps all.
    pub top_p: f32,
    /// Keep tokens of at least this fraction of the largest probability. 0 keeps all.
    pub min_p: f32,
    /// Positive logits of tokens that occurred in prompt or answer are divided by it, negative ones multiplied. 1 is
    /// none; 0.001 to 1000.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens that occurred in the answer. 0 is none; -1000 to 1000.
    pub presence_penalty: f32,
    /// The same seed, parameters and logits give the same tokens.
    pub seed: u64,
}

impl Default for SamplingParams {
    /// Draws from the model's own distribution.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            seed: 0,
        }
    }
}

/// Parameters that make no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A value outside its range.
    #[error("{name} is {}; it must be {allowed}", short(*value))]
    Range {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f32,
        /// The values that it may have.
        allowed: &'static str,
    },
    /// A file of defaults that cannot be read.
    #[error("generation_config.json: {0}")]
    Config(String),
}

impl SamplingParams {
    /// The largest logit, always.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// The defaults that a model comes with, from its `generation_config.json`. What the file leaves out has the value
    /// that transformers gives it: without `do_sample` the choice is greedy, and without `top_k` it is 50.
    ///
    /// # Errors
    /// [`SamplingError`] when the file is no such JSON, or a value is out of range.
    pub fn from_generation_config(json: &[u8]) -> Result<Self, SamplingError> {
        let bad = |error: JsonError| SamplingError::Config(error.to_string());
        let json = Json::from_bytes(json).map_err(bad)?;
        let mut trouble = Trouble::default();
        let mut file = Object::open(&json, &mut trouble);
        let sample = file.field::<Option<bool>>("do_sample").unwrap_or(false);
        let top_k = file.field::<Option<u32>>("top_k").unwrap_or(50);
        let mut number = |name: &str, default| file.field::<Option<f32>>(name).unwrap_or(default);
        let temperature = number("temperature", 1.0);
        let params = Self {
            temperature: if sample { temperature } else { 0.0 },
            top_k,
            top_p: number("top_p", 1.0),
            min_p: number("min_p", 0.0),
            repetition_penalty: number("repetition_penalty", 1.0),
            presence_penalty: number("presence_penalty", 0.0),
            seed: 0,
        };
        let params = trouble.end(params).map_err(bad)?;
        params.check()?;
        Ok(params)
    }

    /// Holds every parameter to its range.
    ///
    /// # Errors
    /// [`SamplingError::Range`] for the first one outside.
    pub fn check(&self) -> Result<(), SamplingError> {
        let factor = 0.001..=1000.0;
        let rules = [
            (
                "temperature",
                self.temperature,
                self.temperature == 0.0 || factor.contains(&self.temperature),
                "0, or 0.001 to 1000",
            ),
            ("top_p", self.top_p, (0.0..=1.0).contains(&self.top_p), "0 to 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                factor.contains(&self.repetition_penalty),
                "0.001 to 1000",
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                (-1000.0..=1000.0).contains(&self.presence_penalty),
                "-1000 to 1000",
            ),
        ];
        match rules.into_iter().find(|(.., good, _)| !good) {
            None => Ok(()),
            Some((name, value, _, allowed)) => Err(SamplingError::Range { name, value, allowed }),
        }
    }

    /// The input `sampling` for draw number `step` of a generation.
    #[must_use]
    pub fn words(&self, step: u32) -> [u32; PARAM_WORDS] {
        let greedy = self.temperature == 0.0;
        let float = f32::to_bits;
        let seed = self.seed.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = seed;
        [
            u32::from(greedy),
            float(if greedy { 1.0 } else { self.temperature.recip() }),
            // Filters never take the largest logit away.
            if greedy { 0 } else { self.top_k },
            float(if greedy { 1.0 } else { self.top_p }),
            float(if greedy { 0.0 } else { self.min_p }),
            float(self.repetition_penalty),
            float(self.repetition_penalty.recip()),
            float(self.presence_penalty),
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
            step,
            0,
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn defaults_of_a_model() {
        let qwen =
            br#"{"bos_token_id": 1, "do_sample": true, "eos_token_id": [2, 1], "top_k": 20, "top_p": 0.95,
            "temperature": 0.6, "transformers_version": "5"}"#;
        let expected =
            SamplingParams { temperature: 0.6, top_k: 20, top_p: 0.95, ..SamplingParams::default() };
        assert_eq!(SamplingParams::from_generation_config(qwen).unwrap(), expected);
        let none = SamplingParams::from_generation_config(b"{}").unwrap();
        assert_eq!((none.temperature, none.top_k), (0.0, 50));
        let error = SamplingParams::from_generation_config(br#"{"top_p": 1.5}"#).unwrap_err().to_string();
        assert_eq!(error, "top_p is 1.5; it must be 0 to 1");
        assert!(SamplingParams::from_generation_config(b"[]").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let good = SamplingParams::default();
        good.check().unwrap();
        SamplingParams::greedy().check().unwrap();
        for bad in [
            SamplingParams { temperature: -1.0, ..good },
            SamplingParams { temperature: f32::NAN, ..good },
            SamplingParams { temperature: 1e-9, ..good },
            SamplingParams { top_p: -0.1, ..good },
            SamplingParams { min_p: f32::INFINITY, ..good },
            SamplingParams { repetition_penalty: 0.0, ..good },
            SamplingParams { presence_penalty: f32::NAN, ..good },
        ] {
            assert!(matches!(bad.check(), Err(SamplingError::Range { .. })), "{bad:?}");
        }
    }
}
