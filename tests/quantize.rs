//! `infer quantize`: GGUF files that compute what their originals do, tokenise alike, and are there whole or not at all.
//!
//! Not here: how good the encoders are (`kernels/tests/properties/encode.rs`), and the formats' values (`gguf.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use infer_engine::Compute;
use infer_kernels::{DType, decode};
use infer_loaders::{Checkpoint, TensorType};

use crate::fixtures::{Text, checkpoints, isas, logits, open, references};
use crate::gguf::{MAPPED, assert_same_logits};
use crate::util::{Dir, TensorData, checkpoint, data, infer, safetensors, shell};

/// Every type that is written.
const TYPES: [&str; 8] = ["q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "bf16", "f16", "f32"];

/// Writes a model as a type; returns the file.
pub fn quantize(model: &Path, to: &str, out: &Path) -> PathBuf {
    assert_eq!(infer(["quantize", "--to", to, "--model"]).args([model, out]).succeeds(), "");
    out.to_owned()
}

pub fn opened(path: &Path) -> Checkpoint {
    infer_loaders::open(path, &MAPPED).unwrap()
}

/// The names in a folder.
fn names(dir: &Dir) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir.root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every architecture and variation. Scalings are written as divisors of the frequencies or as parameters, each rounded once.
#[test]
fn f32_files_compute_what_their_originals_do() {
    let dir = Dir::new();
    let (mut same, mut near) = (0, 0);
    for original in checkpoints() {
        let name = original.file_name().unwrap().to_str().unwrap().to_owned();
        if name.contains("window")
            || name.contains("layer-types")
            || ["llama-rope-dynamic", "llama-rope-yarn-no-truncate"].contains(&&*name)
        {
            continue;
        }
        let has_window = opened(&original).config().has("sliding_window");
        if has_window && name != "qwen3" {
            continue;
        }
        let ours = quantize(&original, "f32", &dir.path("m.gguf"));
        let reference = &references(&original)[0];
        if !name.contains("rope") {
            let wide = Dir::new();
            widened(&original, &wide);
            assert_same_logits(&ours, wide.root(), &reference.prompt, &MAPPED);
            same += 1;
            continue;
        }
        let text = Text { ids: reference.prompt.clone(), n_prompt: reference.prompt.len() };
        let of = |path: &Path| logits(&open(path, 1, isas()[0], Compute::F32), &text, usize::MAX);
        let (a, b) = (of(&ours), of(&original));
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-3, "{name}: {worst}");
        near += 1;
    }
    assert!(same >= 20 && near >= 8, "only {same} and {near}");
}

/// The same checkpoint with all weights in f32.
fn widened(original: &Path, to: &Dir) {
    let tensors: Vec<TensorData> = opened(original)
        .tensors()
        .map(|tensor| {
            let bytes = values(tensor).iter().flat_map(|x| x.to_le_bytes()).collect();
            TensorData { name: tensor.name().to_owned(), dtype: "F32", shape: tensor.shape().to_vec(), bytes }
        })
        .collect();
    to.write("model.safetensors", safetensors(&tensors));
    to.write("config.json", fs::read(original.join("config.json")).unwrap());
}

fn values(tensor: &infer_loaders::Tensor) -> Vec<f32> {
    let TensorType::Weights(dtype) = tensor.dtype() else { panic!("{} holds no weights", tensor.name()) };
    let mut values = vec![0.0; tensor.shape().iter().product()];
    decode(dtype, tensor.bytes(), &mut values);
    values
}

/// A model whose rows are whole super-blocks, with a tokenizer of the fixtures and a chat template.
pub fn wide_model(tokenizer: &Path) -> Dir {
    wide_model_with(tokenizer, 512)
}

