//! What a caller may ask of the sampler, and which values make sense.
//!
//! Not the source of defaults from `generation_config.json` or flags: whoever builds a [`Sampling`] merges those first.

use std::fmt;

use super::steps::{Step, Steps};

/// How the next token is chosen. The default is greedy: the likeliest token, nothing drawn, nothing penalised.
///
/// The steps run in the order of `steps`; by default that of transformers 5.
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
    /// Keeps the tokens whose information is closest to the expected and that together reach this probability; 1 keeps all. In 0..=1.
    pub typical_p: f32,
    /// Keeps the scores within this many standard deviations of the highest; 0 keeps all. Finite, >= 0.
    pub top_n_sigma: f32,
    /// How often, as a probability, the likeliest tokens are excluded; 0 is never. In 0..=1.
    pub xtc_probability: f32,
    /// How likely a token is that may be excluded: all of these are but the least likely of them. In 0..=1, above 0 where it is used; more than
    /// 0.5 never excludes.
    pub xtc_threshold: f32,
    /// Penalties for going on with a repetition.
    pub dry: Dry,
    /// Divides the score, or multiplies it where negative, once for each distinct token of the prompt and the output (Keskar et al.,
    /// "CTRL", 2019, section 4.1, with transformers' treatment of negative scores); 1 is off. Finite, > 0.
    pub repetition_penalty: f32,
    /// Subtracted from the score of each token that the output holds; 0 is off. Finite; a negative value encourages repetition.
    pub presence_penalty: f32,
    /// Subtracted from a token's score for each time that the output holds it; 0 is off. Finite.
    pub frequency_penalty: f32,
    /// Numbers added to the logits of tokens, before all steps; negative infinity forbids a token. Finite or negative infinity.
    pub logit_bias: Vec<(u32, f32)>,
    /// Which steps run, and in which order.
    pub steps: Steps,
    /// Selects the random stream; every value is good, and the same seed draws the same numbers on every machine.
    pub seed: u64,
}

/// Parameters of DRY, which makes going on with a repetition the less likely the longer it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// Scales the penalty; 0 is off. Finite, >= 0.
    pub multiplier: f32,
    /// Raised to the length beyond the allowed. Finite, >= 1.
    pub base: f32,
    /// The longest repetition that costs nothing but its next token the multiplier.
    pub allowed_length: usize,
    /// How many tokens, the last ones of prompt and output, are searched.
    pub last_n: usize,
    /// What no repetition reaches across.
    pub breakers: Vec<Breaker>,
}

/// Tokens that end a repetition: one of `heads`, followed by all of `tail`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Breaker {
    /// Ascending.
    pub heads: Vec<u32>,
    /// Empty where each of `heads` is a breaker by itself.
    pub tail: Vec<u32>,
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
            typical_p: 1.0,
            top_n_sigma: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            dry: Dry::off(),
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            steps: Steps::DEFAULT,
            seed: 0,
        }
    }

    /// Whether tokens are chosen without drawing a random number. Where the temperature is not among the steps, it is 1.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 && self.steps.has(Step::Temperature)
    }

    /// Checks every parameter, in the order of the fields.
    ///
    /// # Errors
    /// The first parameter that is not a number or lies outside the range its field states.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let finite = |v: f32| v.is_finite();
        let unit = |v: f32| (0.0..=1.0).contains(&v);
        let from_zero = |v: f32| v.is_finite() && v >= 0.0;
        let checks: [(&'static str, f32, bool, &'static str); 12] = [
            ("temperature", self.temperature, finite(self.temperature) && self.temperature >= 0.0, "a finite number >= 0"),
            ("top_p", self.top_p, unit(self.top_p), "a number from 0 to 1"),
            ("min_p", self.min_p, unit(self.min_p), "a number from 0 to 1"),
            ("typical_p", self.typical_p, unit(self.typical_p), "a number from 0 to 1"),
            ("top_n_sigma", self.top_n_sigma, from_zero(self.top_n_sigma), "a finite number >= 0"),
            ("xtc_probability", self.xtc_probability, unit(self.xtc_probability), "a number from 0 to 1"),
            (
                "xtc_threshold",
                self.xtc_threshold,
                unit(self.xtc_threshold) && (self.xtc_threshold > 0.0 || self.xtc_probability == 0.0),
                "a number above 0, up to 1",
            ),
            ("dry_multiplier", self.dry.multiplier, from_zero(self.dry.multiplier), "a finite number >= 0"),
            ("dry_base", self.dry.base, self.dry.base.is_finite() && self.dry.base >= 1.0, "a finite number >= 1"),
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
        match self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            Some(&(_, found)) => Err(SamplingError { parameter: "logit_bias", expected: "finite numbers or -inf", found }),
            None => Ok(()),
        }
    }
}

impl Dry {
    /// No penalty; the other parameters are the original's defaults, without breakers.
    pub const fn off() -> Dry {
        Dry { multiplier: 0.0, base: 1.75, allowed_length: 2, last_n: usize::MAX, breakers: Vec::new() }
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
        assert_eq!(fault(|s| s.logit_bias = vec![(0, f32::NEG_INFINITY), (1, f32::MAX)]), None);
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
        says(fault(|s| s.typical_p = -1.0), "sampling: typical_p: expected a number from 0 to 1, found -1.0");
        says(fault(|s| s.top_n_sigma = -1.0), "sampling: top_n_sigma: expected a finite number >= 0, found -1.0");
        says(fault(|s| s.xtc_probability = 1.5), "sampling: xtc_probability: expected a number from 0 to 1, found 1.5");
        says(fault(|s| s.xtc_threshold = 1.5), "sampling: xtc_threshold: expected a number above 0, up to 1, found 1.5");
        says(fault(|s| s.dry.multiplier = -0.5), "sampling: dry_multiplier: expected a finite number >= 0, found -0.5");
        says(fault(|s| s.dry.base = 0.5), "sampling: dry_base: expected a finite number >= 1, found 0.5");
        says(
            fault(|s| s.logit_bias = vec![(1, f32::INFINITY)]),
            "sampling: logit_bias: expected finite numbers or -inf, found inf",
        );
        says(fault(|s| s.min_p = f32::NAN), "sampling: min_p: expected a number from 0 to 1, found NaN");
        says(fault(|s| s.repetition_penalty = 0.0), "sampling: repetition_penalty: expected a finite number > 0, found 0.0");
        says(fault(|s| s.repetition_penalty = -1.0), "sampling: repetition_penalty: expected a finite number > 0, found -1.0");
        says(fault(|s| s.presence_penalty = f32::NAN), "sampling: presence_penalty: expected a finite number, found NaN");
        says(fault(|s| s.frequency_penalty = f32::INFINITY), "sampling: frequency_penalty: expected a finite number, found inf");
    }
}
