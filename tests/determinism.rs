//! The promise of bit-identity: with the same weights, ISA and compute type, logits do not depend on threads, on how a prompt is cut, on
//! the other sequences of a batch, on whether a prefix came from the cache, or on where the weights lie.
//!
//! Not here: whether the numbers are right (`golden.rs`), and different ISAs, which agree within bounds and no further.

use std::fs;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use infer_engine::{
    Batch, Compute, Generation, GenerationOptions, KvDType, Model, ModelOptions, PAGE_LEN, Sampling, SequenceId, Speculation,
};
use infer_kernels::testing::Seeded;
use infer_kernels::{DType, Isa};
use infer_loaders::OpenOptions;

use crate::fixtures::{FLOATS, LARGER_VOCAB_SIZE, Session, Text, isas, logits, open, open_with, references, write_larger_model};
use crate::gguf::{VOCAB_SIZE, twins};
use crate::util::{Dir, checkpoint, infer};

/// The whole of what is left.
const ALL: usize = usize::MAX;

/// A model and a text to read.
struct Case {
    name: String,
    folder: PathBuf,
    text: Text,
    /// The types of activations that the weights may meet; `auto` is one of these (`golden.rs`, `gguf.rs`).
    computes: [Compute; 2],
    /// Where a model was written for this test: keeps it.
    _dir: Option<Dir>,
}

/// Grouped queries; windows of 12 and of 130 positions, which are shorter than the text; a text of several pages; rope that changes with
/// the length, on a text that crosses the limit; each storage format; sizes that no vector width divides.
const RECORDED: &[(&str, &str)] = &[
    ("llama-gqa", "reference-64"),
    ("llama-odd-sizes", "reference"),
    ("mistral-sliding-window", "reference-64"),
    ("mistral-sliding-window-long", "reference"),
    ("llama-long-prompt", "reference"),
    ("llama-rope-dynamic", "reference-crossing"),
    ("llama-f16", "reference"),
    ("llama-mixed-dtypes", "reference"),
    ("qwen2-bf16", "reference"),
    ("qwen3-bf16", "reference"),
];

impl Case {
    /// A recorded checkpoint with one of its prompts and the continuation.
    fn recorded(name: &str, reference: &str) -> Case {
        let folder = checkpoint(name);
        let reference = references(&folder).into_iter().find(|r| r.path.file_stem().unwrap() == reference).unwrap();
        let text = Text { n_prompt: reference.prompt.len(), ids: reference.greedy };
        Case { name: name.to_owned(), folder, text, computes: FLOAT_COMPUTES, _dir: None }
    }

    /// A model large enough that one product is shared out among threads.
    fn larger(dtype: DType) -> Case {
        let dir = write_larger_model(dtype);
        let mut seeded = Seeded(5);
        // More rows than a part or a tile of any step takes.
        let ids = (0..21).map(|_| seeded.below(LARGER_VOCAB_SIZE) as u32).collect();
        let text = Text { ids, n_prompt: 18 };
        Case {
            name: format!("a larger model in {dtype}"),
            folder: dir.root().to_path_buf(),
            text,
            computes: FLOAT_COMPUTES,
            _dir: Some(dir),
        }
    }

    /// A model whose matrices take turns among formats of blocks.
    fn of_blocks(formats: &[DType]) -> Case {
        let (gguf, dir) = twins(formats);
        let mut seeded = Seeded(6);
        let ids = (0..29).map(|_| seeded.below(VOCAB_SIZE) as u32).collect();
        let text = Text { ids, n_prompt: 26 };
        let name = format!("blocks of {formats:?}");
        Case { name, folder: dir.write("m.gguf", gguf.bytes()), text, computes: [Compute::F32, Compute::Int8], _dir: Some(dir) }
    }

    fn all() -> Vec<Case> {
        let recorded = RECORDED.iter().map(|(name, reference)| Case::recorded(name, reference));
        let blocks: Vec<DType> = DType::ALL.iter().copied().filter(|dtype| dtype.block_len() > 1).collect();
        let of_blocks = blocks.chunks(5).map(Case::of_blocks);
        recorded.chain(FLOATS.iter().map(|&dtype| Case::larger(dtype))).chain(of_blocks).collect()
    }

    /// Each rung with each type of activations.
    fn runs(&self) -> Vec<Run> {
        isas().into_iter().flat_map(|isa| self.computes.map(|compute| (isa, compute))).collect()
    }

