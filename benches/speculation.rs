//! What drafting brings: tokens per second with `--speculate auto` beside those of plain decoding, of a text that quotes and of texts that do not.
//!
//! The runs of both kinds take turns, and the medians count. A recorded text is forced on the model, a token after another, so that any weights will
//! do, random ones too: what a pass costs is theirs, what can be guessed is the text's. The model's own texts are sampled. With a model that drafts,
//! which is as little trained, prose is decoded with drafts of which a given part is right. Every run checks that it gave the
//! tokens that plain decoding gave. Run with `cargo bench -p infer --bench speculation -- [--model PATH] [--threads N] [--runs N] [--only WORD] [--draft PATH]`;
//! without a path it takes the built-in model, whose tokenizer serves for all.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use infer::{ModelOptions, Sampling, Session, Speculation, TextModel, Timings};
use infer_engine::{Constraint, Generation, GenerationOptions, Model};
use infer_loaders::OpenOptions;

/// What the texts are about.
const DOCUMENT: &str = include_str!("texts/document.txt");

/// A summary of it, of which seven words in ten are quoted.
const QUOTING: &str = include_str!("texts/quoting.txt");

/// Prose about something else.
const FREE: &str = include_str!("texts/free.txt");

/// The text that is to be, whatever the logits.
struct Forced {
    tokens: Vec<u32>,
    n_accepted: usize,
    /// What part of the tokens a model that drafts is told.
    right: f64,
    is_told: bool,
}

/// Whether a model that drafts knows the token at a place.
fn is_known(place: usize, right: f64) -> bool {
    // The fractions of multiples of the golden ratio are spread evenly.
    (place as f64 * 0.618_033_988_749_894_9).fract() < right
}

impl Constraint for Forced {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let kept = match self.tokens.get(self.n_accepted) {
            Some(&token) if !self.is_told || is_known(self.n_accepted, self.right) => token as usize,
            _ => 0,
        };
        let logit = logits[kept];
        logits.fill(f32::NEG_INFINITY);
        logits[kept] = logit;
        Ok(())
    }

    fn accept(&mut self, _token: u32) -> Result<(), String> {
        self.n_accepted += 1;
        Ok(())
    }

    fn rewind(&mut self, n_tokens: usize) -> Result<(), String> {
        self.n_accepted -= n_tokens;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.n_accepted == self.tokens.len()
    }

    fn may_end(&mut self) -> bool {
        self.is_complete()
    }

    fn fork(&self) -> Option<Box<dyn Constraint>> {
        let Forced { tokens, n_accepted, right, .. } = self;
        Some(Box::new(Forced { tokens: tokens.clone(), n_accepted: *n_accepted, right: *right, is_told: true }))
    }
}

/// A text to be decoded.
struct Task {
    name: &'static str,
    prompt: Vec<u32>,
    /// The text; `None`: the model's own, drawn at this temperature.
    forced: Option<Vec<u32>>,
    temperature: f32,
    /// What part of the drafts of a model is right, where one drafts.
    right: Option<f64>,
}

/// Tokens of a text of the model's own.
const N_OWN: usize = 300;

