"""Causal attention for training on a processor, as transformers takes it under the name `causal`. It trains nothing.

    scores = q · kᵀ, hidden above the diagonal; output = softmax(scores) · v

PyTorch's own attention took half of a training step on two cores of an AMD EPYC (Zen 4), since it does not use the processor's bf16 products. Here
queries go in blocks of `BLOCK` rows against the keys up to the block's last row, so that a third to a half of the hidden products is never
computed, and the query heads that share a KV head are rows of one product.
"""

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

BLOCK = 128


def causal_attention(module, query, key, value, attention_mask, scaling, **_):
    """query: (batch, n_heads, seq, head_dim); key, value: (batch, n_kv_heads, seq, head_dim); returns (batch, seq, n_heads, head_dim)."""
    batch, n_heads, seq_len, head_dim = query.shape
    n_kv_heads = key.shape[1]
    group = n_heads // n_kv_heads
    query = query * scaling
    outputs = []
    for start in range(0, seq_len, BLOCK):
        end = min(seq_len, start + BLOCK)
        n = end - start
        rows = query[:, :, start:end].reshape(batch * n_kv_heads, group * n, head_dim)
        keys, values = (x[:, :, :end].reshape(batch * n_kv_heads, end, head_dim) for x in (key, value))
        scores = torch.bmm(rows, keys.transpose(1, 2)).view(batch * n_kv_heads, group, n, end)
        hidden = torch.ones(n, end, dtype=torch.bool, device=scores.device).triu_(start + 1)
        weights = torch.softmax(scores.masked_fill(hidden, float("-inf")), -1).to(values.dtype)
        output = torch.bmm(weights.view(batch * n_kv_heads, group * n, end), values)
        outputs.append(output.view(batch, n_heads, n, head_dim))
    return torch.cat(outputs, 2).transpose(1, 2), None


def register():
    """Makes `attn_implementation="causal"` known. Rows are padded at their end only, so no mask is needed beside the causal one."""
    ALL_ATTENTION_FUNCTIONS.register("causal", causal_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("causal", lambda *_, **__: None)