    fn open(&self, n_threads: usize, (isa, compute): Run) -> Model {
        open(&self.folder, n_threads, isa, compute)
    }

    /// `n` texts that differ from each other: rotations of this one, of different lengths, none longer than `max_len`.
    fn others(&self, n: usize, max_len: usize) -> Vec<Text> {
        let other = |i: usize| {
            let len = (self.text.ids.len() - i % 5).min(max_len);
            let mut ids = self.text.ids.clone();
            ids.rotate_left(3 * i % self.text.ids.len());
            ids.truncate(len);
            Text { ids, n_prompt: self.text.n_prompt.min(len).saturating_sub(i % 3).max(1) }
        };
        (0..n).map(other).collect()
    }
}

const FLOAT_COMPUTES: [Compute; 2] = [Compute::F32, Compute::Bf16];

/// What a run's numbers may depend on.
type Run = (Isa, Compute);

/// Asserts that two lists of logits are the same to the bit.
#[track_caller]
fn assert_bits(expected: &[f32], found: &[f32], what: impl Fn() -> String) {
    assert_eq!(expected.len(), found.len(), "{}", what());
    let differ = expected.iter().zip(found).position(|(a, b)| a.to_bits() != b.to_bits());
    if let Some(at) = differ {
        panic!("{}: element {at} of {} is {:e} and not {:e}", what(), found.len(), found[at], expected[at]);
    }
    assert!(found.iter().all(|x| x.is_finite()), "{}: not finite", what());
}

#[test]
fn threads_and_chunks_change_no_bit() {
    for case in Case::all() {
        for run in case.runs() {
            let expected = logits(&case.open(1, run), &case.text, ALL);
            for n_threads in [1, 2, 3, 8] {
                let model = case.open(n_threads, run);
                for chunk in [1, 7, PAGE_LEN, ALL] {
                    let found = logits(&model, &case.text, chunk);
                    assert_bits(&expected, &found, || format!("{}, {run:?}, {n_threads} threads, chunks of {chunk}", case.name));
                }
            }
        }
    }
}

/// Each type of keys and values: texts of several chunks of positions, which threads share where there are few rows.
#[test]
fn threads_and_chunks_change_no_bit_of_any_kv_type() {
    let cases =
        [("llama-long-prompt", "reference"), ("mistral-sliding-window-long", "reference"), ("llama-odd-sizes", "reference")];
    for case in cases.map(|(name, reference)| Case::recorded(name, reference)) {
        let checkpoint = infer_loaders::open(&case.folder, &OpenOptions::default()).unwrap();
        for (isa, compute) in case.runs().into_iter().filter(|&(isa, _)| isa != Isa::Scalar) {
            let mut by_type = Vec::new();
            for &kv_dtype in KvDType::ALL {
                let open = |n_threads| {
                    let threads = NonZeroUsize::new(n_threads).unwrap();
                    let options =
                        ModelOptions { threads, isa: Some(isa), compute, kv_dtype: Some(kv_dtype), ..ModelOptions::default() };
                    Model::open(&checkpoint, &options).unwrap()
                };
                let expected = logits(&open(1), &case.text, ALL);
                for (n_threads, chunk) in [(1, 1), (2, 7), (3, 1), (3, 50), (8, ALL)] {
                    let found = logits(&open(n_threads), &case.text, chunk);
                    let name = &case.name;
                    let what = || format!("{name}, {isa} {compute} {kv_dtype}, {n_threads} threads, chunks of {chunk}");
                    assert_bits(&expected, &found, what);
                }
                by_type.push(expected);
            }
            // Types differ, or nothing was stored in them.
            assert!((1..by_type.len()).all(|i| by_type[i] != by_type[0]), "{}, {isa} {compute}", case.name);
        }
    }
}

/// The pages of a sequence, taken to another cache, hold the same positions.
#[test]
fn pages_that_were_taken_away_and_brought_back_change_no_bit() {
    let case = Case::recorded("llama-long-prompt", "reference");
    let model = case.open(2, *case.runs().last().unwrap());
    let (n, vocab_size) = (case.text.ids.len() - 40, model.config().vocab_size);
    let expected = logits(&model, &case.text, ALL);
    let mut session = Session::new(&model);
    let whole = session.cache.create();
    session.read(&case.text, whole, ALL);
    let mut other = Session::new(&model);
    assert_eq!(session.cache.page_name(), other.cache.page_name());
    let copy = other.cache.create();
    for (i, page) in session.cache.pages(whole).enumerate().take(n.div_ceil(PAGE_LEN)) {
        other.cache.restore(copy, page, PAGE_LEN.min(n - i * PAGE_LEN)).unwrap();
    }
    assert_eq!(other.cache.len(copy), n);
    let found = other.read(&case.text, copy, 3);
    assert_bits(&expected[n * vocab_size..], &found, || "pages of another cache".to_owned());
}