/// The same with a hidden width of `hidden`, the length of the down projections' rows.
pub fn wide_model_with(tokenizer: &Path, hidden: usize) -> Dir {
    let dir = Dir::of_checkpoint("text-bpe");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        dir.write(name, fs::read(tokenizer.join(name)).unwrap());
    }
    dir.edit_json("tokenizer_config.json", |config| config["chat_template"] = "{{ messages[0].content }}é\n".into());
    let (k, vocab, layers) = (256, 420, 4);
    let mut seeded = infer_kernels::testing::Seeded(77);
    let mut tensors = Vec::new();
    let mut add = |name: String, n: usize, k: usize| {
        let mut near = || (0..12).map(|_| seeded.uniform()).sum::<f32>() * 0.02;
        let values: Vec<f32> = (0..n * k).map(|_| near()).collect();
        tensors.push(TensorData::f32s(&name, [n, k], &values));
    };
    add("model.embed_tokens.weight".to_owned(), vocab, k);
    for layer in 0..layers {
        for (part, n, k) in [
            ("self_attn.q_proj", k, k),
            ("self_attn.k_proj", k / 2, k),
            ("self_attn.v_proj", k / 2, k),
            ("self_attn.o_proj", k, k),
            ("mlp.gate_proj", hidden, k),
            ("mlp.up_proj", hidden, k),
            ("mlp.down_proj", k, hidden),
        ] {
            add(format!("model.layers.{layer}.{part}.weight"), n, k);
        }
    }
    let norms = (0..layers)
        .flat_map(|layer| ["input", "post_attention"].map(|part| format!("model.layers.{layer}.{part}_layernorm.weight")));
    for name in norms.chain(["model.norm.weight".to_owned()]) {
        let bytes = (0..k).flat_map(|i| (1.0 + i as f32 / 1000.0).to_le_bytes()).collect();
        tensors.push(TensorData { name, dtype: "F32", shape: vec![k], bytes });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    dir.write("model.safetensors", safetensors(&tensors));
    dir.edit_json("config.json", |config| {
        for (key, n) in [
            ("hidden_size", k),
            ("intermediate_size", hidden),
            ("num_hidden_layers", layers),
            ("num_attention_heads", 4),
            ("num_key_value_heads", 2),
            ("vocab_size", vocab),
        ] {
            config[key] = n.into();
        }
        config["tie_word_embeddings"] = true.into();
        config.as_object_mut().unwrap().remove("head_dim");
    });
    dir
}

/// Of the squares, how much an encoding to the type may lose on weights that are nearly normal: a little more than it does.
const MOST_LOST: [(&str, f64); 10] = [
    ("f32", 0.0),
    ("f16", 1e-7),
    ("bf16", 4e-6),
    ("q8_0", 4e-5),
    ("q6_k", 4e-4),
    ("q5_1", 1.5e-3),
    ("q5_0", 2e-3),
    ("q5_k", 1.7e-3),
    ("q4_k", 7e-3),
    ("q4_0", 9e-3),
];

