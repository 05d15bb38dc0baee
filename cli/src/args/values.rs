//! From the text of a flag to its value; an error says what was expected.
//!
//! Not here: ranges that the engine knows.

use std::num::NonZeroUsize;

use infer_engine::{Compute, KvDType, Speculation, Steps};
use infer_kernels::Isa;

use crate::commands::bench::Format;
use crate::quantised::mix::{FILE_TYPES, FileType};
use crate::quantised::{QUANTS, Quant};
use crate::series::Series;
use crate::truncate::Truncate;

pub(super) fn count(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| "expected a whole number, 0 or more")
}

/// A count where a number too large for this machine means the same as the largest: there is no such vocabulary or text.
pub(super) fn saturating_count(text: &str) -> Result<usize, &'static str> {
    match text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        true => count(text),
        false => Ok(text.parse().unwrap_or(usize::MAX)),
    }
}

pub(super) fn positive_count(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "expected a whole number, 1 or more")
}

pub(super) fn positive_series(text: &str) -> Result<Series, &'static str> {
    let series = Series::parse(text)?;
    if series.0.contains(&0) { Err("expected whole numbers, 1 or more") } else { Ok(series) }
}

pub(super) fn probe_seconds(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 60.0);
    seconds.ok_or("expected a number of seconds, more than 0 and at most 60")
}

pub(super) fn bench_format(text: &str) -> Result<Format, &'static str> {
    Format::parse(text).ok_or("expected md, json, jsonl or csv")
}

pub(super) fn positive_number(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0).ok_or("expected a number, 0 or more")
}

pub(super) fn quant(text: &str) -> Result<Quant, String> {
    let names = || QUANTS.map(|quant| quant.name).join(" or ");
    Quant::parse(text).ok_or_else(|| format!("expected {}", names()))
}

pub(super) fn file_type(text: &str) -> Result<FileType, String> {
    let names = || FILE_TYPES.map(|kind| kind.name).join(", ");
    FileType::parse(text).ok_or_else(|| format!("expected one of {}", names()))
}

pub(super) fn token_id(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "expected a token id, a whole number below 2^32")
}

pub(super) fn seed(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "expected a whole number from 0 to 18446744073709551615")
}

pub(super) fn number(text: &str) -> Result<f32, &'static str> {
    text.parse().map_err(|_| "expected a number")
}

pub(super) fn steps(text: &str) -> Result<Steps, String> {
    text.parse()
}

/// `TOKEN=B`; the last `=` is the one meant, a text may hold others.
pub(super) fn logit_bias(text: &str) -> Result<(String, f32), &'static str> {
    let parts = text.rsplit_once('=').and_then(|(token, bias)| Some((token.to_owned(), bias.parse::<f32>().ok()?)));
    let is_good = |(token, bias): &(String, f32)| !token.is_empty() && !bias.is_nan() && *bias != f32::INFINITY;
    parts.filter(is_good).ok_or("expected a token's id or a text, =, and a number or -inf")
}

pub(super) fn isa(text: &str) -> Result<Isa, String> {
    text.parse().map_err(|_| format!("expected one of {}", names(Isa::ALL)))
}

pub(super) fn truncate(text: &str) -> Result<Truncate, &'static str> {
    text.parse()
}

pub(super) fn speculation(text: &str) -> Result<Speculation, &'static str> {
    text.parse()
}

pub(super) fn compute(text: &str) -> Result<Compute, &'static str> {
    text.parse().map_err(|_| "expected auto, f32, bf16 or int8")
}

pub(super) fn kv_dtype(text: &str) -> Result<KvDType, &'static str> {
    text.parse().map_err(|_| "expected f32, f16, bf16 or q8")
}

fn names(all: &[Isa]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