#[test]
fn other_sequences_in_the_batch_change_no_bit() {
    for case in Case::all() {
        let texts = case.others(16, 100);
        for run in case.runs() {
            let alone = case.open(1, run);
            let expected: Vec<Vec<f32>> = texts.iter().map(|text| logits(&alone, text, ALL)).collect();
            let together = case.open(3, run);
            for n in [2, 7, 16] {
                let found = interleave(&together, &texts[..n]);
                for (i, (expected, found)) in expected.iter().zip(&found).enumerate() {
                    assert_bits(expected, found, || format!("{}, {run:?}, sequence {i} of {n}", case.name));
                }
            }
        }
    }
}

/// Reads several texts at once, as a server would: each pass takes chunks of some prompts and single steps of others, in an order that
/// changes, and some sequences wait. Returns each text's logits.
fn interleave(model: &Model, texts: &[Text]) -> Vec<Vec<f32>> {
    let mut session = Session::new(model);
    let mut seeded = Seeded(texts.len() as u64);
    let sequences: Vec<SequenceId> = texts.iter().map(|_| session.cache.create()).collect();
    let mut found = vec![Vec::new(); texts.len()];
    let (mut batch, mut n_mixed) = (Batch::new(), 0);
    while texts.iter().zip(&sequences).any(|(text, &id)| session.cache.len(id) < text.ids.len()) {
        batch.clear();
        let mut order: Vec<usize> = (0..texts.len()).filter(|_| seeded.below(4) > 0).collect();
        order.sort_by_cached_key(|_| seeded.bits());
        let mut takers = Vec::new();
        for i in order {
            let (text, done) = (&texts[i], session.cache.len(sequences[i]));
            let n = if done < text.n_prompt { (1 + seeded.below(20)).min(text.n_prompt - done) } else { 1 };
            let end = (done + n).min(text.ids.len());
            text.push(&mut batch, sequences[i], done..end);
            takers.extend((done..end).map(|_| (i, done >= text.n_prompt)));
        }
        n_mixed += usize::from(takers.iter().any(|taker| taker.1) && takers.iter().any(|taker| !taker.1));
        session.run(&batch);
        for (row, &(i, _)) in takers.iter().enumerate() {
            found[i].extend_from_slice(session.state.logits(row));
        }
    }
    assert!(n_mixed > 0, "no batch had prompts and single steps");
    found
}

#[test]
fn which_rows_want_logits_changes_no_bit() {
    for case in Case::all() {
        for run in case.runs() {
            let model = case.open(2, run);
            let vocab_size = model.config().vocab_size;
            let expected = logits(&model, &case.text, ALL);
            let mut session = Session::new(&model);
            let sequence = session.cache.create();
            let (mut every, mut some) = (Batch::new(), Batch::new());
            case.text.push(&mut every, sequence, 0..case.text.ids.len());
            for row in every.rows() {
                some.push(infer_engine::Row { wants_logits: row.position % 3 == 1, ..*row });
            }
            session.run(&some);
            for (i, row) in some.rows().iter().filter(|row| row.wants_logits).enumerate() {
                let expected = &expected[row.position * vocab_size..][..vocab_size];
                assert_bits(expected, session.state.logits(i), || format!("{}, {run:?}, row {}", case.name, row.position));
            }
        }
    }
}

#[test]
fn a_prefix_from_the_cache_changes_no_bit() {
    for case in Case::all() {
        for run in case.runs() {
            let (model, n) = (case.open(2, run), case.text.ids.len());
            let longer = branch(&case.text, n, 1);
            let fresh = logits(&model, &longer, ALL);
            let mut session = Session::new(&model);
            let whole = session.cache.create();
            session.read(&case.text, whole, ALL);
            for n_shared in [1, PAGE_LEN - 1, PAGE_LEN, PAGE_LEN + 1, n - 1].into_iter().filter(|&n_shared| n_shared < n) {
                let what = format!("{}, {run:?}, {n_shared} shared", case.name);
                let trunk = session.cache.fork(whole);
                share_a_prefix(&mut session, trunk, &case.text, n_shared, (&longer, &fresh), &what);
            }
        }
    }
}