#[test]
fn every_type_has_its_mix_of_formats_and_weights_near_the_originals() {
    let dir = wide_model(&checkpoint("text-bpe"));
    let original = opened(dir.root());
    for to in TYPES {
        let file = opened(&quantize(dir.root(), to, &dir.path("m.gguf")));
        assert_eq!(file.n_tensors(), original.n_tensors());
        let mut formats = std::collections::BTreeSet::new();
        for tensor in original.tensors() {
            let other = file.tensor(tensor.name()).unwrap();
            let TensorType::Weights(dtype) = other.dtype() else { panic!("{}", other.dtype()) };
            let (a, b) = (values(tensor), values(other));
            let squares: f64 = a.iter().map(|&a| f64::from(a).powi(2)).sum();
            let error: f64 = a.iter().zip(&b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
            let most = MOST_LOST.iter().find(|(name, _)| *name == dtype.name()).unwrap().1;
            assert!(error <= most * squares, "{to}: {} in {dtype} lost {:e}", tensor.name(), error / squares);
            let is_vector = tensor.shape().len() == 1;
            assert!(!is_vector || dtype == DType::F32, "{to}: {}", tensor.name());
            if !is_vector {
                formats.insert(dtype.name());
            }
        }
        let expected: &[&str] = match to {
            "q5_k_m" => &["q5_k", "q6_k"],
            "q4_k_m" => &["q4_k", "q6_k"],
            "q4_0" => &["q4_0", "q6_k"],
            other => &[other],
        };
        assert!(formats.iter().eq(expected), "{to}: {formats:?}");
    }
    assert!(!names(&dir).iter().any(|name| name.contains("part")), "{:?}", names(&dir));
}

#[test]
fn a_file_does_not_depend_on_threads_or_on_what_kind_of_file_it_was_made_from() {
    let dir = wide_model(&checkpoint("text-bpe"));
    let float = quantize(dir.root(), "f32", &dir.path("float.gguf"));
    for to in ["q4_k_m", "q8_0"] {
        let one = fs::read(quantize(dir.root(), to, &dir.path("one.gguf"))).unwrap();
        for threads in ["1", "3"] {
            let out = dir.path("other.gguf");
            infer(["quantize", "--to", to, "-t", threads, "--model"]).args([dir.root(), &out]).succeeds();
            assert!(fs::read(&out).unwrap() == one, "{to} with {threads} threads");
        }
        // Made of another GGUF file: the same weights and the same tokens.
        let again = opened(&quantize(&float, to, &dir.path("again.gguf")));
        let first = opened(&dir.path("one.gguf"));
        for tensor in first.tensors() {
            assert!(again.tensor(tensor.name()).unwrap().bytes() == tensor.bytes(), "{to}: {}", tensor.name());
        }
        let text = "Hello, wörld 123";
        let ids = |checkpoint: &Checkpoint| checkpoint.tokenizer().unwrap().encode(text, true).unwrap();
        assert_eq!((ids(&again), again.about()), (ids(&first), first.about()));
    }
}

#[test]
fn tokenizers_and_chat_templates_come_along() {
    let tokenizers = ["bpe-add-eos", "spm-metaspace", "spm-prepend"].map(|name| data(&format!("tokenizers/{name}")));
    for folder in tokenizers.iter().chain([&checkpoint("text-bpe")]) {
        let dir = wide_model(folder);
        let file = opened(&quantize(dir.root(), "q8_0", &dir.path("m.gguf")));
        let (ours, theirs) = (file.tokenizer().unwrap(), opened(dir.root()).tokenizer().unwrap());
        for text in ["Once upon a time", "Two  spaces\n\nand lines", "Ünï-cödé 日本 👍 12345", "", "Tags<s></s>"] {
            let of = |tokenizer: &infer_loaders::Tokenizer| tokenizer.encode(text, true).unwrap();
            assert_eq!(of(&ours), of(&theirs), "{}: {text:?}", folder.display());
            assert_eq!(ours.decode(&of(&ours), true).unwrap(), theirs.decode(&of(&theirs), true).unwrap());
        }
        assert_eq!((ours.bos_id(), ours.eos_ids()), (theirs.bos_id(), theirs.eos_ids()), "{}", folder.display());
        let template = file.chat_templates().unwrap();
        assert_eq!(template.choose(None, false).unwrap().source(), "{{ messages[0].content }}é\n");
    }
}

#[test]
fn a_model_without_a_tokenizer_makes_a_file_without_one() {
    let dir = Dir::of_checkpoint("llama-gqa");
    let out = dir.path("m.gguf");
    let output = infer(["quantize", "--to", "q8_0", "--model"]).args([dir.root(), &out]).run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("no tokenizer, so the file will have none"), "{said}");
    assert!(!opened(&out).has_tokenizer());
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let dir = wide_model(&checkpoint("text-bpe"));
    let before = names(&dir);
    let refused = |model: &Path, to: &str, out: &Path, code: i32| {
        let line = infer(["quantize", "--to", to, "--model"]).args([model, out]).fails(code);
        assert_eq!(names(&dir), before, "{line}");
        line
    };
    let weights = dir.path("model.safetensors");
    let original = fs::read(&weights).unwrap();
    for (model, out) in [(dir.root(), &weights), (&weights, &weights)] {
        assert!(refused(model, "q8_0", out, 2).contains("expected another file than the model itself"));
    }
    assert!(fs::read(&weights).unwrap() == original);
    assert!(refused(dir.root(), "q8_0", &dir.path("nowhere/m.gguf"), 2).contains("nowhere/m.gguf: expected to write the file"));
    assert!(refused(dir.root(), "q8_0", dir.root(), 2).contains("found a directory"));
    assert!(refused(dir.root(), "q3", &dir.path("m.gguf"), 2).starts_with("--to: expected one of q8_0, q6_k, q5_k_m"));

    // A weight that no format can say, in a row that goes elsewhere in the file.
    let checkpoint = opened(dir.root());
    let mut tensors: Vec<TensorData> = checkpoint
        .tensors()
        .map(|tensor| TensorData {
            name: tensor.name().to_owned(),
            dtype: "F32",
            shape: tensor.shape().to_vec(),
            bytes: tensor.bytes().to_vec(),
        })
        .collect();
    let at = tensors.iter().position(|tensor| tensor.name == "model.layers.2.self_attn.q_proj.weight").unwrap();
    for (bad, said) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (3e38, "300000000000000000000000000000000000000")] {
        tensors[at].bytes[4 * (33 * 256 + 7)..][..4].copy_from_slice(&bad.to_le_bytes());
        dir.write("model.safetensors", safetensors(&tensors));
        let line = refused(dir.root(), "q4_k_m", &dir.path("m.gguf"), 2);
        let expected = format!(
            "tensor 'model.layers.2.self_attn.q_proj.weight': expected numbers that q4_k can say, found {said} at [33, 7]"
        );
        assert!(line.contains(&expected), "{line}");
    }
}

