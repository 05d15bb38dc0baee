//! GGUF files that lie: every row of the catalogue, each overflow by itself, every truncation and every flipped bit of a header.
//!
//! Not here: what good files mean (`gguf.rs` of the tests).

use infer_kernels::DType;

use super::case::{Suite, inspect, tokenize};
use super::mutation::{logits, mutate_file};
use crate::gguf::add_scored_vocabulary;
use crate::gguf_file::{ARRAY, GgufFile, TEXT, U32, string};
use crate::util::Dir;

/// Rows of the embedding: as many as the vocabulary has tokens.
const VOCAB_SIZE: usize = 269;

/// A Llama of one layer, width 4, two heads.
fn tiny() -> GgufFile {
    let mut file = GgufFile::new("llama");
    for (key, n) in [
        ("block_count", 1),
        ("embedding_length", 4),
        ("feed_forward_length", 6),
        ("context_length", 64),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
    ] {
        file.u32(&format!("llama.{key}"), n);
    }
    file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    let shapes: [(&str, &[usize]); 11] = [
        ("token_embd.weight", &[VOCAB_SIZE, 4]),
        ("output_norm.weight", &[4]),
        ("blk.0.attn_norm.weight", &[4]),
        ("blk.0.attn_q.weight", &[4, 4]),
        ("blk.0.attn_k.weight", &[2, 4]),
        ("blk.0.attn_v.weight", &[2, 4]),
        ("blk.0.attn_output.weight", &[4, 4]),
        ("blk.0.ffn_norm.weight", &[4]),
        ("blk.0.ffn_gate.weight", &[6, 4]),
        ("blk.0.ffn_up.weight", &[6, 4]),
        ("blk.0.ffn_down.weight", &[4, 6]),
    ];
    for (name, shape) in shapes {
        let n = shape.iter().product::<usize>();
        let bytes = (0..n).flat_map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0).to_le_bytes()).collect();
        file.tensor(name, shape, DType::F32, bytes);
    }
    file
}

/// The same with a vocabulary.
fn with_vocabulary() -> GgufFile {
    let mut file = tiny();
    add_scored_vocabulary(&mut file);
    file
}

/// Checks that files are refused with lines that contain what is given.
struct Cases {
    dir: Dir,
    suite: Suite,
}

impl Cases {
    fn new() -> Cases {
        let mut cases = Cases { dir: Dir::new(), suite: Suite::default() };
        for (name, file) in [("no vocabulary", tiny()), ("a vocabulary", with_vocabulary())] {
            let path = cases.dir.write("m.gguf", file.bytes());
            cases.suite.accepted(name, &inspect(&path), None, &[]);
        }
        cases
    }

    fn refused_bytes(&mut self, case: &str, bytes: &[u8], needles: &[&str]) {
        let path = self.dir.write("m.gguf", bytes);
        self.suite.refused(case, &[inspect(&path)], 2, &[&["m.gguf: "], needles].concat());
    }

    /// The tiny model with a change.
    fn refused(&mut self, case: &str, change: impl FnOnce(&mut GgufFile), needles: &[&str]) {
        let mut file = tiny();
        change(&mut file);
        self.refused_bytes(case, &file.bytes(), needles);
    }

    /// The tiny model with a vocabulary and a change.
    fn refused_vocabulary(&mut self, case: &str, change: impl FnOnce(&mut GgufFile), needles: &[&str]) {
        let mut file = with_vocabulary();
        change(&mut file);
        self.refused_bytes(case, &file.bytes(), needles);
        let path = self.dir.path("m.gguf");
        self.suite.refused(case, &[tokenize(&path)], 2, &[&["m.gguf: "], needles].concat());
    }
}