/// The first `n` positions of a text, and then others than it has.
fn branch(text: &Text, n: usize, step: usize) -> Text {
    let tail = text.ids.iter().cycle().skip(step).step_by(2).take(9);
    Text { ids: text.ids[..n].iter().chain(tail).copied().collect(), n_prompt: text.n_prompt }
}

/// Forks and truncates sequences that share the first `n_shared` positions of `text`, which `trunk` holds, appends to them in turn, and
/// compares each with a fresh cache. `longer` is what the trunk becomes, and its logits.
fn share_a_prefix(
    session: &mut Session<'_>,
    trunk: SequenceId,
    text: &Text,
    n_shared: usize,
    longer: (&Text, &[f32]),
    what: &str,
) {
    let vocab_size = session.model.config().vocab_size;
    let (n, (a, fresh_a)) = (text.ids.len(), longer);
    let (b, c) = (branch(text, n_shared, 2), branch(text, n_shared, 3));
    let [fresh_b, fresh_c] = [&b, &c].map(|text| logits(session.model, text, ALL));

    let fork = session.cache.fork(trunk);
    session.cache.truncate(fork, n_shared);
    // Both grow in the same pass.
    let mut batch = Batch::new();
    b.push(&mut batch, fork, n_shared..b.ids.len());
    a.push(&mut batch, trunk, n..a.ids.len());
    session.run(&batch);
    let rows = |range: Range<usize>| range.flat_map(|i| session.state.logits(i).to_vec()).collect::<Vec<f32>>();
    let (n_b, n_rows) = (b.ids.len() - n_shared, batch.len());
    assert_bits(&fresh_b[n_shared * vocab_size..], &rows(0..n_b), || format!("{what}: a fork"));
    assert_bits(&fresh_a[n * vocab_size..], &rows(n_b..n_rows), || format!("{what}: the trunk beside its fork"));

    // A fork of the fork outlives it, goes back and goes on otherwise.
    let second = session.cache.fork(fork);
    session.cache.remove(fork);
    session.cache.truncate(second, n_shared);
    let found = session.read(&c, second, 4);
    assert_bits(&fresh_c[n_shared * vocab_size..], &found, || format!("{what}: a truncated fork"));

    // A sequence in the place of the one that was removed, and the trunk from the beginning.
    let reused = session.cache.create();
    assert_bits(&fresh_b, &session.read(&b, reused, ALL), || format!("{what}: a sequence in the place of another"));
    session.cache.truncate(trunk, 0);
    assert!(session.cache.is_empty(trunk));
    assert_bits(&fresh_c, &session.read(&c, trunk, 50), || format!("{what}: a sequence begun again"));
    [trunk, second, reused].into_iter().for_each(|sequence| session.cache.remove(sequence));
}

#[test]
fn a_refused_batch_leaves_no_trace() {
    let case = Case::recorded("llama-gqa", "reference-64");
    let model = case.open(2, (Isa::Portable, Compute::F32));
    let expected = logits(&model, &case.text, ALL);
    let mut session = Session::new(&model);
    let (sequence, other) = (session.cache.create(), session.cache.create());
    let half = Text { ids: case.text.ids[..30].to_vec(), ..case.text };
    let mut found = session.read(&half, sequence, ALL);
    let row = |sequence, position, token| infer_engine::Row { sequence, position, token, rope_len: 31, wants_logits: true };
    let vocab_size = model.config().vocab_size as u32;
    for (rows, expected) in [
        (vec![row(other, 0, 1), row(sequence, 31, 1)], "position 30"),
        (vec![row(sequence, 30, 1), row(sequence, 30, 1)], "position 31"),
        (vec![row(sequence, 30, 1), row(other, 0, vocab_size)], "a token id below"),
        (vec![row(sequence, 30, 1), row(other, 0, 1), row(sequence, 31, 1)], "side by side"),
    ] {
        let mut batch = Batch::new();
        rows.into_iter().for_each(|row| batch.push(row));
        let error = model.forward(&batch, &mut session.cache, &mut session.state).unwrap_err();
        assert!(error.to_string().contains(expected), "expected {expected:?}, found {error}");
        assert_eq!((session.cache.len(sequence), session.cache.len(other)), (30, 0));
    }
    found.extend(session.read(&case.text, sequence, ALL));
    assert_bits(&expected, &found, || "after refused batches".to_owned());
}

