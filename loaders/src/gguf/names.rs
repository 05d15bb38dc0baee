//! GGUF's names of tensors as Hugging Face's, and the order of rows that differs between the two.
//!
//! Not here: which tensors a model needs, and their shapes (the engine's).

use super::header::Value;
use super::header::Values;
use crate::error::LoadError;
use crate::tensor::Tensor;

/// Names of single tensors.
const WHOLE: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Names within a layer, without `.weight` or `.bias`: `blk.7.attn_q` is `model.layers.7.self_attn.q_proj`.
const IN_LAYER: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The name in Hugging Face's spelling; a name that the table does not have stays as it is.
pub(super) fn translate(name: &str) -> String {
    let whole = WHOLE.iter().find(|(gguf, _)| *gguf == name).map(|(_, theirs)| (*theirs).to_owned());
    let in_layer = || {
        let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let (part, kind) = part.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
        let (_, theirs) = IN_LAYER.iter().find(|(gguf, _)| *gguf == part)?;
        let is_index = !layer.is_empty() && layer.bytes().all(|byte| byte.is_ascii_digit());
        is_index.then(|| format!("model.layers.{layer}.{theirs}.{kind}"))
    };
    whole.or_else(in_layer).unwrap_or_else(|| name.to_owned())
}

/// The name in GGUF's spelling, the inverse of [`translate`]; none for tensors that GGUF has no name for.
pub fn gguf_tensor_name(name: &str) -> Option<String> {
    let whole = WHOLE.iter().find(|(_, theirs)| *theirs == name).map(|(gguf, _)| (*gguf).to_owned());
    let in_layer = || {
        let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (part, kind) = part.rsplit_once('.')?;
        let (gguf, _) = IN_LAYER.iter().find(|(_, theirs)| *theirs == part)?;
        Some(format!("blk.{layer}.{gguf}.{kind}")).filter(|gguf| translate(gguf) == name)
    };
    whole.or_else(in_layer)
}

/// The row of a query's or key's projection that stands at `row` in a GGUF file whose heads of `head_dim` elements are in pairs: the inverse of
/// what [`in_halves`] does.
pub fn gguf_row_of_pairs(row: usize, head_dim: usize) -> usize {
    let (head, element) = (row / head_dim, row % head_dim);
    head * head_dim + element % 2 * (head_dim / 2) + element / 2
}

/// Puts the rows of queries and keys of an architecture whose files hold them for neighbouring pairs back in the order of halves.
///
/// llama.cpp rotates elements 2i and 2i + 1 of a head where Hugging Face rotates i and i + d/2, and its converter permutes the rows of
/// `llama` files accordingly (of no other architecture's that is supported). Rows are whole blocks in every format.
///
/// # Errors
/// If memory for the copy is short.
pub(super) fn in_halves(tensor: Tensor, architecture: &str, values: &Values) -> Result<Tensor, LoadError> {
    let count = |key: &str| match values.get(&format!("{architecture}.attention.{key}")) {
        Some(Value::Unsigned(n)) => usize::try_from(*n).ok(),
        Some(Value::Signed(n)) => usize::try_from(*n).ok(),
        Some(Value::Integers(items)) => items.first().and_then(|&n| usize::try_from(n).ok()),
        _ => None,
    };
    let is = |part: &str| [".weight", ".bias"].iter().any(|kind| tensor.name().ends_with(&format!(".{part}{kind}")));
    let n_heads = if architecture != "llama" {
        None
    } else if is("self_attn.q_proj") {
        count("head_count")
    } else if is("self_attn.k_proj") {
        count("head_count_kv").or_else(|| count("head_count"))
    } else {
        None
    };
    let Some(n_heads) = n_heads.filter(|&n| n > 0) else { return Ok(tensor) };
    let n_rows = tensor.shape().first().copied().unwrap_or_default();
    // Shapes that do not fit the heads are refused by who binds the tensor.
    if n_rows == 0 || !n_rows.is_multiple_of(2 * n_heads) {
        return Ok(tensor);
    }
    let dim = n_rows / n_heads;
    tensor.with_rows(|row| {
        let (head, element) = (row / dim, row % dim);
        let (half, pair) = (element / (dim / 2), element % (dim / 2));
        head * dim + 2 * pair + half
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_table_are_translated_and_others_kept() {
        assert_eq!(translate("output.weight"), "lm_head.weight");
        assert_eq!(translate("blk.17.attn_q.bias"), "model.layers.17.self_attn.q_proj.bias");
        assert_eq!(translate("blk.0.ffn_norm.weight"), "model.layers.0.post_attention_layernorm.weight");
        for other in
            ["rope_freqs.weight", "blk.x.attn_q.weight", "blk..attn_q.weight", "blk.1.attn_q", "blk.1.attn_q.scale", "blk.1", ""]
        {
            assert_eq!(translate(other), other);
        }
    }

    #[test]
    fn names_go_back() {
        let in_layer = IN_LAYER.iter().flat_map(|(gguf, _)| ["weight", "bias"].map(|kind| format!("blk.12.{gguf}.{kind}")));
        for name in WHOLE.iter().map(|(gguf, _)| (*gguf).to_owned()).chain(in_layer) {
            assert_eq!(gguf_tensor_name(&translate(&name)), Some(name));
        }
        for other in
            ["model.layers.x.mlp.up_proj.weight", "model.layers.1.mlp.up_proj", "model.layers.1.mlp.up_proj.scale", "x", ""]
        {
            assert_eq!(gguf_tensor_name(other), None, "{other}");
        }
        let pairs: Vec<usize> = (0..12).map(|row| gguf_row_of_pairs(row, 6)).collect();
        assert_eq!(pairs, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
