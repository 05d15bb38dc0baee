//! Any bytes as a GGUF file. What loads must be consistent: every tensor as long as its shape says; a vocabulary encodes and decodes.

#![no_main]

use std::path::Path;

use infer_loaders::{LoadError, TensorType, gguf_in_memory};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let checkpoint = match gguf_in_memory(Path::new("fuzzed"), bytes.to_vec()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return check(&error),
    };
    for tensor in checkpoint.tensors() {
        let TensorType::Weights(dtype) = tensor.dtype() else { panic!("{} in a GGUF file", tensor.dtype()) };
        let elements: usize = tensor.shape().iter().product();
        assert_eq!(dtype.row_bytes(elements), Some(tensor.bytes().len()));
        assert_eq!(tensor.bytes().as_ptr().align_offset(dtype.alignment()), 0);
    }
    match checkpoint.tokenizer() {
        Ok(tokenizer) => {
            let ids = tokenizer.encode("Hello, world's  end\n\n 1234 \u{4f60} e\u{301}<s>", true).unwrap_or_default();
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            let _ = tokenizer.decode(&ids, false);
        }
        Err(error) => check(&error),
    }
});

fn check(error: &LoadError) {
    let line = error.to_string();
    assert!(!line.contains('\n') && line.chars().count() <= 300, "{line}");
}
