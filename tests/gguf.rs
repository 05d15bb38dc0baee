//! GGUF files: blocks decoded as the format defines them, models that compute what their safetensors twins do, tokenizers.
//!
//! Not here: broken files (`hostile/gguf.rs`).

use std::path::Path;

use infer_engine::{Compute, KvDType, Model};
use infer_kernels::testing::{Guarded, Seeded};
use infer_kernels::{DType, Isa, Kernels, decode, f16};
use infer_loaders::{OpenOptions, open_safetensors};
use serde_json::json;

use crate::fixtures::{Text, isas, logits, open, open_with, open_with_kv, references};
use crate::gguf_file::GgufFile;
use crate::util::{Dir, TensorData, checkpoint, data, infer, safetensors};

#[test]
fn blocks_decode_bit_for_bit() {
    let recorded = open_safetensors(&data("gguf/blocks.safetensors"), &OpenOptions::default()).unwrap();
    let formats: Vec<DType> = DType::ALL.iter().copied().filter(|dtype| dtype.block_len() > 1).collect();
    assert!(formats.len() >= 13);
    for dtype in formats {
        let name = dtype.name().to_uppercase();
        let tensor = |part: &str| recorded.tensor(&format!("{name}.{part}")).unwrap_or_else(|| panic!("no {name}.{part}"));
        let (blocks, values) = (tensor("blocks"), tensor("values").to_f32().unwrap());
        assert_eq!(blocks.shape(), [values.len() / dtype.block_len(), dtype.block_bytes()], "{name}");
        assert!(values.len() >= 8 * dtype.block_len());
        let mut decoded = vec![f32::NAN; values.len()];
        decode(dtype, blocks.bytes(), &mut decoded);
        let differs = decoded.iter().zip(&values).position(|(a, b)| a.to_bits() != b.to_bits());
        assert!(
            differs.is_none(),
            "{name}: weight {differs:?}: {} and not {}",
            decoded[differs.unwrap()],
            values[differs.unwrap()]
        );
    }
}

/// Logits of both models on every rung, bit for bit.
#[track_caller]
pub fn assert_same_logits(ours: &Path, theirs: &Path, ids: &[u32], options: &OpenOptions) {
    let text = Text { ids: ids.to_vec(), n_prompt: ids.len() };
    for isa in isas() {
        let of = |model: Model| [1, 3, usize::MAX].map(|chunk| logits(&model, &text, chunk));
        let a = of(open_with(ours, options, 2, isa, Compute::F32));
        let b = of(open(theirs, 2, isa, Compute::F32));
        let bits = |logits: &[Vec<f32>; 3]| logits.iter().flatten().map(|x| x.to_bits()).collect::<Vec<u32>>();
        assert!(a[0].iter().all(|x| x.is_finite()) && a[0].iter().any(|x| *x != a[0][0]), "{isa}: {:?}", &a[0][..4]);
        assert!(bits(&a) == bits(&b), "{} on {isa}: other logits than {}", ours.display(), theirs.display());
    }
}

pub const MAPPED: OpenOptions = OpenOptions { mmap: true };
const READ: OpenOptions = OpenOptions { mmap: false };

#[test]
fn recorded_models_compute_what_their_originals_do() {
    for name in ["llama-gqa", "qwen3"] {
        let original = checkpoint(name);
        for reference in references(&original) {
            assert_same_logits(&data(&format!("gguf/{name}.f32.gguf")), &original, &reference.prompt, &MAPPED);
        }
    }
}

#[test]
fn a_recorded_f16_model_computes_what_the_rounded_original_does() {
    let original = infer_loaders::open(&checkpoint("qwen2-bias"), &MAPPED).unwrap();
    let rounded: Vec<TensorData> = original
        .tensors()
        .map(|tensor| {
            let values = tensor.to_f32().unwrap();
            let is_matrix = tensor.shape().len() > 1;
            let half = || values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
            let bytes = if is_matrix { half() } else { tensor.bytes().to_vec() };
            let dtype = if is_matrix { "F16" } else { "F32" };
            TensorData { name: tensor.name().to_owned(), dtype, shape: tensor.shape().to_vec(), bytes }
        })
        .collect();
    let twin = Dir::of_checkpoint("qwen2-bias");
    twin.write("model.safetensors", safetensors(&rounded));
    assert_same_logits(&data("gguf/qwen2-bias.f16.gguf"), twin.root(), &references(&checkpoint("qwen2-bias"))[0].prompt, &READ);
}

