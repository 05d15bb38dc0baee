//! `Record`: what is told of a test, in llama-bench's words and formats: a Markdown table, JSON, JSON lines, CSV.
//!
//! The keys are llama-bench's where it has the thing; those of the roofline are this program's. Rates are of tokens per second (`_ts`), 10⁹
//! bytes per second (`_gbps`), 10⁹ multiply-adds per second (`_gmacs`). Not here: measuring.

use infer_engine::{Cost, Roofline};
use infer_kernels::Arithmetic;
use serde_json::{Map, Value, json};

use super::samples::Samples;
use super::workload::{Test, Work};
use crate::report;

/// A fraction of a limit above this is more than noise: the limit is not what it was measured to be.
const NOISE: f64 = 1.02;

/// How the results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Markdown table.
    Md,
    /// One JSON array.
    Json,
    /// A JSON object on each line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
}

impl Format {
    /// The format of this name.
    pub fn parse(name: &str) -> Option<Format> {
        match name {
            "md" => Some(Format::Md),
            "json" => Some(Format::Json),
            "jsonl" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }
}

/// What is the same for all tests of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    pub model_filename: String,
    pub model_type: String,
    pub model_size: u64,
    pub model_n_params: u64,
    /// Bytes of the last cache, where known.
    pub last_cache: Option<u64>,
    pub cpu_info: String,
    pub isa: &'static str,
    pub compute: &'static str,
    pub kv_dtype: &'static str,
    pub n_threads: usize,
    pub prefill_chunk: usize,
    pub use_mmap: bool,
}

/// A test and its results.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    pub setup: &'a Setup,
    /// The machine's limits for so many threads.
    pub roofline: Roofline,
    pub test: Test,
    /// Of one repetition.
    pub cost: Cost,
    pub samples: Samples,
    /// When the test began.
    pub test_time: String,
}

