//! The registry of architectures: how each one's config differs from what `config.rs` reads for all.
//!
//! Not here: a forward pass. There is one decoder; an architecture only chooses among the variations that `Config` has.

mod llama;
mod mistral;
mod qwen2;
mod qwen3;

use infer_loaders::Metadata;

use crate::config::Config;
use crate::error::ModelError;

/// An architecture that the decoder can run.
pub(crate) struct Architecture {
    /// The name that `architectures` gives.
    pub name: &'static str,
    /// The name that `model_type` gives.
    pub model_type: &'static str,
    /// What transformers assumes where a field is absent.
    pub defaults: Defaults,
    /// Sets what this architecture does differently.
    pub configure: fn(&Metadata, &mut Config) -> Result<(), ModelError>,
}

/// Values of absent fields (transformers 5.23, the configuration class of each architecture).
pub(crate) struct Defaults {
    /// `num_key_value_heads`; `None` is as many as heads.
    pub n_kv_heads: Option<usize>,
    /// `head_dim`; `None` is hidden_size / num_attention_heads.
    pub head_dim: Option<usize>,
    /// `max_position_embeddings`.
    pub max_seq_len: usize,
    /// `rope_theta`.
    pub rope_theta: f64,
}

/// Every architecture. To add one, add a file beside this one and a line here.
pub(crate) const ARCHITECTURES: &[Architecture] =
    &[llama::ARCHITECTURE, mistral::ARCHITECTURE, qwen2::ARCHITECTURE, qwen3::ARCHITECTURE];

impl Architecture {
    /// The entry that a config names, by `architectures` or else by `model_type`.
    pub fn find(config: &Metadata) -> Result<&'static Architecture, ModelError> {
        let names = config.texts("architectures")?;
        let expected = || ARCHITECTURES.iter().map(|a| a.name).collect::<Vec<_>>().join(", ");
        if let Some(name) = names.as_ref().and_then(|names| names.first()) {
            let found = ARCHITECTURES.iter().find(|a| a.name == name);
            return found.ok_or_else(|| config.mismatch("architectures", expected(), format_args!("'{name}'")).into());
        }
        let model_type = config.text("model_type")?;
        let found = ARCHITECTURES.iter().find(|a| Some(a.model_type) == model_type);
        let key = if model_type.is_some() { "model_type" } else { "architectures" };
        found.ok_or_else(|| config.error(key, expected()).into())
    }
}

/// Whether a field is there at all, be it with the value null: transformers' classes have defaults that are not null.
pub(crate) fn mentions(config: &Metadata, key: &str) -> bool {
    config.keys().any(|k| k == key)
}

/// Sets each layer's window from `sliding_window` and `layer_types`, or where that is absent from the rule given. `Some(0)` windows and
/// unknown layer types are errors.
pub(crate) fn set_windows(
    config: &Metadata,
    to: &mut Config,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<(), ModelError> {
    let types = config.texts("layer_types")?;
    if let Some(types) = &types
        && types.len() != to.n_layers
    {
        return Err(config.error("layer_types", format_args!("a list of {} strings", to.n_layers)).into());
    }
    for (layer, slot) in to.windows.iter_mut().enumerate() {
        let sliding = match types.as_ref().map(|types| types[layer].as_str()) {
            None => slides(layer),
            Some("full_attention") => false,
            Some("sliding_attention") => true,
            Some(_) => return Err(config.error("layer_types", "full_attention or sliding_attention").into()),
        };
        *slot = if sliding { window } else { None };
    }
    Ok(())
}
