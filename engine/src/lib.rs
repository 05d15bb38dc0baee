//! Named tensors and token ids to logits to token ids.