#[test]
fn wrong_beginnings_are_refused() {
    let mut cases = Cases::new();
    cases.refused("magic", |file| file.magic = *b"GGML", &["safetensors header"]);
    cases.refused("version 0", |file| file.version = 0, &["GGUF version 2 or 3, found 0"]);
    cases.refused("version 1", |file| file.version = 1, &["GGUF version 2 or 3, found 1"]);
    cases.refused("version 4", |file| file.version = 4, &["GGUF version 2 or 3, found 4"]);
    cases.refused("byte-swapped", |file| file.version = 3 << 24, &["GGUF version 2 or 3", "big-endian"]);
    for n in [1 << 63, u64::MAX, 1000] {
        cases.refused("keys", |file| file.n_keys = Some(n), &["a number of keys", &n.to_string()]);
        cases.refused("tensors", |file| file.n_tensors = Some(n), &["a number of tensors", &n.to_string()]);
    }
    cases.refused("fewer keys", |file| file.n_keys = Some(3), &[]);
    cases.refused(
        "one tensor less",
        |file| file.n_tensors = Some(10),
        &["tensor 'model.layers.0.mlp.down_proj.weight'", "nothing"],
    );
    cases.refused_bytes("a magic alone", b"GGUF", &["GGUF header within 4 bytes"]);
    cases.suite.close();
}

#[test]
fn version_2_is_read() {
    let mut cases = Cases::new();
    let mut file = tiny();
    file.version = 2;
    let path = cases.dir.write("m.gguf", file.bytes());
    cases.suite.accepted("version 2", &inspect(&path), None, &[]);
    cases.suite.close();
}

