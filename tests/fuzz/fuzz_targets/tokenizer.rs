//! Any bytes as `tokenizer.json`; what loads encodes and decodes. Streamed text must equal batch text.

#![no_main]

use std::path::Path;

use infer_loaders::Tokenizer;
use libfuzzer_sys::fuzz_target;

/// A bit of everything that pre-tokenizers look for.
const TEXT: &str = "Hello, world's  end\n\n 1234 \u{4f60}\u{597d} e\u{301}<s>\u{1f600}\t aaaa";

fuzz_target!(|bytes: &[u8]| {
    let Ok(tokenizer) = Tokenizer::parse(Path::new("fuzzed"), bytes, &[]) else {
        return;
    };
    let ids = tokenizer.encode(TEXT, true).unwrap_or_default();
    let all = (0..tokenizer.vocab_size().min(300) as u32).chain(ids);
    let ids: Vec<u32> = all.collect();
    for skip_special in [false, true] {
        let Ok(batch) = tokenizer.decode(&ids, skip_special) else {
            continue;
        };
        let mut stream = tokenizer.stream(skip_special);
        let mut text = String::new();
        for &id in &ids {
            text += &stream.push(id).expect("a decoder that accepts all tokens together");
        }
        text += &stream.finish().expect("a decoder that accepts all tokens together");
        assert_eq!(text, batch);
    }
});
