//! Any bytes as a safetensors file. What loads must be consistent: every tensor as long as its shape says.
//!
//! Input: the file as it is, or, behind a first byte of 1, a header whose length and data are made to fit it as far as possible.

#![no_main]

use std::borrow::Cow;
use std::path::Path;

use infer_loaders::{TensorType, safetensors_in_memory};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = match bytes.split_first() {
        Some((1, rest)) => {
            let (data, header) = rest.split_first().map_or((0, rest), |(&data, header)| (usize::from(data), header));
            let mut file = (header.len() as u64).to_le_bytes().to_vec();
            file.extend_from_slice(header);
            file.resize(file.len() + data, 0);
            file
        }
        _ => bytes.to_vec(),
    };
    let length = file.len();
    match safetensors_in_memory(Path::new("fuzzed"), Cow::Owned(file)) {
        Ok(loaded) => {
            let mut total = 0;
            for tensor in loaded.tensors() {
                total += tensor.bytes().len();
                if let TensorType::Weights(dtype) = tensor.dtype() {
                    let elements: usize = tensor.shape().iter().product();
                    assert_eq!(dtype.row_bytes(elements), Some(tensor.bytes().len()));
                    assert_eq!(tensor.bytes().as_ptr().align_offset(dtype.alignment()), 0);
                }
            }
            assert!(total <= length);
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n') && line.chars().count() <= 300, "{line}");
        }
    }
});