const DIM: usize = 256;
pub const VOCAB_SIZE: usize = 300;
const N_HEADS: usize = 4;
const N_KV_HEADS: usize = 2;

/// The matrices of a Llama of one layer: names in GGUF and in Hugging Face's spelling, rows, and of what heads they are.
const MATRICES: [(&str, &str, usize, Option<usize>); 9] = [
    ("token_embd.weight", "model.embed_tokens.weight", VOCAB_SIZE, None),
    ("output.weight", "lm_head.weight", VOCAB_SIZE, None),
    ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", DIM, Some(N_HEADS)),
    ("blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", DIM / 2, Some(N_KV_HEADS)),
    ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", DIM / 2, None),
    ("blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight", DIM, None),
    ("blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight", 2 * DIM, None),
    ("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight", 2 * DIM, None),
    ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", DIM, None),
];

const NORMS: [(&str, &str); 3] = [
    ("output_norm.weight", "model.norm.weight"),
    ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"),
    ("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight"),
];

/// Random weights of a format: bytes, and the numbers that they stand for.
fn random_weights(dtype: DType, n: usize, seeded: &mut Seeded) -> (Vec<u8>, Vec<f32>) {
    let (mut bytes, mut values) = (Vec::new(), Vec::new());
    // Aligned for any format.
    let mut block = Guarded::new(dtype.block_bytes(), 0, 0xff, || 0_u8);
    let mut decoded = vec![0.0; dtype.block_len()];
    while values.len() < n {
        block.get_mut().fill_with(|| seeded.bits() as u8);
        decode(dtype, block.get(), &mut decoded);
        // Of a size that weights have, and not nearly nothing.
        let largest = decoded.iter().fold(0.0_f32, |largest, x| if x.is_nan() { f32::NAN } else { largest.max(x.abs()) });
        if (1e-3..0.5).contains(&largest) {
            bytes.extend_from_slice(block.get());
            values.extend_from_slice(&decoded);
        }
    }
    (bytes, values)
}

/// A model of matrices in some formats, which take turns, as GGUF and as a folder with float32 weights of the same values.
pub fn twins(formats: &[DType]) -> (GgufFile, Dir) {
    let mut seeded = Seeded(31);
    let mut gguf = GgufFile::new("llama");
    for (key, n) in [
        ("block_count", 1),
        ("embedding_length", DIM),
        ("feed_forward_length", 2 * DIM),
        ("context_length", 128),
        ("attention.head_count", N_HEADS),
        ("attention.head_count_kv", N_KV_HEADS),
        ("rope.dimension_count", DIM / N_HEADS),
        ("vocab_size", VOCAB_SIZE),
    ] {
        gguf.u32(&format!("llama.{key}"), n as u32);
    }
    gguf.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    gguf.f32("llama.rope.freq_base", 500_000.0);
    let mut tensors = Vec::new();
    for (i, (name, theirs, n_rows, heads)) in MATRICES.into_iter().enumerate() {
        let (dtype, k) = (formats[i % formats.len()], if name.contains("down") { 2 * DIM } else { DIM });
        let (bytes, values) = random_weights(dtype, n_rows * k, &mut seeded);
        let row_bytes = dtype.row_bytes(k).unwrap();
        let rows = |order: &dyn Fn(usize) -> usize| -> Vec<u8> {
            (0..n_rows).flat_map(|row| bytes[order(row) * row_bytes..][..row_bytes].to_vec()).collect()
        };
        // Row 2i + s of a head in the file is row s * d/2 + i.
        let permuted = match heads.map(|n_heads| n_rows / n_heads) {
            Some(d) => rows(&|row| row / d * d + row % 2 * (d / 2) + row % d / 2),
            None => bytes.clone(),
        };
        gguf.tensor(name, &[n_rows, k], dtype, permuted);
        tensors.push(TensorData::f32s(theirs, [n_rows, k], &values));
    }
    for (name, theirs) in NORMS {
        let values: Vec<f32> = (0..DIM).map(|_| 1.0 + 0.5 * seeded.uniform()).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        gguf.tensor(name, &[DIM], DType::F32, bytes.clone());
        tensors.push(TensorData { name: theirs.to_owned(), dtype: "F32", shape: vec![DIM], bytes });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let twin = Dir::new();
    twin.write("model.safetensors", safetensors(&tensors));
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": DIM, "intermediate_size": 2 * DIM, "num_hidden_layers": 1,
        "num_attention_heads": N_HEADS, "num_key_value_heads": N_KV_HEADS, "vocab_size": VOCAB_SIZE, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "tie_word_embeddings": false,
    });
    twin.write("config.json", config.to_string());
    (gguf, twin)
}

