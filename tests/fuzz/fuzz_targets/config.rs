//! Any bytes as `config.json`, asked for every type at every key.

#![no_main]

use std::path::Path;

use infer_loaders::{LoadError, Metadata};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = Metadata::parse(Path::new("fuzzed"), bytes) {
        ask(&config);
    }
});

fn ask(config: &Metadata) {
    let keys: Vec<String> = config.keys().map(str::to_owned).collect();
    for key in &keys {
        check(config.count(key).map(|n| assert!(n != Some(0))));
        check(config.index(key).map(drop));
        check(config.number(key).map(|x| assert!(x.is_none_or(f64::is_finite))));
        check(config.positive(key).map(|x| assert!(x.is_none_or(|x| x > 0.0))));
        check(config.flag(key).map(drop));
        check(config.text(key).map(drop));
        check(config.texts(key).map(drop));
        check(config.ids(key).map(drop));
        check(config.numbers(key).map(drop));
        match config.object(key) {
            Ok(Some(inner)) => ask(&inner),
            other => check(other.map(drop)),
        }
    }
}

fn check(result: Result<(), LoadError>) {
    if let Err(error) = result {
        let line = error.to_string();
        assert!(!line.contains('\n') && line.chars().count() <= 300, "{line}");
    }
}
