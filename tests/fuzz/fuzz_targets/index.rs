//! Any bytes as `model.safetensors.index.json`. What parses must name files of the folder only.

#![no_main]

use std::path::{Component, Path};

use infer_loaders::parse_index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(index) = parse_index(Path::new("fuzzed"), bytes) {
        for file in index.files() {
            let mut components = Path::new(file).components();
            assert!(matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)), "{file:?}");
        }
        let names: Vec<&str> = index.tensors().map(|(name, _)| name).collect();
        assert!(names.is_sorted_by(|a, b| a < b));
    }
});