/// What the files of a format cannot say is refused, and what they would lose is told.
#[test]
fn what_gguf_cannot_say_is_refused_or_told() {
    let out = Dir::new();
    let refused =
        |name: &str| infer(["quantize", "--to", "f16", "--model"]).args([checkpoint(name), out.path("m.gguf")]).fails(2);
    assert!(refused("llama-rope-dynamic").contains("field 'rope_scaling': expected a scaling that GGUF files can say"));
    assert!(refused("llama-rope-yarn-no-truncate").contains("truncate': expected true"));
    let output =
        infer(["quantize", "--to", "f16", "--model"]).args([checkpoint("mistral-sliding-window"), out.path("m.gguf")]).run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("has no sliding window: beyond 12 tokens"), "{said}");

    let tokenizer = |edit: &dyn Fn(&mut serde_json::Value)| {
        let dir = Dir::of_checkpoint("text-bpe");
        dir.edit_json("tokenizer.json", edit);
        infer(["quantize", "--to", "f16", "--model"]).args([dir.root(), &out.path("m.gguf")]).fails(2)
    };
    let split = |json: &mut serde_json::Value| json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+".into();
    assert!(
        tokenizer(&split).contains("field 'pre_tokenizer': expected one of GGUF's: default, llama-bpe"),
        "{}",
        tokenizer(&split)
    );
    let lower = |json: &mut serde_json::Value| json["normalizer"] = serde_json::json!({"type": "Lowercase"});
    assert!(tokenizer(&lower).contains("expected a tokenizer whose parts GGUF has, too"), "{}", tokenizer(&lower));
}

