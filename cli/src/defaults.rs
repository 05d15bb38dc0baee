//! What the files beside the weights say about generating: sampling parameters and end-of-text ids.
//!
//! Not here: flags, which override the sampling parameters, and the sampler itself.

use infer_engine::Sampling;
use infer_loaders::{Checkpoint, LoadError, Metadata, Tokenizer};

/// transformers' default where `do_sample` is true and no `top_k` is given (formats.md section 9).
const SAMPLED_TOP_K: usize = 50;

/// The sampling parameters of `generation_config.json`; greedy where it does not ask for sampling or is absent.
///
/// Filters that the file sets are kept also where it does not ask for sampling: they hold once a caller sets a temperature.
pub(crate) fn sampling(file: Option<&Metadata>) -> Result<Sampling, LoadError> {
    let mut sampling = Sampling::greedy();
    let Some(file) = file else { return Ok(sampling) };
    let number = |key| -> Result<Option<f32>, LoadError> { Ok(file.number(key)?.map(|value| value as f32)) };
    let temperature = number("temperature")?;
    let top_k = file.index("top_k")?;
    if file.flag("do_sample")?.unwrap_or(false) {
        sampling.temperature = temperature.unwrap_or(1.0);
        sampling.top_k = SAMPLED_TOP_K;
    }
    sampling.top_k = top_k.unwrap_or(sampling.top_k);
    sampling.top_p = number("top_p")?.unwrap_or(sampling.top_p);
    sampling.min_p = number("min_p")?.unwrap_or(sampling.min_p);
    sampling.typical_p = number("typical_p")?.unwrap_or(sampling.typical_p);
    sampling.repetition_penalty = number("repetition_penalty")?.unwrap_or(sampling.repetition_penalty);
    match sampling.validate() {
        Ok(()) => Ok(sampling),
        Err(error) => Err(file.error(error.parameter(), error.expected())),
    }
}

/// The ids that end a text: those of `generation_config.json`, of `config.json` and of the tokenizer (formats.md section 5),
/// ascending. `vocab_size`: number of rows of the head, which every id must be below.
pub(crate) fn stop_ids(checkpoint: &Checkpoint, tokenizer: &Tokenizer, vocab_size: usize) -> Result<Vec<u32>, LoadError> {
    let key = "eos_token_id";
    let mut ids: Vec<u32> = tokenizer.eos_ids().to_vec();
    for file in checkpoint.generation_config().into_iter().chain([checkpoint.config()]) {
        let found = file.ids(key)?.unwrap_or_default();
        if found.iter().any(|&id| id as usize >= vocab_size) {
            return Err(file.error(key, format_args!("ids below the vocabulary's size {vocab_size}")));
        }
        ids.extend(found);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(json: &str) -> Result<Sampling, String> {
        let file = Metadata::parse(Path::new("generation_config.json"), json.as_bytes()).unwrap();
        sampling(Some(&file)).map_err(|error| error.to_string())
    }

    #[test]
    fn without_do_sample_the_choice_is_greedy_whatever_the_temperature() {
        assert_eq!(sampling(None).unwrap(), Sampling::greedy());
        let expected = Sampling { top_p: 0.9, repetition_penalty: 1.1, ..Sampling::greedy() };
        assert_eq!(read(r#"{"temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.1}"#).unwrap(), expected);
        assert_eq!(read(r#"{"do_sample": false, "temperature": 0.6}"#).unwrap(), Sampling::greedy());
    }

    #[test]
    fn do_sample_without_top_k_means_the_50_of_transformers() {
        let expected = Sampling { temperature: 1.0, top_k: 50, ..Sampling::greedy() };
        assert_eq!(read(r#"{"do_sample": true}"#).unwrap(), expected);
        let expected = Sampling { temperature: 0.6, top_k: 20, top_p: 0.95, min_p: 0.05, ..Sampling::greedy() };
        let json = r#"{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05}"#;
        assert_eq!(read(json).unwrap(), expected);
        assert_eq!(read(r#"{"do_sample": true, "top_k": 0}"#).unwrap().top_k, 0);
    }

    #[test]
    fn a_wrong_value_is_refused_by_file_and_field() {
        for (json, line) in [
            (r#"{"do_sample": true, "temperature": -1}"#, "field 'temperature': expected a finite number >= 0, found -1"),
            (r#"{"do_sample": true, "temperature": 1e308}"#, "field 'temperature': expected a finite number >= 0, found 1e+308"),
            (r#"{"top_p": 1.5}"#, "field 'top_p': expected a number from 0 to 1, found 1.5"),
            (r#"{"typical_p": -1}"#, "field 'typical_p': expected a number from 0 to 1, found -1"),
            (r#"{"do_sample": 1}"#, "field 'do_sample': expected true or false, found 1"),
            (r#"{"repetition_penalty": 0}"#, "field 'repetition_penalty': expected a finite number > 0, found 0"),
        ] {
            assert_eq!(read(json).unwrap_err(), format!("generation_config.json: {line}"));
        }
    }
}
