//! Models made of any bytes, opened and run: formats, weights, and numbers of the header that may lie are read off a tape.
//!
//! What opens must run, whatever its weights, or say in one line why not. Here for some thousands of random tapes; `fuzz/` lets a fuzzer choose them.
//! Not here: single faults, each with its message (`gguf.rs`), and every flipped bit of a header (`mutation.rs`).

use std::num::NonZeroUsize;
use std::path::Path;

use infer_engine::{Batch, Compute, KvDType, Model, ModelError, ModelOptions, Row};
use infer_kernels::DType;
use infer_loaders::gguf_in_memory;

use crate::gguf_file::GgufFile;

/// A row of each format's blocks, the longest of which has 256 elements.
const WIDTH: usize = 256;
const VOCAB_SIZE: usize = 8;

/// Numbers that a header may hold instead of the right ones.
const LIES: [u32; 12] = [0, 1, 2, 3, 7, 64, 255, 257, 1 << 16, i32::MAX as u32, 1 << 31, u32::MAX];

/// Bytes, one after another, and zeros when they are used up.
struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn byte(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.byte() % all.len()]
    }

    /// A few bytes over and over.
    fn pattern(&mut self, n_bytes: usize) -> Vec<u8> {
        let n = 1 + self.byte() % 24;
        let pattern: Vec<u8> = (0..n).map(|_| self.byte() as u8).collect();
        pattern.iter().copied().cycle().take(n_bytes).collect()
    }

    /// Norm weights and the like: small numbers, or any.
    fn floats(&mut self, n: usize) -> Vec<u8> {
        match self.byte() {
            0..200 => (0..n).flat_map(|i| (1.0 - (i % 7) as f32 / 8.0).to_le_bytes()).collect(),
            _ => self.pattern(4 * n),
        }
    }
}

/// A model of one layer, with up to three lies.
fn model(tape: &mut Tape) -> GgufFile {
    let mut file = GgufFile::new(tape.one_of(&["llama", "qwen2", "qwen3"]));
    let architecture = String::from_utf8(file.keys[0].2[8..].to_vec()).unwrap();
    let mut numbers: Vec<(String, u32)> = [
        ("block_count", 1),
        ("embedding_length", WIDTH as u32),
        ("feed_forward_length", WIDTH as u32),
        ("context_length", 64),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ]
    .map(|(key, n)| (format!("{architecture}.{key}"), n))
    .to_vec();
    let n_lies = tape.byte().saturating_sub(160) / 32;
    for _ in 0..n_lies {
        match tape.byte() % 16 {
            at @ 0..6 => numbers[at].1 = tape.one_of(&LIES),
            6 => numbers.push((format!("{architecture}.rope.dimension_count"), tape.one_of(&LIES))),
            7 => numbers.push((format!("{architecture}.attention.key_length"), tape.one_of(&LIES))),
            8 => numbers.push((format!("{architecture}.attention.sliding_window"), tape.one_of(&LIES))),
            9 => numbers.push((format!("{architecture}.vocab_size"), tape.one_of(&LIES))),
            10 => numbers.push(("general.alignment".to_owned(), tape.one_of(&LIES))),
            11 => numbers.push(("split.count".to_owned(), tape.one_of(&LIES))),
            12 => file.f32(&format!("{architecture}.rope.freq_base"), f32::from_bits(tape.one_of(&LIES))),
            13 => file.f32(&format!("{architecture}.rope.scaling.factor"), f32::from_bits(tape.one_of(&LIES))),
            14 => file.text(&format!("{architecture}.rope.scaling.type"), tape.one_of(&["linear", "yarn", "none", "x"])),
            _ => file.version = tape.one_of(&LIES),
        }
    }
    for (key, n) in numbers {
        file.u32(&key, n);
    }
    let eps = f32::from_le_bytes([0, 0, tape.byte() as u8, 0x37]);
    file.f32(&format!("{architecture}.attention.layer_norm_rms_epsilon"), eps);

    let matrix = |file: &mut GgufFile, tape: &mut Tape, name: &str, n_rows: usize| {
        let dtype = tape.one_of(DType::ALL);
        let bytes = tape.pattern(n_rows * dtype.row_bytes(WIDTH).unwrap());
        file.tensor(name, &[n_rows, WIDTH], dtype, bytes);
    };
    matrix(&mut file, tape, "token_embd.weight", VOCAB_SIZE);
    for (name, n_rows) in [("attn_q", WIDTH), ("attn_k", WIDTH / 2), ("attn_v", WIDTH / 2), ("attn_output", WIDTH)] {
        matrix(&mut file, tape, &format!("blk.0.{name}.weight"), n_rows);
    }
    for name in ["ffn_gate", "ffn_up", "ffn_down"] {
        matrix(&mut file, tape, &format!("blk.0.{name}.weight"), WIDTH);
    }
    for (name, n) in [("output_norm", WIDTH), ("blk.0.attn_norm", WIDTH), ("blk.0.ffn_norm", WIDTH)] {
        let bytes = tape.floats(n);
        file.tensor(&format!("{name}.weight"), &[n], DType::F32, bytes);
    }
    if architecture == "qwen3" {
        for name in ["blk.0.attn_q_norm", "blk.0.attn_k_norm"] {
            let bytes = tape.floats(WIDTH / 4);
            file.tensor(&format!("{name}.weight"), &[WIDTH / 4], DType::F32, bytes);
        }
    }
    if n_lies > 0 {
        let n = file.tensors.len();
        let part = &mut file.tensors[tape.byte() % n];
        match tape.byte() % 12 {
            0 => part.kind = tape.one_of(&LIES) % 64,
            1 => part.offset = Some(tape.one_of(&LIES).into()),
            2 => part.n_dims = Some(tape.one_of(&LIES)),
            3 => part.dims[0] = tape.one_of(&LIES).into(),
            4 => part.dims.push(tape.one_of(&LIES).into()),
            5 => part.bytes.truncate(tape.byte()),
            6 => part.name.push(tape.byte() as u8),
            _ => {}
        }
    }
    file
}

