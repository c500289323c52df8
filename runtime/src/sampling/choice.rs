//! What somebody asks for, over what a model comes with.

use super::{SamplingError, SamplingParams};

/// Parameters as far as they are given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplingChoice {
    /// [`SamplingParams::temperature`]
    pub temperature: Option<f32>,
    /// [`SamplingParams::top_k`]
    pub top_k: Option<u32>,
    /// [`SamplingParams::top_p`]
    pub top_p: Option<f32>,
    /// [`SamplingParams::min_p`]
    pub min_p: Option<f32>,
    /// [`SamplingParams::repetition_penalty`]
    pub repetition_penalty: Option<f32>,
    /// [`SamplingParams::presence_penalty`]
    pub presence_penalty: Option<f32>,
    /// [`SamplingParams::seed`]
    pub seed: Option<u64>,
}

impl SamplingChoice {
    /// These parameters over the model's own; `some_seed` is for when none is given. Who narrows the choice, or gives a seed, wants
    /// one: a model that is greedy by itself then has temperature 1.
    ///
    /// # Errors
    /// [`SamplingError::Range`].
    pub fn over(
        &self,
        own: &SamplingParams,
        some_seed: impl FnOnce() -> u64,
    ) -> Result<SamplingParams, SamplingError> {
        let chooses =
            self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some() || self.seed.is_some();
        let temperature = if chooses && own.temperature == 0.0 { 1.0 } else { own.temperature };
        let params = SamplingParams {
            temperature: self.temperature.unwrap_or(temperature),
            top_k: self.top_k.unwrap_or(own.top_k),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(own.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(own.presence_penalty),
            seed: self.seed.unwrap_or_else(some_seed),
        };
        params.check()?;
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_narrows_the_choice_of_a_greedy_model_gets_one() {
        let greedy = SamplingParams { top_k: 50, ..SamplingParams::greedy() };
        let over = |choice: SamplingChoice| choice.over(&greedy, || 7).unwrap();
        assert_eq!(over(SamplingChoice::default()), SamplingParams { seed: 7, ..greedy });
        let narrowed = over(SamplingChoice { top_p: Some(0.5), ..SamplingChoice::default() });
        assert_eq!((narrowed.temperature, narrowed.top_k, narrowed.top_p), (1.0, 50, 0.5));
        let seeded = over(SamplingChoice { seed: Some(3), ..SamplingChoice::default() });
        assert_eq!((seeded.temperature, seeded.seed), (1.0, 3));
        let said =
            over(SamplingChoice { temperature: Some(0.0), seed: Some(3), ..SamplingChoice::default() });
        assert_eq!(said.temperature, 0.0);
        let wrong = SamplingChoice { top_p: Some(2.0), ..SamplingChoice::default() };
        assert!(wrong.over(&greedy, || 7).is_err());
    }
}