#[test]
fn wrong_keys_are_refused_by_name() {
    let mut cases = Cases::new();
    let key = |key: &[u8], kind: u32, value: &[u8]| (key.to_vec(), kind, value.to_vec());
    let mut wrong = |case: &str, added: (Vec<u8>, u32, Vec<u8>), needles: &[&str]| {
        cases.refused(case, |file| file.keys.insert(0, added), needles);
    };
    for n in [u64::MAX, 1 << 40, 1 << 20] {
        wrong("string length", key(b"x", TEXT, &n.to_le_bytes()), &["field 'x'", "a string of at most", &n.to_string()]);
        let items = [&TEXT.to_le_bytes()[..], &n.to_le_bytes()].concat();
        wrong("array length", key(b"x", ARRAY, &items), &["field 'x'", "an array within", &format!("{n} items of type string")]);
    }
    wrong(
        "array of 2^30 strings",
        key(b"x", ARRAY, &[&TEXT.to_le_bytes()[..], &(1_u64 << 30).to_le_bytes()].concat()),
        &["field 'x'"],
    );
    wrong("not UTF-8", key(b"x", TEXT, &string(b"a\xffb")), &["field 'x'", "a string in UTF-8"]);
    wrong("a key that is not UTF-8", key(b"x\xff", U32, &[0; 4]), &["a key in UTF-8"]);
    wrong("empty key", key(b"", U32, &[0; 4]), &["a key, found an empty string"]);
    wrong("a key of 65,536 bytes", key(&[b'x'; 65_536], U32, &[0; 4]), &["a key of at most", "65536"]);
    wrong(
        "a key twice",
        key(b"general.architecture", TEXT, &string(b"llama")),
        &["field 'general.architecture': expected the key once"],
    );
    wrong("value type 13", key(b"x", 13, &[0; 8]), &["field 'x': expected a value of type 0 to 12, found type 13"]);
    wrong("bool 2", key(b"x", 7, &[2]), &["field 'x': expected a bool of 0 or 1, found 2"]);
    let nested: Vec<u8> = [&ARRAY.to_le_bytes()[..], &1_u64.to_le_bytes()].concat().repeat(65);
    wrong("arrays nested 65 deep", key(b"x", ARRAY, &nested), &["field 'x'", "one of type array"]);
    wrong(
        "array of type 13",
        key(b"x", ARRAY, &[&13_u32.to_le_bytes()[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat()),
        &["field 'x'", "type 13"],
    );
    for alignment in [0, 3, 4, 24, 1 << 31] {
        let found = format!("found {alignment}");
        cases.refused(
            "alignment",
            |file| file.u32("general.alignment", alignment),
            &["field 'general.alignment': expected a power", &found],
        );
    }
    let wide = |file: &mut GgufFile| file.raw("general.alignment", 10, 32_u64.to_le_bytes().to_vec());
    cases.refused("alignment as u64", wide, &["field 'general.alignment': expected a value of type u32, found type u64"]);
    cases.suite.close();
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let mut cases = Cases::new();
    cases.refused(
        "no architecture",
        |file| file.remove("general.architecture"),
        &["field 'general.architecture'", "found nothing"],
    );
    cases.refused(
        "architecture",
        |file| file.text("general.architecture", "bert"),
        &["field 'general.architecture': expected llama, qwen2", "\"bert\""],
    );
    for (key, others) in [
        ("block_count", &[0, u32::MAX][..]),
        ("embedding_length", &[0, u32::MAX]),
        ("feed_forward_length", &[0, u32::MAX]),
        ("attention.head_count", &[0, u32::MAX]),
        ("attention.head_count_kv", &[0, u32::MAX]),
        ("context_length", &[0, u32::MAX]),
    ] {
        let (key, needle) = (format!("llama.{key}"), format!("field 'llama.{key}'"));
        for &n in others {
            cases.refused("a size", |file| file.u32(&key, n), &[&needle, &n.to_string()]);
        }
        cases.refused("a size as text", |file| file.text(&key, "8"), &[&needle, "\"8\""]);
        cases.refused("a size as float", |file| file.f32(&key, 4.5), &[&needle, "4.5"]);
        cases.refused("sizes", |file| file.i32s(&key, &[4, 2]), &[&needle, "2 integers"]);
    }
    cases.refused("eps NaN", |file| file.f32("llama.attention.layer_norm_rms_epsilon", f32::NAN), &["rms_epsilon'", "NaN"]);
    cases.refused("no eps", |file| file.remove("llama.attention.layer_norm_rms_epsilon"), &["rms_epsilon'", "nothing"]);
    cases.refused("theta", |file| file.f32("llama.rope.freq_base", -1.0), &["field 'llama.rope.freq_base'", "-1.0"]);
    cases.refused(
        "scaling",
        |file| file.text("llama.rope.scaling.type", "longrope"),
        &["field 'llama.rope.scaling.type'", "longrope"],
    );
    cases.refused(
        "rotary length",
        |file| file.u32("llama.rope.dimension_count", 1),
        &["field 'llama.rope.dimension_count': expected 2"],
    );
    cases.refused(
        "value length",
        |file| file.u32("llama.attention.value_length", 4),
        &["field 'llama.attention.value_length': expected 2"],
    );
    cases.refused("experts", |file| file.u32("llama.expert_count", 8), &["field 'llama.expert_count'", "8"]);
    cases.refused("vocabulary", |file| file.u32("llama.vocab_size", 268), &["field 'llama.vocab_size': expected 269", "268"]);
    cases.refused("split", |file| file.u32("split.count", 2), &["field 'split.no': expected 0"]);
    for factors in [vec![1.0, 1.0], vec![0.0], vec![f32::NAN], vec![-1.0]] {
        let bytes: Vec<u8> = factors.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
        let add = |file: &mut GgufFile| file.tensor("rope_freqs.weight", &[factors.len()], DType::F32, bytes);
        cases.refused("factors", add, &["positive numbers"]);
    }
    cases.suite.close();
}

#[test]
fn wrong_tensors_are_refused_by_name() {
    let mut cases = Cases::new();
    let first = "tensor 'token_embd.weight': expected ";
    let mut wrong = |case: &str, change: &dyn Fn(&mut crate::gguf_file::TensorPart), needles: &[&str]| {
        cases.refused(case, |file| change(&mut file.tensors[0]), needles);
    };
    wrong("5 dimensions", &|part| part.n_dims = Some(5), &[first, "at most 4 dimensions, found 5"]);
    wrong("dimension 0", &|part| part.dims[1] = 0, &[first, "dimensions of 1 or more, found 0"]);
    wrong("dimension 2^63", &|part| part.dims[1] = 1 << 63, &[first, "below 2^63"]);
    wrong("the product overflows", &|part| part.dims = vec![1 << 40, 1 << 40], &[first, "below 2^63"]);
    wrong("the product with the type's size overflows", &|part| part.dims = vec![1 << 31, 1 << 31], &[first, "below 2^63"]);
    // 2^63 - 16 bytes, which padding would take to 2^63.
    wrong("the size with padding overflows", &|part| part.dims = vec![(1 << 61) - 4], &[first, "within the"]);
    wrong("a size beyond the file", &|part| part.dims[1] = 1 << 20, &[first, "an end within the"]);
    for (kind, found) in [
        (4, "type 4, Q4_2"),
        (5, "type 5, Q4_3"),
        (31, "type 31"),
        (u32::MAX, "type 4294967295"),
        (16, "IQ2_XXS"),
        (26, "type 26, I32"),
    ] {
        wrong("type", &|part| part.kind = kind, &[first, "a type of weights that is supported", found]);
    }
    wrong("rows of no whole blocks", &|part| part.kind = 12, &[first, "rows of a multiple of 256 elements, found 4"]);
    wrong("unaligned", &|part| part.offset = Some(8), &[first, "a multiple of 32, found 8"]);
    wrong("not where the one before ends", &|part| part.offset = Some(32), &[first, "offset 0", "found 32"]);
    wrong("a name of 65 bytes", &|part| part.name = vec![b'x'; 65], &["a tensor's name of at most 64", "65"]);
    wrong("a name that is not UTF-8", &|part| part.name = b"\xff".to_vec(), &["a tensor's name in UTF-8"]);
    wrong("a shape of another model", &|part| part.dims.reverse(), &["embed_tokens.weight'", "found [4, 269]"]);
    wrong("another name", &|part| part.name = b"token_embd.weigh".to_vec(), &["vocab_size'"]);
    cases.refused("a name twice", |file| file.tensors[2].name = b"output_norm.weight".to_vec(), &["one tensor of this name"]);
    // Each fits by itself, both together do not.
    let sum = |file: &mut GgufFile| {
        let n = (file.bytes().len() - file.header().len()) as u64;
        file.tensors.truncate(2);
        file.tensors[0].dims = vec![n / 8 / 32 * 32 + 32];
        file.tensors[1].dims = vec![n / 8];
        file.tensors[1].offset = Some(file.tensors[0].dims[0] * 4);
        file.n_keys = None;
    };
    cases.refused("sizes beyond the file together", sum, &["tensor 'output_norm.weight': expected ", "found"]);
    let mut short = tiny().bytes();
    let last = short.len() - 32;
    // The last tensor has 96 bytes, a multiple of the alignment: one byte less does not hold it.
    short.truncate(last + 31);
    cases.refused_bytes("one byte short", &short, &["tensor 'blk.0.ffn_down.weight': expected an end within the"]);
    cases.suite.close();
}

#[test]
fn wrong_vocabularies_are_refused_by_name() {
    let mut cases = Cases::new();
    cases.refused_vocabulary(
        "scores",
        |file| file.f32s("tokenizer.ggml.scores", &[0.0; 268]),
        &["field 'tokenizer.ggml.scores'", "269 items", "268"],
    );
    cases.refused_vocabulary(
        "types",
        |file| file.i32s("tokenizer.ggml.token_type", &[1; 270]),
        &["field 'tokenizer.ggml.token_type'", "270"],
    );
    cases.refused_vocabulary(
        "tokens",
        |file| file.u32("tokenizer.ggml.tokens", 1),
        &["field 'tokenizer.ggml.tokens': expected an array of strings"],
    );
    let byte = |token: &'static str| {
        move |file: &mut GgufFile| {
            let tokens: Vec<String> = (0..269).map(|i| if i == 7 { token.to_owned() } else { format!("t{i}") }).collect();
            file.texts("tokenizer.ggml.tokens", &tokens);
            let types: Vec<i32> = (0..269).map(|i| if i == 7 { 6 } else { 1 }).collect();
            file.i32s("tokenizer.ggml.token_type", &types);
        }
    };
    for token in ["<0x-1>", "<0xZZ>", "<0x1>", "<0x001>", "x"] {
        cases.refused_vocabulary("byte", byte(token), &["field 'tokenizer.ggml.tokens': expected bytes as '<0x00>'", token]);
    }
    for key in ["bos", "eos", "unknown", "padding"] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        for id in [269, u32::MAX] {
            let needles = [&format!("field '{key}': expected an id below 269")[..], &id.to_string()];
            cases.refused_vocabulary("id", |file| file.u32(&key, id), &needles);
        }
    }
    cases.refused_vocabulary(
        "model",
        |file| file.text("tokenizer.ggml.model", "bert"),
        &["field 'tokenizer.ggml.model': expected llama or gpt2"],
    );
    cases.refused_vocabulary(
        "no scores",
        |file| file.remove("tokenizer.ggml.scores"),
        &["field 'tokenizer.ggml.scores'", "nothing"],
    );
    let repeated = |file: &mut GgufFile| file.texts("tokenizer.ggml.tokens", &["x"; 269]);
    let plain = |file: &mut GgufFile| {
        file.i32s("tokenizer.ggml.token_type", &[1; 269]);
        repeated(file);
    };
    cases.refused_vocabulary("a token twice", plain, &["field 'tokenizer.ggml.tokens': expected distinct tokens, found 'x'"]);
    let merges = |merge: &'static str| {
        move |file: &mut GgufFile| {
            file.text("tokenizer.ggml.model", "gpt2");
            file.texts("tokenizer.ggml.merges", &[merge]);
        }
    };
    for merge in ["", "t", "t ", " t"] {
        cases.refused_vocabulary("merge", merges(merge), &["field 'tokenizer.ggml.merges'"]);
    }
    cases.refused_vocabulary("merge of unknown tokens", merges("q q"), &["field 'tokenizer.ggml.merges'", "'q'"]);
    let long = |file: &mut GgufFile| {
        let tokens: Vec<String> = (0..269).map(|i| if i == 7 { "y".repeat(1 << 20) } else { format!("t{i}") }).collect();
        file.texts("tokenizer.ggml.tokens", &tokens);
        file.i32s("tokenizer.ggml.token_type", &[1; 269]);
    };
    cases.refused_vocabulary(
        "a token of a megabyte",
        long,
        &["field 'tokenizer.ggml.tokens': expected tokens of at most 512 bytes"],
    );
    let mut many = with_vocabulary();
    many.texts("tokenizer.ggml.tokens", &(0..270).map(|i| format!("t{i}")).collect::<Vec<_>>());
    many.i32s("tokenizer.ggml.token_type", &[1; 270]);
    many.f32s("tokenizer.ggml.scores", &[0.0; 270]);
    cases.refused_bytes(
        "more tokens than rows",
        &many.bytes(),
        &["field 'tokenizer.ggml.tokens': expected 1 to 269 tokens", "270"],
    );
    cases.suite.close();
}

#[test]
fn a_mutated_header_is_refused_or_is_a_model() {
    // A short vocabulary: each byte of it is turned over eight times.
    let mut file = tiny();
    file.text("tokenizer.ggml.model", "gpt2");
    file.texts("tokenizer.ggml.tokens", &["a", "b", "ab", "<s>"]);
    file.i32s("tokenizer.ggml.token_type", &[1, 1, 1, 3]);
    file.texts("tokenizer.ggml.merges", &["a b"]);
    file.u32("tokenizer.ggml.bos_token_id", 3);
    mutate_file("m.gguf", &file.bytes(), file.header().len(), |checkpoint| {
        logits(checkpoint)?;
        Ok(checkpoint.tokenizer().and_then(|tokenizer| tokenizer.encode("ab <s>b", true)).map(drop)?)
    });
}