/// Makes a model of `tape`, opens it, and runs a prompt and a token after it. Returns whether it ran.
///
/// # Panics
/// If an error is no single line, or what runs has other logits than asked for.
pub fn open_and_run(tape: &[u8]) -> bool {
    let mut tape = Tape(tape);
    let options = ModelOptions {
        threads: NonZeroUsize::MIN,
        compute: tape.one_of(Compute::ALL),
        kv_dtype: tape.one_of(&[None, Some(KvDType::F32), Some(KvDType::F16), Some(KvDType::BF16), Some(KvDType::Q8)]),
        prefill_chunk: NonZeroUsize::new(1 + tape.byte() % 8).unwrap(),
        ..ModelOptions::default()
    };
    let mut run = || -> Result<(), ModelError> {
        let checkpoint = gguf_in_memory(Path::new("made"), model(&mut tape).bytes())?;
        let model = Model::open(&checkpoint, &options)?;
        let (mut cache, mut state, mut batch) = (model.new_cache(), model.new_state(), Batch::new());
        let sequence = cache.create();
        for (position, token) in [1, 0, 7, 2, 2].into_iter().enumerate() {
            batch.push(Row { sequence, position, token, rope_len: 5, wants_logits: position >= 3 });
            if position >= 3 {
                model.forward(&batch, &mut cache, &mut state)?;
                assert_eq!(state.logits(0).len(), VOCAB_SIZE);
                batch = Batch::new();
            }
        }
        Ok(())
    };
    match run() {
        Ok(()) => true,
        Err(error) => {
            let line = error.to_string();
            assert!(!line.chars().any(char::is_control) && line.chars().count() <= 500, "{line}");
            false
        }
    }
}

#[test]
fn a_model_of_any_bytes_runs_or_is_refused() {
    let n_tapes = 2_000;
    let mut n_run = 0;
    for seed in 0..n_tapes {
        let mut seeded = infer_kernels::testing::Seeded(seed);
        let tape: Vec<u8> = (0..seeded.below(400)).map(|_| seeded.bits() as u8).collect();
        n_run += u64::from(open_and_run(&tape));
    }
    // Three in five tell no lies.
    assert!(n_run > n_tapes / 2, "{n_run} of {n_tapes} ran");
}
