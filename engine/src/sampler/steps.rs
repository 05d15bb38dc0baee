//! The steps of the chain and their order.
//!
//! Not what a step does (its own file) and not its parameters (`sampling.rs`).

use std::fmt;
use std::str::FromStr;

/// One step between logits and draw. The names are llama.cpp's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Repetition, presence and frequency penalties.
    Penalties,
    /// Penalties for going on with a repetition.
    Dry,
    /// Within n standard deviations of the highest score.
    TopNSigma,
    /// The k highest scores.
    TopK,
    /// The tokens of typical information.
    TypicalP,
    /// The likeliest tokens that reach a probability.
    TopP,
    /// A fraction of the likeliest.
    MinP,
    /// Exclude top choices.
    Xtc,
    /// Divides the scores.
    Temperature,
}

/// Every step with its name.
const NAMES: [(Step, &str); N_STEPS] = [
    (Step::Penalties, "penalties"),
    (Step::Dry, "dry"),
    (Step::TopNSigma, "top_n_sigma"),
    (Step::TopK, "top_k"),
    (Step::TypicalP, "typ_p"),
    (Step::TopP, "top_p"),
    (Step::MinP, "min_p"),
    (Step::Xtc, "xtc"),
    (Step::Temperature, "temperature"),
];

const N_STEPS: usize = 9;

/// The steps that run, in their order; each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps([Option<Step>; N_STEPS]);

impl Steps {
    /// The order of transformers 5, where it has the step: penalties, temperature, top-k, top-p, min-p, typical-p. DRY stands with the
    /// penalties, top-n-sigma before the temperature, which does not change what it keeps, and XTC last.
    pub const DEFAULT: Steps = Steps([
        Some(Step::Penalties),
        Some(Step::Dry),
        Some(Step::TopNSigma),
        Some(Step::Temperature),
        Some(Step::TopK),
        Some(Step::TopP),
        Some(Step::MinP),
        Some(Step::TypicalP),
        Some(Step::Xtc),
    ]);

    /// The steps in their order.
    pub fn iter(&self) -> impl Iterator<Item = Step> {
        self.0.into_iter().flatten()
    }

    /// Whether `step` runs.
    pub fn has(&self, step: Step) -> bool {
        self.0.contains(&Some(step))
    }
}

/// `top_k;top_p;temperature`: names with semicolons between them. A step that is not named does not run.
impl FromStr for Steps {
    type Err = String;

    fn from_str(text: &str) -> Result<Steps, String> {
        let mut steps = Steps([None; N_STEPS]);
        for (n, name) in text.split(';').map(str::trim).enumerate() {
            let Some((step, _)) = NAMES.iter().find(|(_, known)| *known == name) else {
                let all: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
                return Err(format!("expected names out of {} with ; between them", all.join(";")));
            };
            if steps.has(*step) {
                return Err("expected each name at most once".to_string());
            }
            // There are no more names than places, and none comes twice.
            steps.0[n] = Some(*step);
        }
        Ok(steps)
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.iter().enumerate() {
            let name = NAMES.iter().find(|(known, _)| *known == step).map_or("", |(_, name)| name);
            write!(f, "{}{name}", if n > 0 { ";" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_and_written_in_llama_cpps_names() {
        let theirs = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
        assert_eq!(theirs.parse::<Steps>().unwrap().to_string(), theirs);
        assert_eq!(Steps::DEFAULT.to_string().parse(), Ok(Steps::DEFAULT));
        assert_eq!("top_k; temperature".parse::<Steps>().unwrap().iter().collect::<Vec<_>>(), [Step::TopK, Step::Temperature]);
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for (text, expected) in [
            ("", "expected names out of penalties;dry;"),
            ("top_k;;top_p", "expected names"),
            ("top_k,top_p", "expected names"),
            ("top_q", "expected names"),
            ("top_k;top_p;top_k", "expected each name at most once"),
        ] {
            let found = text.parse::<Steps>().unwrap_err();
            assert!(found.starts_with(expected), "{text}: {found}");
        }
    }
}