impl Record<'_> {
    /// Bytes read per second.
    fn read_rate(&self) -> f64 {
        self.cost.bytes as f64 / self.samples.mean_seconds()
    }

    /// Multiply-adds per second.
    fn mac_rate(&self) -> f64 {
        self.cost.macs() as f64 / self.samples.mean_seconds()
    }

    /// The machine's peak rate of the test's arithmetic; f32 where it has no instruction for that.
    fn peak(&self) -> f64 {
        self.rate_of(self.cost.arithmetic())
    }

    fn rate_of(&self, arithmetic: Arithmetic) -> f64 {
        let roofline = &self.roofline;
        roofline.mac_rate(arithmetic).or(roofline.mac_rate(Arithmetic::F32)).unwrap_or(0.0)
    }

    fn bandwidth_fraction(&self) -> f64 {
        self.read_rate() / self.roofline.read_rate
    }

    fn compute_fraction(&self) -> f64 {
        self.mac_rate() / self.peak()
    }

    /// Tokens per second if the slower of reading and multiplying ran at the machine's limit, and the other hid behind it.
    fn ceiling(&self) -> f64 {
        let reading = self.cost.bytes as f64 / self.roofline.read_rate;
        let cost = self.cost;
        let macs = [(cost.macs_f32, Arithmetic::F32), (cost.macs_bf16, Arithmetic::Bf16), (cost.macs_int8, Arithmetic::Int8)];
        let multiplying: f64 = macs.iter().map(|&(macs, arithmetic)| macs as f64 / self.rate_of(arithmetic)).sum();
        self.test.n_tokens() as f64 / reading.max(multiplying)
    }

    /// The last cache, if the weights fit in it.
    fn cache_of_weights(&self) -> Option<u64> {
        self.setup.last_cache.filter(|&cache| self.setup.model_size <= cache)
    }

    /// Whether the test read faster than the probe, though not from a cache.
    fn outreads_probe(&self) -> bool {
        self.cache_of_weights().is_none() && self.bandwidth_fraction() > NOISE
    }

    /// Whether the test multiplied faster than the probe.
    fn outmultiplies_probe(&self) -> bool {
        self.compute_fraction() > NOISE
    }

    /// Whether a limit was not found: the test went beyond it.
    pub fn beats_a_limit(&self) -> bool {
        self.outreads_probe() || self.outmultiplies_probe()
    }

    /// What one should know before believing the fractions, a line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(cache) = self.cache_of_weights() {
            let (model, cache) = (report::bytes(self.setup.model_size), report::bytes(cache));
            notes.push(format!("the weights ({model}) fit in the last cache ({cache}): GB/s may exceed what memory gives"));
        }
        let read = self.roofline.read_bytes as u64;
        if let Some(cache) = self.setup.last_cache.filter(|&cache| read < 2 * cache) {
            let (read, cache) = (report::bytes(read), report::bytes(cache));
            notes.push(format!("reads were measured on {read}, less than twice the last cache ({cache}): some came from there"));
        }
        let name = self.test.name();
        if self.outreads_probe() {
            notes.push(format!("{name} read faster than the probe did: the machine was slower then, or the probe is wrong"));
        }
        if self.outmultiplies_probe() {
            notes
                .push(format!("{name} multiplied faster than the probe did: the machine was slower then, or the probe is wrong"));
        }
        notes
    }

    /// All there is to know, keys in the order that they are printed.
    pub fn fields(&self) -> Map<String, Value> {
        let (setup, samples) = (self.setup, &self.samples);
        let peak = |arithmetic| self.roofline.mac_rate(arithmetic).map(giga);
        let (n_prompt, n_gen) = match self.test.work {
            Work::Prompt(n) => (n, 0),
            Work::Generation(n) => (0, n),
        };
        let fields = [
            ("build_version", json!(env!("CARGO_PKG_VERSION"))),
            ("cpu_info", json!(setup.cpu_info)),
            ("backends", json!("CPU")),
            ("model_filename", json!(setup.model_filename)),
            ("model_type", json!(setup.model_type)),
            ("model_size", json!(setup.model_size)),
            ("model_n_params", json!(setup.model_n_params)),
            ("n_batch", json!(setup.prefill_chunk)),
            ("n_threads", json!(setup.n_threads)),
            ("use_mmap", json!(setup.use_mmap)),
            ("isa", json!(setup.isa)),
            ("compute", json!(setup.compute)),
            ("kv_dtype", json!(setup.kv_dtype)),
            ("n_prompt", json!(n_prompt)),
            ("n_gen", json!(n_gen)),
            ("n_depth", json!(self.test.depth)),
            ("test_time", json!(self.test_time)),
            ("avg_ns", json!((samples.mean_seconds() * 1e9).round() as u64)),
            ("stddev_ns", json!((samples.stddev_seconds() * 1e9).round() as u64)),
            ("avg_ts", json!(samples.mean_rate())),
            ("stddev_ts", json!(samples.stddev_rate())),
            ("bytes_per_token", json!(self.cost.bytes as f64 / self.test.n_tokens() as f64)),
            ("achieved_gbps", json!(giga(self.read_rate()))),
            ("stream_gbps", json!(giga(self.roofline.read_rate))),
            ("bandwidth_fraction", json!(self.bandwidth_fraction())),
            ("macs_per_token", json!(self.cost.macs() as f64 / self.test.n_tokens() as f64)),
            ("achieved_gmacs", json!(giga(self.mac_rate()))),
            ("peak_gmacs", json!(giga(self.peak()))),
            ("compute_fraction", json!(self.compute_fraction())),
            ("ceiling_ts", json!(self.ceiling())),
            ("peak_f32_gmacs", json!(peak(Arithmetic::F32))),
            ("peak_bf16_gmacs", json!(peak(Arithmetic::Bf16))),
            ("peak_int8_gmacs", json!(peak(Arithmetic::Int8))),
            ("stream_bytes", json!(self.roofline.read_bytes)),
            ("last_cache_bytes", json!(setup.last_cache)),
            ("samples_ns", json!(samples.ns())),
            ("samples_ts", json!(samples.rates())),
            ("notes", json!(self.notes())),
        ];
        fields.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }

    /// The columns of the Markdown table: header, least width, cell.
    fn columns(&self) -> [(&'static str, usize, String); 14] {
        let (setup, samples) = (self.setup, &self.samples);
        let percent = |fraction: f64| format!("{:.1} %", 100.0 * fraction);
        [
            ("model", 22, setup.model_type.clone()),
            ("size", 10, report::bytes(setup.model_size)),
            ("params", 8, params(setup.model_n_params)),
            ("backend", 7, "CPU".to_string()),
            ("threads", 7, setup.n_threads.to_string()),
            ("isa", 11, setup.isa.to_string()),
            ("compute", 7, setup.compute.to_string()),
            ("test", 14, self.test.name()),
            ("t/s", 18, format!("{:.2} ± {:.2}", samples.mean_rate(), samples.stddev_rate())),
            ("GB/s", 7, format!("{:.2}", giga(self.read_rate()))),
            ("of memory", 9, percent(self.bandwidth_fraction())),
            ("GMAC/s", 7, format!("{:.1}", giga(self.mac_rate()))),
            ("of peak", 7, percent(self.compute_fraction())),
            ("limit t/s", 9, format!("{:.2}", self.ceiling())),
        ]
    }

    /// A line, or the lines, that tell this record; `is_first`: with what has to stand before the first.
    pub fn print(&self, format: Format, is_first: bool) -> String {
        match format {
            Format::Md => self.markdown(is_first),
            Format::Csv => self.csv(is_first),
            Format::Jsonl => format!("{}\n", Value::Object(self.fields())),
            // The elements of an array, which `end` closes.
            Format::Json => format!("{}  {}", if is_first { "[\n" } else { ",\n" }, Value::Object(self.fields())),
        }
    }

    fn markdown(&self, is_first: bool) -> String {
        // The first columns are words, the others numbers.
        const N_WORDS: [&str; 5] = ["model", "backend", "isa", "compute", "test"];
        let line = |cells: &dyn Fn(&'static str, usize, String) -> String| {
            let cells = self.columns().map(|(header, width, cell)| cells(header, width.max(header.len()), cell));
            format!("| {} |\n", cells.join(" | "))
        };
        let pad = |header: &str, width: usize, cell: &str| match N_WORDS.contains(&header) {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        };
        let mut text = String::new();
        if is_first {
            text += &line(&|header, width, _| pad(header, width, header));
            text += &line(&|header, width, _| match N_WORDS.contains(&header) {
                true => "-".repeat(width),
                false => format!("{}:", "-".repeat(width - 1)),
            });
        }
        text + &line(&|header, width, cell| pad(header, width, &cell.replace('|', "\\|")))
    }

    /// Every field but lists, quoted.
    fn csv(&self, is_first: bool) -> String {
        let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let fields: Vec<(String, Value)> = self.fields().into_iter().filter(|(_, value)| !value.is_array()).collect();
        let cell = |value: &Value| match value {
            Value::String(text) => quote(text),
            Value::Null => quote(""),
            other => quote(&other.to_string()),
        };
        let mut text = String::new();
        if is_first {
            text += &fields.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>().join(",");
            text.push('\n');
        }
        text + &fields.iter().map(|(_, value)| cell(value)).collect::<Vec<_>>().join(",") + "\n"
    }
}

