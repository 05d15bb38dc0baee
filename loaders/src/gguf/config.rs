//! The keys of a GGUF file as the `config.json` that the engine reads, so that one reader of settings serves both.
//!
//! Values are passed on as they are, and the engine's checks refuse them; a message then names the file's own key. Not here: checks of
//! what values mean, and the vocabulary (`vocabulary.rs`).

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Number, Value as Json, json};

use super::header::{Value, Values};
use crate::error::LoadError;
use crate::metadata::Metadata;

pub(super) const ARCHITECTURE_KEY: &str = "general.architecture";

/// Architectures by GGUF's name and Hugging Face's. Mistral's files say `llama`.
const ARCHITECTURES: [(&str, &str); 3] =
    [("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM"), ("qwen3", "Qwen3ForCausalLM")];

/// Keys that are passed on: after the architecture's name and a point in GGUF, and in `config.json`.
const KEYS: [(&str, &str); 9] = [
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("block_count", "num_hidden_layers"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("context_length", "max_position_embeddings"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("rope.freq_base", "rope_theta"),
];

/// What of the file's tensors a config depends on.
pub(super) struct Facts {
    /// Rows of the embedding, if there is one.
    pub(super) n_rows: Option<usize>,
    /// Whether the first layer's queries have a bias.
    pub(super) has_attention_bias: bool,
    /// Whether the first layer's gate has a bias.
    pub(super) has_mlp_bias: bool,
    /// Divisors of the rotary frequencies, `rope_freqs.weight`.
    pub(super) rope_factors: Option<Vec<f32>>,
    /// Ids that end a text.
    pub(super) eos_ids: Vec<u32>,
    pub(super) bos_id: Option<u32>,
}

/// The architecture's name as GGUF has it.
///
/// # Errors
/// If the file names none, or none that is supported.
pub(super) fn architecture<'v>(path: &Path, values: &'v Values) -> Result<&'v str, LoadError> {
    let expected = || ARCHITECTURES.map(|(gguf, _)| gguf).join(", ");
    match values.get(ARCHITECTURE_KEY) {
        Some(Value::Text(name)) if ARCHITECTURES.iter().any(|(gguf, _)| gguf == name) => Ok(name),
        Some(other) => Err(LoadError::field(path, ARCHITECTURE_KEY, expected(), other)),
        None => Err(LoadError::field(path, ARCHITECTURE_KEY, expected(), "nothing")),
    }
}

