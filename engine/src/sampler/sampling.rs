//! What a caller may ask of the sampler, and which values make sense.
//!
//! Not the source of defaults from `generation_config.json` or flags: whoever builds a [`Sampling`] merges those first.

use std::fmt;

/// How the next token is chosen. The default is greedy: the likeliest token, nothing drawn, nothing penalised.
///
/// The steps run in the order of transformers 5: penalties, temperature, top-k, top-p, min-p.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the scores; 0 is greedy. Finite, >= 0. Every positive f32 works, however small or large.
    pub temperature: f32,
    /// Keeps the k highest scores and all that equal the k-th; 0, or at least the vocabulary's size, keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens that together reach this probability, never fewer than one; 1 keeps all. In 0..=1, where 0
    /// keeps exactly one token, as in transformers and llama.cpp.
    pub top_p: f32,
    /// Keeps tokens at least this fraction as likely as the likeliest; 0 keeps all. In 0..=1.
    pub min_p: f32,
    /// Divides the score, or multiplies it where negative, once for each distinct token of the prompt and the output (Keskar et al.,
    /// "CTRL", 2019, section 4.1, with transformers' treatment of negative scores); 1 is off. Finite, > 0.
    pub repetition_penalty: f32,
    /// Subtracted from the score of each token that the output holds; 0 is off. Finite; a negative value encourages repetition.
    pub presence_penalty: f32,
    /// Subtracted from a token's score for each time that the output holds it; 0 is off. Finite.
    pub frequency_penalty: f32,
    /// Selects the random stream; every value is good, and the same seed draws the same numbers on every machine.
    pub seed: u64,
}

/// A sampling parameter outside its range.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingError {
    parameter: &'static str,
    expected: &'static str,
    found: f32,
}

impl Sampling {
    /// The likeliest token each time; ties go to the lowest id.
    pub const fn greedy() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }

    /// Whether tokens are chosen without drawing a random number.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Checks every parameter, in the order of the fields.
    ///
    /// # Errors
    /// The first parameter that is not a number or lies outside the range its field states.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let finite = |v: f32| v.is_finite();
        let unit = |v: f32| (0.0..=1.0).contains(&v);
        let checks: [(&'static str, f32, bool, &'static str); 6] = [
            ("temperature", self.temperature, finite(self.temperature) && self.temperature >= 0.0, "a finite number >= 0"),
            ("top_p", self.top_p, unit(self.top_p), "a number from 0 to 1"),
            ("min_p", self.min_p, unit(self.min_p), "a number from 0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                finite(self.repetition_penalty) && self.repetition_penalty > 0.0,
                "a finite number > 0",
            ),
            ("presence_penalty", self.presence_penalty, finite(self.presence_penalty), "a finite number"),
            ("frequency_penalty", self.frequency_penalty, finite(self.frequency_penalty), "a finite number"),
        ];
        for (parameter, found, is_valid, expected) in checks {
            if !is_valid {
                return Err(SamplingError { parameter, expected, found });
            }
        }
        Ok(())
    }
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling::greedy()
    }
}

impl SamplingError {
    /// The parameter's name, as the field of [`Sampling`] and the key of `generation_config.json` spell it.
    pub fn parameter(&self) -> &'static str {
        self.parameter
    }

    /// What the parameter must be.
    pub fn expected(&self) -> &'static str {
        self.expected
    }

    /// The value that was given.
    pub fn found(&self) -> f32 {
        self.found
    }
}

impl fmt::Display for SamplingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug prints 1e38 as 1e38; Display would print 39 digits.
        write!(f, "sampling: {}: expected {}, found {:?}", self.parameter, self.expected, self.found)
    }
}

impl std::error::Error for SamplingError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(&mut Sampling)) -> Option<String> {
        let mut sampling = Sampling::default();
        change(&mut sampling);
        sampling.validate().err().map(|e| e.to_string())
    }

    #[test]
    fn accepts_the_edges_of_every_range() {
        assert_eq!(fault(|_| {}), None);
        for t in [0.0, -0.0, 1e-45, f32::MIN_POSITIVE, f32::MAX] {
            assert_eq!(fault(|s| s.temperature = t), None);
        }
        for p in [0.0, 1e-45, 0.5, 1.0] {
            assert_eq!(fault(|s| s.top_p = p), None);
            assert_eq!(fault(|s| s.min_p = p), None);
        }
        for r in [1e-45, 1.0, f32::MAX] {
            assert_eq!(fault(|s| s.repetition_penalty = r), None);
        }
        for p in [f32::MIN, -2.0, 0.0, f32::MAX] {
            assert_eq!(fault(|s| s.presence_penalty = p), None);
            assert_eq!(fault(|s| s.frequency_penalty = p), None);
        }
        assert_eq!(fault(|s| s.top_k = usize::MAX), None);
        assert_eq!(fault(|s| s.seed = u64::MAX), None);
    }

    #[test]
    fn refuses_what_lies_outside_and_names_it() {
        let says = |found: Option<String>, expected: &str| assert_eq!(found.as_deref(), Some(expected));
        says(fault(|s| s.temperature = -1.0), "sampling: temperature: expected a finite number >= 0, found -1.0");
        says(fault(|s| s.temperature = f32::NAN), "sampling: temperature: expected a finite number >= 0, found NaN");
        says(fault(|s| s.temperature = f32::INFINITY), "sampling: temperature: expected a finite number >= 0, found inf");
        says(fault(|s| s.top_p = 1.1), "sampling: top_p: expected a number from 0 to 1, found 1.1");
        says(fault(|s| s.top_p = -0.1), "sampling: top_p: expected a number from 0 to 1, found -0.1");
        says(fault(|s| s.top_p = f32::NAN), "sampling: top_p: expected a number from 0 to 1, found NaN");
        says(fault(|s| s.min_p = 2.0), "sampling: min_p: expected a number from 0 to 1, found 2.0");
        says(fault(|s| s.min_p = f32::NAN), "sampling: min_p: expected a number from 0 to 1, found NaN");
        says(fault(|s| s.repetition_penalty = 0.0), "sampling: repetition_penalty: expected a finite number > 0, found 0.0");
        says(fault(|s| s.repetition_penalty = -1.0), "sampling: repetition_penalty: expected a finite number > 0, found -1.0");
        says(fault(|s| s.presence_penalty = f32::NAN), "sampling: presence_penalty: expected a finite number, found NaN");
        says(fault(|s| s.frequency_penalty = f32::INFINITY), "sampling: frequency_penalty: expected a finite number, found inf");
    }
}