const IDS: [u32; 12] = [1, 299, 17, 4, 250, 4, 4, 98, 0, 3, 200, 151];

#[test]
fn every_format_computes_what_its_values_do() {
    let formats = DType::ALL;
    for start in (0..formats.len()).step_by(MATRICES.len() / 2) {
        let turn: Vec<DType> = formats.iter().cycle().skip(start).take(MATRICES.len()).copied().collect();
        let (gguf, twin) = twins(&turn);
        let path = twin.write("m.gguf", gguf.bytes());
        assert_same_logits(&path, twin.root(), &IDS, &MAPPED);
    }
}

/// Rounding activations to bytes is what `auto` does for weights of integers, where the CPU multiplies them; it costs little.
#[test]
fn activations_in_bytes_are_near_those_in_f32() {
    let formats: Vec<DType> = DType::ALL.iter().copied().filter(|dtype| dtype.block_len() > 1).collect();
    let text = Text { ids: IDS.to_vec(), n_prompt: IDS.len() };
    let mut n_rounded = 0;
    for dtype in formats {
        let (gguf, twin) = twins(&[dtype]);
        let path = twin.write("m.gguf", gguf.bytes());
        for kernels in Kernels::available() {
            let isa = kernels.isa();
            let [auto, int8, exact] = [Compute::Auto, Compute::Int8, Compute::F32].map(|compute| open(&path, 2, isa, compute));
            let expected = if kernels.has_int8_dot(dtype) { Compute::Int8 } else { Compute::F32 };
            assert_eq!((auto.compute(), int8.compute()), (expected, expected), "{dtype} on {isa}");
            let [auto, int8, exact] = [auto, int8, exact].map(|model| logits(&model, &text, 5));
            assert!(auto == int8, "{dtype} on {isa}");
            if expected == Compute::F32 {
                // Keys and values apart, which are rounded unless f32 is asked for by name.
                let alike = |compute, kv_dtype| logits(&open_with_kv(&path, 2, isa, compute, kv_dtype), &text, 5);
                assert!(auto == alike(Compute::F32, KvDType::BF16), "{dtype} on {isa}");
                assert!(exact == alike(Compute::Auto, KvDType::F32), "{dtype} on {isa}");
                continue;
            }
            n_rounded += 1;
            let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                auto.iter().zip(&exact).map(|(&a, &b)| f(f64::from(a), f64::from(b))).sum()
            };
            let nmse = sum(&|a, b| (a - b) * (a - b)) / sum(&|_, b| b * b);
            // Four products one after the other, each off by 2.5e-5, and attention between them.
            assert!(nmse > 0.0 && nmse < 1e-3, "{dtype} on {isa}: NMSE {nmse:e}");
        }
    }
    assert!(n_rounded > 0 || !Kernels::available().any(|kernels| kernels.isa() == Isa::Avx2), "{n_rounded}");
}

#[test]
fn a_split_model_is_one_model() {
    let (mut first, twin) = twins(&[DType::Q8_0]);
    let mut second = GgufFile::empty();
    second.tensors = first.tensors.split_off(5);
    first.u32("split.tensors.count", 12);
    for (number, file) in [&mut first, &mut second].into_iter().enumerate() {
        file.raw("split.no", 2, (number as u16).to_le_bytes().to_vec());
        file.raw("split.count", 2, 2_u16.to_le_bytes().to_vec());
    }
    let path = twin.write("m-00001-of-00002.gguf", first.bytes());
    let other = twin.write("m-00002-of-00002.gguf", second.bytes());
    for options in [MAPPED, READ] {
        assert_same_logits(&path, twin.root(), &IDS, &options);
    }
    let refused = |path: &Path| infer_loaders::open(path, &MAPPED).unwrap_err().to_string();
    assert!(refused(&other).contains("field 'split.no': expected 0, found 1"), "{}", refused(&other));
    let renamed = twin.write("renamed.gguf", first.bytes());
    assert!(
        refused(&renamed).contains("field 'split.count': expected 1 in a file whose name does not end in '-00001-of-00002.gguf'")
    );
    first.u32("split.tensors.count", 13);
    twin.write("m-00001-of-00002.gguf", first.bytes());
    assert!(refused(&path).contains("field 'split.tensors.count': expected 12, found 13"), "{}", refused(&path));
    std::fs::remove_file(other).unwrap();
    assert!(refused(&path).contains("m-00002-of-00002.gguf: expected to find the file"), "{}", refused(&path));
}

