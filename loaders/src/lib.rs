//! Untrusted bytes to named tensors, metadata and tokenizers.
