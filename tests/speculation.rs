//! Speculation: the same tokens and the same log-probabilities, to the bit, whatever is drafted; and what of it the user sees.
//!
//! Not here: how many tokens are tried (unit tests of the engine).

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use infer::{Choice, GenerateOptions, Grammar, ModelOptions, Observer, Sampling, Session, Speculation, TextModel, Timings};

use crate::util::{infer, text};

/// All that a run tells: its text, its tokens with the bits of their log-probabilities, why it ended.
#[derive(Debug, PartialEq)]
pub struct Run {
    text: String,
    choices: Vec<(u32, Vec<u64>)>,
    end: String,
}

/// Keeps what it is told.
#[derive(Default)]
struct Keeper {
    text: String,
    choices: Vec<(u32, Vec<u64>)>,
}

impl Observer for Keeper {
    fn text(&mut self, piece: &str) -> ControlFlow<()> {
        self.text.push_str(piece);
        ControlFlow::Continue(())
    }

    fn token(&mut self, choice: &Choice) {
        let bits = choice.logprobs.iter().flat_map(|l| l.top.iter().map(|(_, p)| *p).chain([l.logprob])).map(f64::to_bits);
        self.choices.push((choice.token, bits.collect()));
    }
}

/// The built-in model on so many threads.
pub fn model(n_threads: usize) -> TextModel {
    TextModel::built_in(&ModelOptions { threads: NonZeroUsize::new(n_threads).unwrap(), ..ModelOptions::default() }).unwrap()
}

pub fn run(model: &TextModel, prompt: &str, options: &GenerateOptions, speculation: Speculation) -> (Run, Timings) {
    run_in(&mut None, model, prompt, options, speculation)
}

/// The same in a session, which has the prompt to be read but once.
pub fn run_in<'m>(
    session: &mut Option<Session<'m>>,
    model: &'m TextModel,
    prompt: &str,
    options: &GenerateOptions,
    speculation: Speculation,
) -> (Run, Timings) {
    let mut keeper = Keeper::default();
    let options = GenerateOptions { speculation, ..options.clone() };
    let done = model.generate_in(session, &model.tokenize(prompt).unwrap(), &options, &mut keeper).unwrap();
    let end = format!("{:?} {} {}", done.finish, done.is_whole, done.timings.generated_tokens);
    (Run { text: keeper.text, choices: keeper.choices, end }, done.timings)
}

pub fn always(n: usize) -> Speculation {
    Speculation::Always(NonZeroUsize::new(n).unwrap())
}

/// A story that begins again: the rest of it can be guessed, and the model may have other ideas.
pub fn prompt(i: usize) -> String {
    let names = ["Mia", "Ben", "Lily", "Tom", "Anna", "Sam", "Ella"];
    let things = ["lantern", "kite", "drum", "boat", "key"];
    let (name, other, thing) = (names[i % 7], names[(i + 1 + i / 7) % 7], things[i % 5]);
    let story = format!(
        "Once upon a time, {name} found an old {thing} by the river. {name} showed the {thing} to {other}. \
         \"What a lovely {thing}!\" said {other}. {name} was happy. "
    );
    let n_words = 3 + i % 11;
    let again: Vec<&str> = story.split(' ').take(n_words).collect();
    match i % 4 {
        0 => format!("{story}{}", again.join(" ")),
        1 => format!("{story}{story}{}", again.join(" ")),
        2 => story,
        _ => again.join(" "),
    }
}

pub fn greedy() -> Sampling {
    Sampling { temperature: 0.0, ..Sampling::default() }
}

pub fn sampled(seed: usize) -> Sampling {
    Sampling { temperature: 0.8, top_p: 0.9, seed: seed as u64, ..Sampling::default() }
}

