//! How a token is chosen, as the engine's loop does it: taking tokens back, log-probabilities, constraints.
//!
//! Not here: the sampler's steps, whose tests stand beside them, and flags.

use infer_engine::{Constraint, Finish, Generation, GenerationOptions, Model, ModelOptions, Sampling, Speculation};

use crate::util::checkpoint;

const NAMES: [&str; 4] = ["text-bpe", "llama-rope-dynamic", "mistral-sliding-window", "qwen3"];

fn open(name: &str) -> Model {
    let files = infer_loaders::open(&checkpoint(name), &Default::default()).unwrap();
    Model::open(&files, &ModelOptions::default()).unwrap()
}

fn options(model: &Model) -> GenerationOptions {
    GenerationOptions {
        sampling: Sampling { temperature: 1.3, repetition_penalty: 1.2, frequency_penalty: 0.1, seed: 3, ..Sampling::greedy() },
        n_tokens: model.config().vocab_size,
        stop_ids: vec![],
        banned_ids: vec![],
        n_logprobs: None,
        max_tokens: Some(20),
        ctx_size: 200,
        speculation: Speculation::Off,
    }
}

fn prompt(model: &Model) -> Vec<u32> {
    (0..9).map(|i| (i * 7 + 3) % model.config().vocab_size as u32).collect()
}

fn rest(generation: &mut Generation<'_>) -> Vec<u32> {
    std::iter::from_fn(|| generation.next_token().unwrap()).collect()
}

#[test]
fn what_is_taken_back_comes_again() {
    for name in NAMES {
        let model = open(name);
        let mut generation = Generation::new(&model, &prompt(&model), options(&model)).unwrap();
        let expected = rest(&mut generation);
        assert_eq!(expected.len(), 20);
        for n in [1, 7, 19, 20, 100, 0] {
            generation.rewind(n, &[]).unwrap();
            assert_eq!(rest(&mut generation), expected[20 - n.min(20)..], "{name}, {n}");
            assert_eq!(generation.timings().generated_tokens, 20, "{name}, {n}");
        }
    }
}

#[test]
fn a_rejected_token_gives_way_at_that_place_alone() {
    let model = open("text-bpe");
    let mut generation = Generation::new(&model, &prompt(&model), options(&model)).unwrap();
    let first = rest(&mut generation);
    generation.rewind(8, &first[12..13]).unwrap();
    let second = rest(&mut generation);
    assert_eq!(second.len(), 8);
    assert_ne!(second[0], first[12]);
    // A chain of one place less is the same as a run that bans nothing.
    generation.rewind(9, &[]).unwrap();
    assert_eq!(rest(&mut generation), first[11..]);
}

#[test]
fn an_end_that_was_chosen_is_taken_back_too() {
    let model = open("text-bpe");
    let (prompt, plain) = (prompt(&model), options(&model));
    let all = rest(&mut Generation::new(&model, &prompt, plain.clone()).unwrap());
    let end = all.iter().position(|id| !all[..6].contains(id)).unwrap();
    let mut generation = Generation::new(&model, &prompt, GenerationOptions { stop_ids: vec![all[end]], ..plain }).unwrap();
    assert_eq!(rest(&mut generation), all[..end]);
    for _ in 0..2 {
        assert_eq!(generation.finish(), Some(Finish::Eos(all[end])));
        generation.rewind(2, &[]).unwrap();
        assert_eq!(rest(&mut generation), all[end - 2..end]);
    }
}

#[test]
fn log_probabilities_are_the_models_own_whatever_the_sampling() {
    let model = open("text-bpe");
    let with = |sampling| GenerationOptions { sampling, n_logprobs: Some(5), ..options(&model) };
    let mut hot = Generation::new(&model, &prompt(&model), with(options(&model).sampling)).unwrap();
    let mut greedy = Generation::new(&model, &prompt(&model), with(Sampling::greedy())).unwrap();
    let (a, b) = (hot.next_choice().unwrap().unwrap(), greedy.next_choice().unwrap().unwrap());
    let (a_logprobs, b_logprobs) = (a.logprobs.unwrap(), b.logprobs.unwrap());
    assert_eq!(a_logprobs.top, b_logprobs.top);
    assert_eq!((b.token, b_logprobs.logprob), b_logprobs.top[0]);
    assert!(a_logprobs.logprob <= b_logprobs.logprob && b_logprobs.top.len() == 5);
}

/// Allows `3, 5, 7, ...` up to 15 and then nothing; it counts on being asked in order.
#[derive(Default)]
struct Odd {
    n_read: u32,
}

impl Constraint for Odd {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let allowed = (3 + 2 * self.n_read) as usize;
        logits.iter_mut().enumerate().filter(|(id, _)| *id != allowed).for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<(), String> {
        assert_eq!(token, 3 + 2 * self.n_read);
        self.n_read += 1;
        Ok(())
    }

    fn rewind(&mut self, n_tokens: usize) -> Result<(), String> {
        self.n_read -= n_tokens as u32;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.n_read == 7
    }

    fn may_end(&mut self) -> bool {
        self.n_read > 5
    }
}

#[test]
fn a_constraint_says_what_may_come_and_when_nothing_may() {
    for name in NAMES {
        let model = open(name);
        let mut generation = Generation::new(&model, &prompt(&model), options(&model)).unwrap();
        generation.constrain(Box::<Odd>::default());
        assert_eq!(rest(&mut generation), [3, 5, 7, 9, 11, 13, 15], "{name}");
        assert_eq!(generation.finish(), Some(Finish::Complete));
        generation.rewind(2, &[]).unwrap();
        assert!(!generation.may_end());
        assert_eq!(rest(&mut generation), [13, 15], "{name}");
        assert!(generation.may_end());
        // What the constraint demands was rejected: nothing is left, which is an error and no token.
        generation.rewind(1, &[15]).unwrap();
        assert!(generation.next_token().unwrap_err().to_string().contains("expected a token above -inf"), "{name}");
    }
}