/// Divisors of 4 for all frequencies are linear scaling by 4.
#[test]
fn rope_factors_divide_the_frequencies() {
    let (mut gguf, twin) = twins(&[DType::F32]);
    twin.edit_json("config.json", |config| config["rope_scaling"] = json!({ "rope_type": "linear", "factor": 4.0 }));
    let half = DIM / N_HEADS / 2;
    gguf.tensor("rope_freqs.weight", &[half], DType::F32, [4.0_f32.to_le_bytes()].repeat(half).concat());
    assert_same_logits(&twin.write("m.gguf", gguf.bytes()), twin.root(), &IDS, &MAPPED);
    let mut scaled = twins(&[DType::F32]).0;
    scaled.text("llama.rope.scaling.type", "linear");
    scaled.f32("llama.rope.scaling.factor", 4.0);
    assert_same_logits(&twin.write("m.gguf", scaled.bytes()), twin.root(), &IDS, &MAPPED);
}

/// llama.cpp reads no window for these architectures, so neither is one followed here: beyond 4 tokens it would show.
#[test]
fn a_sliding_window_of_a_llama_file_is_passed_over() {
    let (mut gguf, twin) = twins(&[DType::F32]);
    gguf.u32("llama.attention.sliding_window", 4);
    assert_same_logits(&twin.write("m.gguf", gguf.bytes()), twin.root(), &IDS, &MAPPED);
}

/// SentencePiece's kind: three control tokens, the 256 bytes, and a few pieces with scores.
pub fn add_scored_vocabulary(gguf: &mut GgufFile) {
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6));
    let control = [("<unk>", 2), ("<s>", 3), ("</s>", 3)].map(|(token, kind)| (token.to_owned(), 0.0, kind));
    let pieces = ["▁t", "he", "▁the", "▁", "t", "h", "e", "a", "th", "<tag>"];
    let pieces =
        pieces.into_iter().enumerate().map(|(i, piece)| (piece.to_owned(), -(i as f32), 1 + 3 * i32::from(piece == "<tag>")));
    let all: Vec<(String, f32, i32)> = control.into_iter().chain(bytes).chain(pieces).collect();
    gguf.text("tokenizer.ggml.model", "llama");
    gguf.texts("tokenizer.ggml.tokens", &all.iter().map(|token| &token.0[..]).collect::<Vec<&str>>());
    gguf.f32s("tokenizer.ggml.scores", &all.iter().map(|token| token.1).collect::<Vec<f32>>());
    gguf.i32s("tokenizer.ggml.token_type", &all.iter().map(|token| token.2).collect::<Vec<i32>>());
    for (key, id) in [("unknown", 0), ("bos", 1), ("eos", 2)] {
        gguf.u32(&format!("tokenizer.ggml.{key}_token_id"), id);
    }
    gguf.text("tokenizer.chat_template", "{% for message in messages %}{{ bos_token }}<tag>{{ message.content }}{% endfor %}");
}