/// Decodes a task. Returns the tokens and the times.
fn decode(model: &Model, draft: Option<&Model>, task: &Task, speculation: Speculation) -> (Vec<u32>, Timings) {
    let n_tokens = task.forced.as_ref().map_or(N_OWN, Vec::len);
    let options = GenerationOptions {
        sampling: Sampling { temperature: task.temperature, seed: 1, ..Sampling::default() },
        n_tokens: model.config().vocab_size,
        stop_ids: Vec::new(),
        banned_ids: Vec::new(),
        n_logprobs: None,
        max_tokens: Some(n_tokens),
        ctx_size: task.prompt.len() + n_tokens,
        speculation,
    };
    let session = Session::new(model);
    let session = match draft.filter(|_| task.right.is_some()) {
        Some(draft) => session.with_draft(draft),
        None => session,
    };
    let mut generation = Generation::resume(session, &task.prompt, options).expect("a prompt that fits");
    if let Some(tokens) = &task.forced {
        generation.constrain(Box::new(Forced {
            tokens: tokens.clone(),
            n_accepted: 0,
            right: task.right.unwrap_or(0.0),
            is_told: false,
        }));
    }
    let mut tokens = Vec::with_capacity(n_tokens);
    while let Some(token) = generation.next_token().expect("a pass") {
        tokens.push(token);
    }
    (tokens, generation.timings())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn per_second(n: usize, time: Duration) -> f64 {
    n as f64 / time.as_secs_f64()
}

/// Writes a line of the report.
fn tell(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output");
}

/// Measures a task in turns and prints a line.
fn measure(model: &Model, draft: Option<&Model>, task: &Task, n_runs: usize) {
    let (mut plain, mut drafted, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = Timings::default();
    for _ in 0..n_runs {
        let (expected, off) = decode(model, draft, task, Speculation::Off);
        let (tokens, auto) = decode(model, draft, task, Speculation::Auto);
        assert_eq!(tokens, expected, "{}: not the same tokens", task.name);
        plain.push(per_second(off.decode_tokens, off.decode_time));
        drafted.push(per_second(auto.decode_tokens, auto.decode_time));
        ratios.push(drafted[drafted.len() - 1] / plain[plain.len() - 1]);
        last = auto;
    }
    let (lowest, highest) = ratios.iter().fold((f64::MAX, 0_f64), |(low, high), &ratio| (low.min(ratio), high.max(ratio)));
    tell(&format!(
        "| {} | {} | {} | {:.1} | {:.1} | {:.2} ({lowest:.2} to {highest:.2}) | {} of {} | {} |",
        task.name,
        model.n_threads(),
        last.decode_tokens,
        median(plain),
        median(drafted),
        median(ratios),
        last.accepted_tokens,
        last.drafted_tokens,
        last.decode_passes
    ));
}

fn main() {
    let (mut path, mut draft, mut options, mut n_runs, mut only) = (None, None, ModelOptions::default(), 5, String::new());
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_else(|| panic!("{arg}: expected a value"));
        match arg.as_str() {
            "--model" => path = Some(PathBuf::from(value)),
            "--threads" => options.threads = value.parse().expect("--threads: expected a number"),
            "--runs" => n_runs = value.parse::<NonZeroUsize>().expect("--runs: expected a number").get(),
            "--draft" => draft = Some(PathBuf::from(value)),
            "--only" => only = value,
            _ => panic!("{arg}: expected --model, --draft, --threads, --runs or --only"),
        }
    }
    let built_in = TextModel::built_in(&options).expect("the built-in model");
    let open = |path: PathBuf| {
        let checkpoint = infer_loaders::open(path.as_path(), &OpenOptions::default()).expect("a checkpoint");
        Model::open(&checkpoint, &options).expect("a model")
    };
    let (other, draft) = (path.map(open), draft.map(open));
    let model = other.as_ref().unwrap_or(built_in.model());

    let tokens = |text: &str| built_in.tokenizer().encode(text, false).expect("text");
    let prompt = built_in.tokenize(DOCUMENT).expect("text");
    let story = built_in.tokenize("Once upon a time").expect("text");
    let forced = |name, text| Task { name, prompt: prompt.clone(), forced: Some(tokens(text)), temperature: 0.0, right: None };
    let own = |name, temperature| Task { name, prompt: story.clone(), forced: None, temperature, right: None };
    tell("| text | threads | tokens | plain, t/s | auto, t/s | auto / plain | accepted | passes |");
    tell("|---|--:|--:|--:|--:|--:|--:|--:|");
    let mut tasks = vec![
        forced("a summary that quotes", QUOTING),
        forced("prose", FREE),
        own("its own, T = 1", 1.0),
        own("its own, greedy", 0.0),
    ];
    if draft.is_some() {
        let parts = [(1.0, "100 %"), (0.9, "90 %"), (0.8, "80 %"), (0.6, "60 %"), (0.0, "0 %")];
        tasks = parts.map(|(right, name)| Task { right: Some(right), ..forced(name, FREE) }).into();
    }
    tasks.iter().filter(|task| task.name.contains(&only)).for_each(|task| measure(model, draft.as_ref(), task, n_runs));
}