/// What has to stand after the last record.
pub fn end(format: Format) -> &'static str {
    if format == Format::Json { "\n]\n" } else { "" }
}

/// A number of parameters as llama-bench has it, e.g. `1.24 B`.
fn params(n: u64) -> String {
    if n < 1_000_000_000 { format!("{:.2} M", n as f64 / 1e6) } else { format!("{:.2} B", n as f64 / 1e9) }
}

fn giga(value: f64) -> f64 {
    value / 1e9
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use infer_kernels::READ_WAYS;

    use super::*;

    /// A machine that reads 10 bytes and multiplies 10 numbers in a second.
    const ROOFLINE: Roofline =
        Roofline { read_bytes: 4, read_rate: 10.0, read_way: READ_WAYS[0], f32_rate: 10.0, bf16_rate: None, int8_rate: None };

    /// Weights of twice the last cache.
    fn setup() -> Setup {
        Setup {
            model_filename: String::new(),
            model_type: String::new(),
            model_size: 2,
            model_n_params: 1,
            last_cache: Some(1),
            cpu_info: String::new(),
            isa: "",
            compute: "",
            kv_dtype: "",
            n_threads: 1,
            prefill_chunk: 1,
            use_mmap: true,
        }
    }

    #[test]
    fn what_goes_beyond_a_limit_is_told_but_not_noise_and_not_reads_from_a_cache() {
        let in_cache = Setup { last_cache: Some(2), ..setup() };
        for (setup, bytes, macs_f32, beats) in
            [(setup(), 10, 10, false), (setup(), 11, 10, true), (setup(), 10, 11, true), (in_cache, 11, 10, false)]
        {
            let cost = Cost { bytes, macs_f32, ..Cost::default() };
            let samples = Samples::new(vec![Duration::from_secs(1)], 1);
            let test = Test { work: Work::Prompt(1), depth: 0 };
            let record = Record { setup: &setup, roofline: ROOFLINE, test, cost, samples, test_time: String::new() };
            assert_eq!(record.beats_a_limit(), beats, "{bytes} {macs_f32}");
            assert_eq!(
                record.notes().iter().any(|note| note.contains("faster than the probe did")),
                beats,
                "{:?}",
                record.notes()
            );
        }
    }
}
