//! Repetition, presence and frequency penalties: scores of tokens that have occurred are lowered (or raised).
//!
//! Not a windowed penalty: like transformers, and unlike llama.cpp's `--repeat-last-n`, the whole text counts.
//!
//! Which text counts differs between engines. The repetition penalty is transformers': prompt and output, once per distinct
//! token. Presence and frequency penalties come from the OpenAI API, whose wording ("the text so far") leaves the prompt open; here,
//! as in vLLM, they count the output alone, so that a long prompt does not forbid its own words. llama.cpp counts both within
//! its window. The order is vLLM's: repetition first, then frequency, then presence.

use super::sampling::Sampling;
use super::scores::Scores;

/// The penalties of one sequence and the tokens that they apply to.
#[derive(Clone, Debug)]
pub(super) struct Penalties {
    repetition: f32,
    presence: f32,
    frequency: f32,
    /// Every distinct token of prompt and output, by ascending id.
    seen: Vec<Seen>,
}

/// A token that has occurred.
#[derive(Clone, Copy, Debug)]
struct Seen {
    token: u32,
    in_prompt: bool,
    /// How often the output holds it.
    n_generated: u32,
}

impl Penalties {
    /// The penalties that `sampling` asks for over `prompt`; `None` where it asks for none.
    pub(super) fn new(sampling: &Sampling, prompt: &[u32]) -> Option<Penalties> {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = *sampling;
        if repetition_penalty == 1.0 && presence_penalty == 0.0 && frequency_penalty == 0.0 {
            return None;
        }
        let mut seen: Vec<Seen> = prompt.iter().map(|&token| Seen { token, in_prompt: true, n_generated: 0 }).collect();
        seen.sort_unstable_by_key(|s| s.token);
        seen.dedup_by_key(|s| s.token);
        Some(Penalties { repetition: repetition_penalty, presence: presence_penalty, frequency: frequency_penalty, seen })
    }

    /// Counts a generated token.
    pub(super) fn accept(&mut self, token: u32) {
        match self.seen.binary_search_by_key(&token, |s| s.token) {
            Ok(i) => self.seen[i].n_generated = self.seen[i].n_generated.saturating_add(1),
            Err(i) => self.seen.insert(i, Seen { token, in_prompt: false, n_generated: 1 }),
        }
    }

    /// Takes back one generated token that was counted.
    pub(super) fn retract(&mut self, token: u32) {
        if let Ok(i) = self.seen.binary_search_by_key(&token, |s| s.token) {
            let seen = &mut self.seen[i];
            seen.n_generated = seen.n_generated.saturating_sub(1);
            if seen.n_generated == 0 && !seen.in_prompt {
                self.seen.remove(i);
            }
        }
    }

    /// Changes `scores` in place, in f32 as transformers does. Tokens that are not among them are passed over.
    pub(super) fn apply(&self, scores: &mut (impl Scores + ?Sized)) {
        for seen in &self.seen {
            if let Some(score) = scores.score_mut(seen.token) {
                *score = self.penalised(*score, seen.n_generated);
            }
        }
    }

    fn penalised(&self, score: f32, n_generated: u32) -> f32 {
        if score == f32::NEG_INFINITY {
            return score; // A mask stays a mask.
        }
        let mut score = if score < 0.0 { score * self.repetition } else { score / self.repetition };
        if n_generated > 0 {
            // Held finite before the subtraction: infinity less infinity is no number.
            score = score.clamp(f32::MIN, f32::MAX);
            score -= self.frequency * n_generated as f32;
            score -= self.presence;
        }
        // A penalty makes a token unlikely; it does not mask it, nor make it infinitely likely.
        score.clamp(f32::MIN, f32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    /// The definition, token by token: what transformers and the OpenAI API reference write, held finite.
    fn naive(sampling: &Sampling, prompt: &[u32], output: &[u32], logits: &[f32]) -> Vec<f32> {
        let mut scores = logits.to_vec();
        for (id, score) in scores.iter_mut().enumerate() {
            let in_prompt = prompt.iter().any(|&t| t as usize == id);
            let count = output.iter().filter(|&&t| t as usize == id).count();
            if in_prompt || count > 0 {
                *score = if *score < 0.0 { *score * sampling.repetition_penalty } else { *score / sampling.repetition_penalty };
            }
            if count > 0 {
                *score = *score - count as f32 * sampling.frequency_penalty - sampling.presence_penalty;
            }
            if logits[id] > f32::NEG_INFINITY {
                *score = score.clamp(f32::MIN, f32::MAX);
            }
        }
        scores
    }

    proptest! {
        #![proptest_config(testing::cases(2_000))]

        #[test]
        fn equal_the_definition_to_the_bit(
            scores in testing::scores(50),
            prompt in prop::collection::vec(0..60_u32, 0..40),
            output in prop::collection::vec(0..60_u32, 0..40),
            repetition in prop_oneof![Just(1.0_f32), 0.1..10.0_f32],
            presence in prop_oneof![Just(0.0_f32), -2.0..2.0_f32],
            frequency in prop_oneof![Just(0.0_f32), -2.0..2.0_f32],
        ) {
            let sampling = Sampling {
                repetition_penalty: repetition,
                presence_penalty: presence,
                frequency_penalty: frequency,
                ..Sampling::default()
            };
            let mut found = scores.clone();
            match Penalties::new(&sampling, &prompt) {
                Some(mut penalties) => {
                    output.iter().for_each(|&t| penalties.accept(t));
                    // What was taken back leaves no trace.
                    prompt.iter().chain(&output).for_each(|&t| penalties.accept(t));
                    prompt.iter().chain(&output).for_each(|&t| penalties.retract(t));
                    penalties.apply(&mut found[..]);
                }
                None => prop_assert!(repetition == 1.0 && presence == 0.0 && frequency == 0.0),
            }
            let bits = |scores: Vec<f32>| -> Vec<u32> { scores.into_iter().map(f32::to_bits).collect() };
            prop_assert_eq!(bits(found), bits(naive(&sampling, &prompt, &output, &scores)));
        }

        #[test]
        fn never_leave_the_finite_numbers(
            score in prop_oneof![Just(f32::MAX), Just(f32::MIN), Just(0.0_f32), Just(-0.0_f32), -100.0..100.0_f32],
            repetition in prop_oneof![Just(1e-45_f32), Just(f32::MAX), 0.1..10.0_f32],
            presence in prop_oneof![Just(f32::MIN), Just(f32::MAX), Just(0.0_f32)],
            frequency in prop_oneof![Just(f32::MIN), Just(f32::MAX), Just(0.0_f32)],
            n_generated in 0..10_u32,
        ) {
            let penalties = Penalties { repetition, presence, frequency, seen: Vec::new() };
            prop_assert!(penalties.penalised(score, n_generated).is_finite());
            prop_assert_eq!(penalties.penalised(f32::NEG_INFINITY, n_generated), f32::NEG_INFINITY);
        }
    }
}