#[test]
fn a_vocabulary_of_scores_joins_the_best_neighbours_first() {
    let dir = Dir::new();
    let mut gguf = GgufFile::new("llama");
    add_scored_vocabulary(&mut gguf);
    let encode = |gguf: &GgufFile, text: &str, special| {
        let tokenizer = infer_loaders::open_tokenizer(&dir.write("m.gguf", gguf.bytes())).unwrap();
        let ids = tokenizer.encode(text, special).unwrap();
        (tokenizer.decode(&ids, true).unwrap(), ids)
    };
    let (t, he, the, space, a, th, tag) = (259, 260, 261, 262, 266, 267, 268);
    assert_eq!(encode(&gguf, "the", true), ("the".to_owned(), vec![1, the]));
    // "▁t" and "he" come before "th"; alone, "t" and "h" become one.
    assert_eq!(encode(&gguf, "the ath", false).1, [the, space, a, th]);
    assert_eq!(encode(&gguf, "t<tag>he", false).1, [t, tag, space, he]);
    assert_eq!(encode(&gguf, "aé", false), ("aé".to_owned(), vec![space, a, 3 + 0xc3, 3 + 0xa9]));
    gguf.flag("tokenizer.ggml.add_space_prefix", false);
    gguf.flag("tokenizer.ggml.add_bos_token", false);
    gguf.flag("tokenizer.ggml.add_eos_token", true);
    assert_eq!(encode(&gguf, "he", true).1, [he, 2]);
}

#[test]
fn a_vocabulary_of_merges_splits_as_its_pre_tokenizer_says() {
    let dir = Dir::new();
    let mut gguf = GgufFile::new("llama");
    gguf.text("tokenizer.ggml.model", "gpt2");
    let tokens = ["1", "2", "3", "4", "12", "123", "a", "Ġ", "Ġa", "34", "<|begin|>", "1234", "!"];
    gguf.texts("tokenizer.ggml.tokens", &tokens);
    gguf.i32s("tokenizer.ggml.token_type", &tokens.map(|token| if token == "<|begin|>" { 3 } else { 1 }));
    gguf.texts("tokenizer.ggml.merges", &["1 2", "12 3", "3 4", "123 4", "Ġ a"]);
    gguf.u32("tokenizer.ggml.bos_token_id", 10);
    let mut encode = |pre: Option<&str>, text: &str| {
        gguf.remove("tokenizer.ggml.pre");
        pre.into_iter().for_each(|pre| gguf.text("tokenizer.ggml.pre", pre));
        let tokenizer = infer_loaders::open_tokenizer(&dir.write("m.gguf", gguf.bytes()))?;
        let ids = tokenizer.encode(text, true).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text.replace("<|begin|>", ""));
        Ok::<_, infer_loaders::LoadError>(ids)
    };
    // Three digits at a time, and BOS; one digit; one; threes, also without a name.
    assert_eq!(encode(Some("llama-bpe"), "1234 a").unwrap(), [10, 5, 3, 8]);
    assert_eq!(encode(Some("qwen2"), "1234 a").unwrap(), [0, 1, 2, 3, 8]);
    assert_eq!(encode(Some("smollm"), "1234 a").unwrap(), [0, 1, 2, 3, 8]);
    assert_eq!(encode(Some("default"), "1234 a!").unwrap(), [5, 3, 8, 12]);
    assert_eq!(encode(None, "1234<|begin|> a").unwrap(), [5, 3, 10, 8]);
    assert_eq!(encode(Some("gpt-2"), "1234 a").unwrap(), [11, 8]);
    let refused = encode(Some("nonesuch"), "1").unwrap_err().to_string();
    assert!(
        refused.contains("field 'tokenizer.ggml.pre': expected default, llama-bpe,") && refused.contains("\"nonesuch\""),
        "{refused}"
    );
}

#[test]
fn the_commands_take_a_gguf_file() {
    let (mut gguf, dir) = twins(&[DType::Q4K, DType::Q6K]);
    add_scored_vocabulary(&mut gguf);
    let model = dir.write("m.gguf", gguf.bytes());
    let run = |args: &[&str]| infer(args.iter().copied().chain(["--model", model.to_str().unwrap()]));
    let facts = run(&["inspect", "--json"]).json();
    assert_eq!(facts["architecture"], "LlamaForCausalLM");
    assert_eq!(facts["tokenizer"], json!({ "vocab_size": 269, "bos_id": 1, "eos_ids": [2] }));
    assert_eq!(facts["tensors"][0]["dtype"], "Q6_K");
    assert!(run(&["inspect"]).succeeds().contains("Q4_K"));
    run(&["--prompt", "the", "-n", "4", "--temperature", "0"]).succeeds();
    assert!(run(&["tokenize", "--text", "the"]).succeeds().contains("▁the"));
    let prompt = run(&["prompt", "--chat", "--prompt", "the"]).succeeds();
    assert!(prompt.contains("<s><tag>the"), "{prompt}");
}