/// Makes the object that stands for `config.json`.
///
/// # Errors
/// If a key that has no equivalent there has a value that this program cannot follow.
pub(super) fn config(path: &Path, values: &Values, facts: Facts) -> Result<Metadata, LoadError> {
    let name = architecture(path, values)?;
    let key = |part: &str| format!("{name}.{part}");
    let get = |part: &str| values.get(&key(part));
    let refuse =
        |part: &str, expected: &dyn std::fmt::Display, found: &Value| LoadError::field(path, &key(part), expected, found);

    let mut fields = Map::new();
    let mut aliases = Vec::new();
    let class = ARCHITECTURES.iter().find(|(gguf, _)| *gguf == name).map(|(_, class)| *class);
    fields.insert("architectures".to_owned(), json!([class]));
    for (part, theirs) in KEYS {
        aliases.push((theirs, key(part)));
        if let Some(value) = get(part) {
            fields.insert(theirs.to_owned(), to_json(value));
        }
    }
    // The defaults of llama.cpp, which are not those of the classes in transformers.
    if !fields.contains_key("num_key_value_heads")
        && let Some(n_heads) = fields.get("num_attention_heads").cloned()
    {
        fields.insert("num_key_value_heads".to_owned(), n_heads);
    }
    if !fields.contains_key("rms_norm_eps") {
        return Err(LoadError::field(path, &key("attention.layer_norm_rms_epsilon"), "a positive number", "nothing"));
    }
    if !fields.contains_key("rope_theta") {
        fields.insert("rope_theta".to_owned(), json!(10_000.0));
    }
    let count = |field: &str| fields.get(field).and_then(Json::as_u64);
    let head_dim = match (count("head_dim"), count("hidden_size"), count("num_attention_heads")) {
        (Some(head_dim), _, _) => Some(head_dim),
        (None, Some(dim), Some(n_heads)) if n_heads > 0 && dim.is_multiple_of(n_heads) => Some(dim / n_heads),
        _ => None,
    };
    if let (Some(head_dim), false) = (head_dim, fields.contains_key("head_dim")) {
        fields.insert("head_dim".to_owned(), json!(head_dim));
    }
    for part in ["attention.value_length", "rope.dimension_count"] {
        if let (Some(value), Some(head_dim)) = (get(part), head_dim)
            && value.clone().integer().and_then(|n| u64::try_from(n).ok()) != Some(head_dim)
        {
            return Err(refuse(part, &format_args!("{head_dim}, the length of a key"), value));
        }
    }
    for part in ["expert_count", "attention.sliding_window_pattern"] {
        if let Some(value) = get(part).filter(|value| !matches!(value, Value::Unsigned(0))) {
            return Err(refuse(part, &"no such key, or 0", value));
        }
    }
    if let Some(n_rows) = facts.n_rows {
        aliases.push(("vocab_size", key("vocab_size")));
        if let Some(value) = get("vocab_size")
            && value.clone().integer().and_then(|n| usize::try_from(n).ok()) != Some(n_rows)
        {
            return Err(refuse("vocab_size", &format_args!("{n_rows}, the rows of the embedding"), value));
        }
        fields.insert("vocab_size".to_owned(), json!(n_rows));
    }
    fields.insert("attention_bias".to_owned(), json!(facts.has_attention_bias));
    fields.insert("mlp_bias".to_owned(), json!(facts.has_mlp_bias));
    // llama.cpp reads `attention.sliding_window` for none of these architectures, Mistral's files (`llama`) among them: all layers see all.
    fields.insert("use_sliding_window".to_owned(), json!(false));
    if let Some(bos_id) = facts.bos_id {
        fields.insert("bos_token_id".to_owned(), json!(bos_id));
    }
    if !facts.eos_ids.is_empty() {
        fields.insert("eos_token_id".to_owned(), json!(facts.eos_ids));
    }
    let scaling = rope_scaling(values, name);
    if let Some(factors) = facts.rope_factors {
        if let (Some(_), Some(value)) = (&scaling, get("rope.scaling.type")) {
            return Err(refuse("rope.scaling.type", &"none beside rope_freqs.weight", value));
        }
        fields.insert("rope_scaling".to_owned(), json!({ "rope_type": "factors", "factors": factors }));
    } else if let Some(scaling) = scaling {
        fields.insert("rope_scaling".to_owned(), Json::Object(scaling));
    }
    for (field, part) in [
        ("rope_scaling.rope_type", "rope.scaling.type"),
        ("rope_scaling.factor", "rope.scaling.factor"),
        ("rope_scaling.original_max_position_embeddings", "rope.scaling.original_context_length"),
    ] {
        aliases.push((field, key(part)));
    }
    let aliases = aliases.into_iter().map(|(field, key)| (field.to_owned(), key)).collect();
    Ok(Metadata::of(path, fields, Arc::new(aliases)))
}

/// The scaling of rotary frequencies as `rope_scaling`, or none.
fn rope_scaling(values: &Values, architecture: &str) -> Option<Map<String, Json>> {
    let get = |part: &str| values.get(&format!("{architecture}.rope.{part}"));
    let mut scaling = Map::new();
    let kind = match (get("scaling.type"), get("scale_linear")) {
        (Some(Value::Text(kind)), _) if kind == "none" => return None,
        (Some(kind), _) => to_json(kind),
        // What files of 2023 have.
        (None, Some(factor)) => {
            scaling.insert("factor".to_owned(), to_json(factor));
            json!("linear")
        }
        (None, None) => return None,
    };
    scaling.insert("rope_type".to_owned(), kind);
    for (part, field) in [
        ("scaling.factor", "factor"),
        ("scaling.original_context_length", "original_max_position_embeddings"),
        ("scaling.yarn_beta_fast", "beta_fast"),
        ("scaling.yarn_beta_slow", "beta_slow"),
    ] {
        if let Some(value) = get(part) {
            scaling.insert(field.to_owned(), to_json(value));
        }
    }
    // llama.cpp multiplies its own factor on the attention by this one.
    if let (Some(Value::Float(given)), Some(factor)) = (get("scaling.attn_factor"), scaling.get("factor").and_then(Json::as_f64))
        && *given != 1.0
    {
        scaling.insert("attention_factor".to_owned(), json!(given * (0.1 * factor.max(1.0).ln() + 1.0)));
    }
    Some(scaling)
}

/// A value as JSON. An array of one value for each layer is that value, if it is the same for all.
fn to_json(value: &Value) -> Json {
    match value {
        Value::Unsigned(n) => json!(n),
        Value::Signed(n) => json!(n),
        // What JSON cannot say becomes a string, which no number may be.
        Value::Float(x) => Number::from_f64(*x).map_or_else(|| json!(x.to_string()), Json::Number),
        Value::Bool(x) => json!(x),
        Value::Text(text) => json!(text),
        Value::Integers(items) => match items.split_first() {
            Some((first, rest)) if rest.iter().all(|item| item == first) => json!(first),
            _ => json!(value.to_string()),
        },
        Value::Floats(_) | Value::Bools(_) | Value::Texts(_) => json!(value.to_string()),
    }
}