#[test]
fn where_the_weights_lie_changes_no_bit() {
    for name in ["llama-misaligned", "llama-misaligned-bf16", "llama-f16", "llama-sharded"] {
        let case = Case::recorded(name, "reference");
        for run @ (isa, compute) in case.runs() {
            let expected = logits(&case.open(1, run), &case.text, ALL);
            let read = open_with(&case.folder, &OpenOptions { mmap: false }, 1, isa, compute);
            assert_bits(&expected, &logits(&read, &case.text, ALL), || format!("{name}, {run:?}, read and not mapped"));
        }
    }
    for name in ["llama-misaligned", "llama-misaligned-bf16"] {
        let case = Case::recorded(name, "reference");
        let aligned = Dir::of_checkpoint(name);
        align(&aligned.path("model.safetensors"));
        for run @ (isa, compute) in case.runs() {
            let expected = logits(&case.open(1, run), &case.text, ALL);
            let found = logits(&open(aligned.root(), 1, isa, compute), &case.text, ALL);
            assert_bits(&expected, &found, || format!("{name}, {run:?}, aligned"));
        }
    }
}

/// Pads the header of a safetensors file so that its data begins at a multiple of 8, which it must not have done before.
fn align(path: &Path) {
    let file = fs::read(path).unwrap();
    let (length, rest) = file.split_first_chunk().unwrap();
    let (header, tensors) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let padding = header.len().next_multiple_of(8) - header.len();
    assert!(padding > 0, "{} is aligned", path.display());
    let length = (header.len() + padding) as u64;
    fs::write(path, [&length.to_le_bytes(), header, &b" ".repeat(padding), tensors].concat()).unwrap();
}

/// Tokens sampled after a prompt. The prompt's reading is broken off and taken up again at `stop_at`, if that is given.
fn sample(model: &Model, prompt: &[u32], seed: u64, stop_at: Option<usize>) -> Vec<u32> {
    let options = GenerationOptions {
        sampling: Sampling { temperature: 1.5, top_p: 0.95, repetition_penalty: 1.1, seed, ..Sampling::greedy() },
        n_tokens: model.config().vocab_size,
        stop_ids: Vec::new(),
        banned_ids: Vec::new(),
        n_logprobs: None,
        max_tokens: Some(40),
        ctx_size: 1000,
        speculation: Speculation::Off,
    };
    let mut generation = Generation::new(model, prompt, options).unwrap();
    if let Some(stop_at) = stop_at {
        let until = &mut |done: usize, _| if done >= stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        assert!(generation.prefill(until).unwrap().is_break());
    }
    std::iter::from_fn(|| generation.next_token().unwrap()).collect()
}

#[test]
fn the_same_seed_draws_the_same_tokens() {
    let case = Case::recorded("mistral-sliding-window", "reference-64");
    let prompt = &case.text.ids[..case.text.n_prompt];
    for run in case.runs() {
        let expected = sample(&case.open(1, run), prompt, 7, None);
        assert_eq!(expected.len(), 40);
        for (n_threads, chunk) in [(1, 1), (2, 7), (3, 64), (8, 1000)] {
            let checkpoint = infer_loaders::open(&case.folder, &OpenOptions::default()).unwrap();
            let size = |n| NonZeroUsize::new(n).unwrap();
            let options = ModelOptions {
                threads: size(n_threads),
                isa: Some(run.0),
                compute: run.1,
                prefill_chunk: size(chunk),
                ..ModelOptions::default()
            };
            let model = Model::open(&checkpoint, &options).unwrap();
            let what = format!("{run:?}, {n_threads} threads, chunks of {chunk}");
            assert_eq!(sample(&model, prompt, 7, None), expected, "{what}");
            assert_eq!(sample(&model, prompt, 7, Some(20)), expected, "{what}, interrupted");
            assert_ne!(sample(&model, prompt, 8, None), expected, "{what}: another seed");
        }
    }
}

#[test]
fn another_process_with_other_threads_measures_the_same() {
    let folder = checkpoint("mistral-sliding-window-long");
    let report = |n_threads: &str| {
        let command = infer(["check", "--json", "--compute", "f32", "--threads", n_threads, "--model"]).args([&folder]);
        let mut report = command.args(["--reference"]).args([folder.join("reference.safetensors")]).json();
        assert_eq!(report["threads"].take().to_string(), n_threads);
        report
    };
    let expected = report("1");
    assert!(expected["max_abs_err"].as_f64().unwrap() > 0.0, "nothing to compare: {expected}");
    for n_threads in ["1", "2", "3"] {
        assert_eq!(report(n_threads), expected, "{n_threads} threads");
    }
}
