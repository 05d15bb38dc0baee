//! The keys of a GGUF file that say what a model's shape is, from its config.
//!
//! Not here: the tokenizer's keys (`infer_loaders`), and the tensors.

use infer_engine::{Config, RopeScaling};
use infer_loaders::{Checkpoint, GgufHeader, GgufValue};

use crate::quantised::mix::FileType;
use crate::report::Failure;

/// GGUF's names of architectures, by the names that this program has for them. Mistral's files say `llama`, whose layout they have.
const ARCHITECTURES: [(&str, &str); 4] = [("llama", "llama"), ("mistral", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3")];

/// The version of block formats that llama.cpp has had since 2023.
const QUANTISATION_VERSION: u32 = 2;

/// The tensor of divisors of the rotary frequencies.
pub const ROPE_FACTORS: &str = "rope_freqs.weight";

/// GGUF's name of an architecture.
pub fn architecture(config: &Config) -> &'static str {
    ARCHITECTURES.iter().find(|(ours, _)| *ours == config.model_type).map_or(config.model_type, |(_, theirs)| theirs)
}

/// Adds all keys but the tokenizer's.
///
/// # Errors
/// If the model has something that no key can say.
pub fn add(header: &mut GgufHeader, checkpoint: &Checkpoint, config: &Config, kind: FileType) -> Result<(), Failure> {
    let name = architecture(config);
    header.key("general.architecture", GgufValue::Text(name.to_owned()));
    header.key("general.type", GgufValue::Text("model".to_owned()));
    for (key, text) in checkpoint.about() {
        header.key(key, GgufValue::Text(text.clone()));
    }
    let path = checkpoint.path();
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
    if let Some(stem) = stem {
        header.key("general.name", GgufValue::Text(stem.to_string_lossy().into_owned()));
    }
    header.key("general.file_type", GgufValue::U32(kind.number));
    if kind.is_quantised() {
        header.key("general.quantization_version", GgufValue::U32(QUANTISATION_VERSION));
    }
    let mut add = |part: &str, value: GgufValue| header.key(format!("{name}.{part}"), value);
    for (part, n) in [
        ("block_count", config.n_layers),
        ("context_length", config.max_seq_len),
        ("embedding_length", config.dim),
        ("feed_forward_length", config.hidden_dim),
        ("attention.head_count", config.n_heads),
        ("attention.head_count_kv", config.n_kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab_size),
    ] {
        // Counts of a config are below 2^31.
        add(part, GgufValue::U32(u32::try_from(n).unwrap_or(u32::MAX)));
    }
    add("attention.layer_norm_rms_epsilon", GgufValue::F32(config.norm_eps));
    add("rope.freq_base", GgufValue::F32(config.rope.theta as f32));
    rope_scaling(checkpoint, config, &mut add)
}

/// Adds what changes the rotary frequencies by a rule; divisors one by one are a tensor ([`rope_factors`]).
fn rope_scaling(checkpoint: &Checkpoint, config: &Config, add: &mut dyn FnMut(&str, GgufValue)) -> Result<(), Failure> {
    let metadata = checkpoint.config();
    let key = if metadata.has("rope_scaling") { "rope_scaling" } else { "rope_parameters" };
    match &config.rope.scaling {
        RopeScaling::Default | RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. } => {}
        RopeScaling::Linear { factor } => {
            add("rope.scaling.type", GgufValue::Text("linear".to_owned()));
            add("rope.scaling.factor", GgufValue::F32(*factor as f32));
        }
        RopeScaling::Dynamic { .. } => {
            return Err(metadata.error(key, "a scaling that GGUF files can say: linear, llama3 or yarn").into());
        }
        RopeScaling::Yarn { factor, attention_factor, .. } => {
            let dict = metadata.object(key)?;
            if let Some(dict) = dict.as_ref().filter(|dict| dict.get("truncate").and_then(|value| value.as_bool()) == Some(false))
            {
                return Err(dict.error("truncate", "true, as llama.cpp rounds the ramp of yarn").into());
            }
            let number = |name: &str| dict.as_ref().and_then(|dict| dict.get(name)?.as_f64());
            let from_config = || metadata.get("original_max_position_embeddings").and_then(|value| value.as_f64());
            let original = from_config().or_else(|| number("original_max_position_embeddings"));
            add("rope.scaling.type", GgufValue::Text("yarn".to_owned()));
            add("rope.scaling.factor", GgufValue::F32(*factor as f32));
            add("rope.scaling.original_context_length", GgufValue::U32(original.unwrap_or(config.max_seq_len as f64) as u32));
            for (theirs, part) in [("beta_fast", "rope.scaling.yarn_beta_fast"), ("beta_slow", "rope.scaling.yarn_beta_slow")] {
                if let Some(beta) = number(theirs).filter(|&beta| beta != 0.0) {
                    add(part, GgufValue::F32(beta as f32));
                }
            }
            // llama.cpp multiplies its own factor by this one.
            let own = 0.1 * factor.max(1.0).ln() + 1.0;
            if (attention_factor / own - 1.0).abs() > 1e-6 {
                add("rope.scaling.attn_factor", GgufValue::F32((attention_factor / own) as f32));
            }
        }
    }
    Ok(())
}

/// The divisor of each rotary frequency, where frequencies are divided one by one. (head_dim / 2,)
pub fn rope_factors(config: &Config) -> Option<Vec<f32>> {
    match &config.rope.scaling {
        RopeScaling::Factors { factors } => Some(factors.clone()),
        RopeScaling::Llama3 { .. } => {
            let (mut plain, mut scaled) = (vec![0.0; config.head_dim / 2], vec![0.0; config.head_dim / 2]);
            let unscaled = infer_engine::Rope { scaling: RopeScaling::Default, ..config.rope.clone() };
            unscaled.frequencies(1, &mut plain);
            config.rope.frequencies(1, &mut scaled);
            Some(plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled).collect())
        }
        _ => None,
    }
}

/// What is lost in the file, in words: nothing, for most models.
pub fn losses(config: &Config) -> Option<String> {
    let window = config.windows.iter().flatten().min().filter(|&&window| window < config.max_seq_len)?;
    let name = architecture(config);
    Some(format!("GGUF's '{name}' has no sliding window: beyond {window} tokens the file's logits differ from the original's"))
}