/// Continues two hundred prompts without drafts, and with drafts of up to `longest` tokens, greedily and then sampled. The texts must be the
/// same. Returns how many tokens were drafted, and how many of them were right.
pub fn two_hundred_prompts(plain: &TextModel, drafting: [&TextModel; 2], max_tokens: usize, longest: usize) -> (usize, usize) {
    let (mut n_drafted, mut n_accepted) = (0, 0);
    for i in 0..200 {
        // What is taken back of a draft is gone from the session, too: the next text goes on in it.
        let (mut plain_session, mut session) = (None, None);
        for sampling in [greedy(), sampled(i)] {
            let options = GenerateOptions {
                max_tokens: Some(max_tokens),
                sampling: Some(sampling),
                n_logprobs: Some(2),
                ignore_eos: i % 3 == 0,
                ..GenerateOptions::default()
            };
            let (expected, timings) = run_in(&mut plain_session, plain, &prompt(i), &options, Speculation::Off);
            assert_eq!((timings.drafted_tokens, timings.decode_passes), (0, timings.decode_tokens));
            let speculation = if i % 5 == 4 { Speculation::Auto } else { always(1 + i % longest) };
            let (found, timings) = run_in(&mut session, drafting[i % 2], &prompt(i), &options, speculation);
            assert_eq!(found, expected, "prompt {i}, {speculation}");
            assert_eq!(timings.decode_passes + timings.accepted_tokens, timings.decode_tokens, "prompt {i}, {speculation}");
            n_drafted += timings.drafted_tokens;
            n_accepted += timings.accepted_tokens;
        }
    }
    (n_drafted, n_accepted)
}

#[test]
fn two_hundred_prompts_give_the_same_bits_with_and_without() {
    let models = [model(1), model(2)];
    let (n_drafted, n_accepted) = two_hundred_prompts(&models[0], [&models[0], &models[1]], 16, 15);
    // The model seldom tells a story twice: most drafts are wrong, and some are right.
    assert!(n_accepted > 20 && n_drafted - n_accepted > 500, "{n_accepted} of {n_drafted}");
}

#[test]
fn whatever_stops_bends_or_takes_back_a_text_does_so_at_the_same_token() {
    let base = || GenerateOptions { max_tokens: Some(48), n_logprobs: Some(1), ..GenerateOptions::default() };
    let penalised = Sampling { repetition_penalty: 1.2, frequency_penalty: 0.3, presence_penalty: 0.1, ..sampled(5) };
    let settings = [
        ("penalties", GenerateOptions { sampling: Some(penalised), ..base() }),
        ("a stop string", GenerateOptions { stop: vec!["river".into(), "happy.".into()], sampling: Some(greedy()), ..base() }),
        (
            "banned strings",
            GenerateOptions { banned: vec![" the ".into(), "happy".into()], sampling: Some(sampled(2)), ..base() },
        ),
        (
            "a grammar",
            GenerateOptions { grammar: Some(Grammar::Regex("( ?[a-z]+[.,]?){12}".into())), sampling: Some(sampled(9)), ..base() },
        ),
        (
            "a full context",
            GenerateOptions { max_tokens: None, ctx_size: Some(128), ignore_eos: true, sampling: Some(greedy()), ..base() },
        ),
        ("one token", GenerateOptions { max_tokens: Some(1), sampling: Some(greedy()), ..base() }),
    ];
    let models = [model(1), model(2)];
    for (what, options) in &settings {
        let mut n_accepted = 0;
        for (i, lengths) in [(0, [1, 8]), (1, [3, 15]), (5, [2, 5])] {
            let (plain, _) = run(&models[0], &prompt(i), options, Speculation::Off);
            for n in lengths {
                let (found, timings) = run(&models[n % 2], &prompt(i), options, always(n));
                assert_eq!(found, plain, "{what}, prompt {i}, {n} at a time");
                n_accepted += timings.accepted_tokens;
            }
            assert_eq!(run(&models[1], &prompt(i), options, Speculation::Auto).0, plain, "{what}, prompt {i}");
        }
        assert!(n_accepted > 0 || *what == "one token", "{what}: no draft was right");
    }
}

#[test]
fn the_flag_changes_the_statistics_and_not_the_text() {
    let prompt = prompt(1);
    let with = |args: &[&str]| {
        let args = [&["--prompt", &prompt, "-n", "40", "--temperature", "0", "--ignore-eos", "--stats"][..], args].concat();
        let output = infer(args).run();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (plain, stats) = with(&["--speculate", "off"]);
    assert!(!stats.contains("drafts:"), "{stats}");
    let (found, stats) = with(&["--speculate", "6"]);
    let line = stats.lines().find(|line| line.starts_with("drafts:")).unwrap_or_default();
    assert!(line.contains(" accepted (") && line.contains(" x the speed without"), "{stats}");
    assert_eq!(found, plain);
    assert_eq!(with(&[]).0, plain);
    for wrong in ["0", "16", "-1", "on", ""] {
        let line = infer(["--prompt", "x", &format!("--speculate={wrong}")]).fails(2);
        assert!(line.starts_with("--speculate: expected auto, off or a number of tokens from 1 to 15, found"), "{line}");
    }
}