/// A file system of a few pages, in a name space of its own; where the system does not let users make one, by a limit on sizes.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_lack_of_resources_and_keeps_nothing() {
    let dir = wide_model(&checkpoint("text-bpe"));
    let script = "mkdir \"$1/disk\" && exec unshare -rm sh -c '\
        mount -t tmpfs -o size=64k none \"$1/disk\" && { \"$0\" quantize --to f32 --model \"$1\" \"$1/disk/m.gguf\"; code=$?; \
        ls -A \"$1/disk\" | grep . && code=99; exit $code; }' \"$0\" \"$1\"";
    let output = shell(script, [dir.root()]).run();
    let said = String::from_utf8(output.stderr).unwrap();
    if said.contains("unshare") || said.contains("mount") {
        let limited = shell("ulimit -f 100; exec \"$0\" quantize --to f32 --model \"$1\" \"$1/m.gguf\"", [dir.root()]);
        assert!(limited.fails(3).contains("m.gguf: expected to write the file"));
        assert!(!names(&dir).iter().any(|name| name.contains("gguf")), "{:?}", names(&dir));
        return;
    }
    assert_eq!(output.status.code(), Some(3), "{said}{}", String::from_utf8_lossy(&output.stdout));
    assert!(said.contains("m.gguf: expected to write the file, found: No space left"), "{said}");
}

#[test]
fn a_file_is_held_against_its_original() {
    let dir = wide_model(&checkpoint("text-bpe"));
    let against = |to: &str, more: &[&str]| {
        let file = quantize(dir.root(), to, &dir.path("m.gguf"));
        infer(["check", "--against"]).args([dir.root()]).args(["--model"]).args([&file]).args(more)
    };
    let text = "Once upon a time there was a little fox. It ran over the hills, and nobody saw it again.";
    let measured = |to: &str| against(to, &["--json", "--compute", "f32", "--text", text]).json();
    let same = measured("f32");
    assert_eq!((same["weights_nmse"].as_f64(), same["text"]["mean_kl"].as_f64()), (Some(0.0), Some(0.0)), "{same}");
    assert_eq!(same["text"]["top1_agreement"].as_f64(), Some(1.0));
    let number = |json: &serde_json::Value, pointer: &str| json.pointer(pointer).unwrap().as_f64().unwrap();
    let mut before = 0.0;
    for to in ["q8_0", "q6_k", "q5_k_m", "q4_k_m"] {
        let json = measured(to);
        assert_eq!(json["tensors"].as_array().unwrap().len(), opened(dir.root()).n_tensors());
        let (nmse, kl) = (number(&json, "/weights_nmse"), number(&json, "/text/mean_kl"));
        assert!(nmse > before && kl > 0.0 && kl <= number(&json, "/text/max_kl"), "{to}: {json}");
        assert!(number(&json, "/weight_bytes") < number(&json, "/original_weight_bytes"));
        assert!(number(&json, "/text/prefill_ts") > 0.0 && number(&json, "/text/original_decode_ts") > 0.0, "{json}");
        assert_eq!(number(&json, "/text/original_perplexity"), number(&same, "/text/perplexity"), "{to}");
        before = nmse;
    }
    let table = against("q4_k_m", &["--text", text]).succeeds();
    assert!(table.contains("mean KL(original || model)") && table.contains("F32 as Q4_K"), "{table}");
    let weights_only = against("q4_k_m", &["--json"]).json();
    assert!(weights_only["text"].is_null());
    assert!(against("q4_k_m", &["--text", text, "--max-kl", "1e-9"]).run().status.code() == Some(1));
    against("q4_k_m", &["--text", text, "--max-kl", "10"]).succeeds();
    assert!(against("f32", &["--text", ""]).fails(2).starts_with("text: expected at least 2 tokens"));
    let other = infer(["check", "--against"]).args([checkpoint("llama-gqa")]).args(["--model"]).args([dir.root()]).fails(2);
    assert!(other.contains("expected shape [") && other.contains("as in the original"), "{other}");
    assert!(infer(["check", "--text", "x", "--model"]).args([dir.root()]).fails(2).contains("--against"));
}
