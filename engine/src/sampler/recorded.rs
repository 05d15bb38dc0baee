//! What transformers' own logits processors make of the same logits: `tests/data/samplers/transformers.json`, recorded by the script
//! beside it.
//!
//! Not a comparison of drawn tokens: transformers draws from torch's generator, so the distributions are compared.

use std::collections::BTreeMap;

use super::{Sampler, Sampling};

/// torch computes in f32: the recorded probabilities carry a few roundings of 6e-8 each, and sums over at most 48 of them.
const TOLERANCE: f64 = 2e-6;

/// From here on a probability is seen by both sides: f32 underflows far below, our weights are rounded at 2^-52. So above it, whether
/// a token is kept or removed is no matter of tolerance.
const VISIBLE: f64 = 1e-14;

/// One recorded case.
struct Case {
    vector: String,
    sampling: Sampling,
    probabilities: Vec<f64>,
    /// A cut went through equal scores: which of them survive is left to torch's sort, so only the sorted probabilities compare.
    cut_through_ties: bool,
}

#[test]
fn distributions_equal_those_of_transformers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/samplers/transformers.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let rows = vectors(&record["logits"], |x| x.as_f64().expect("a logit") as f32);
    let previous = vectors(&record["previous_ids"], |x| x.as_u64().expect("an id") as u32);
    let cases: Vec<Case> = record["cases"].as_array().expect("cases").iter().map(case).collect();
    assert!(cases.len() >= 100, "only {} cases", cases.len());

    for case in &cases {
        let logits = &rows[&case.vector];
        let mut sampler = Sampler::new(&case.sampling, &previous[&case.vector], logits.len()).expect("valid parameters");
        let mut found = vec![0.0; logits.len()];
        for (token, probability) in sampler.distribution(logits).expect("a distribution") {
            found[token as usize] = probability;
        }
        let mut expected = case.probabilities.clone();
        if case.cut_through_ties {
            found.sort_by(f64::total_cmp);
            expected.sort_by(f64::total_cmp);
        }
        assert_eq!(found.len(), expected.len());
        for (token, (f, e)) in found.iter().zip(&expected).enumerate() {
            let is_close = (f - e).abs() <= TOLERANCE;
            let is_kept_alike = (*f > 0.0 || *e < VISIBLE) && (*e > 0.0 || *f < VISIBLE);
            let asked = (&case.vector, &case.sampling);
            assert!(is_close && is_kept_alike, "{asked:?}: token {token}: found {f}, expected {e}");
        }
    }
}

fn vectors<T>(object: &serde_json::Value, item: impl Fn(&serde_json::Value) -> T) -> BTreeMap<String, Vec<T>> {
    let of = |list: &serde_json::Value| list.as_array().expect("a list").iter().map(&item).collect();
    object.as_object().expect("an object").iter().map(|(name, list)| (name.clone(), of(list))).collect()
}

fn case(value: &serde_json::Value) -> Case {
    let mut sampling = Sampling { temperature: 1.0, ..Sampling::greedy() };
    for (name, value) in value["parameters"].as_object().expect("parameters") {
        let number = value.as_f64().expect("a number") as f32;
        match name.as_str() {
            "temperature" => sampling.temperature = number,
            "top_k" => sampling.top_k = value.as_u64().expect("a count") as usize,
            "top_p" => sampling.top_p = number,
            "min_p" => sampling.min_p = number,
            "typical_p" => sampling.typical_p = number,
            "repetition_penalty" => sampling.repetition_penalty = number,
            other => panic!("parameter {other:?} is not known to this test"),
        }
    }
    Case {
        vector: value["vector"].as_str().expect("a name").to_owned(),
        sampling,
        probabilities: value["probabilities"].as_array().expect("a list").iter().map(|p| p.as_f64().expect("a number")).collect(),
        cut_through_ties: value["cut_through_ties"].as_bool().unwrap_or(false),
    }
}
