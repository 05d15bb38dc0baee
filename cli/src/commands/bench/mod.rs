//! `infer bench`: how fast this machine runs a model, and how fast it could.
//!
//! For each number of threads the machine's limits are measured first, then every test. Standard output carries the results and nothing
//! else. Not here: what is measured (`workload.rs`), the limits (the engine's `Roofline`), formats (`record.rs`).

mod record;
mod samples;
mod utc;
mod workload;

use std::num::NonZeroUsize;
use std::time::Duration;

use infer_engine::{MemoryPlan, Model, ModelOptions, Roofline};
use infer_kernels::Arithmetic;
use infer_loaders::{Checkpoint, Tensor, TensorType};

use self::record::{Record, Setup};
use self::samples::Samples;
use self::workload::{Runner, Test};
use crate::args::BenchArgs;
use crate::budget::Needs;
use crate::commands;
use crate::machine::Processor;
use crate::progress::Progress;
use crate::report::{self, Failure};
use crate::resources::{self, Memory};
use crate::series::Series;

pub use self::record::Format;

/// Seconds of probing in which the whole of the memory asked for below can be read often enough.
const FULL_PROBE: f64 = 2.0;

/// Bytes to measure reads on where the last cache is small or unknown, and at most.
const PROBE_BYTES: (u64, u64) = (512 << 20, 2 << 30);

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    commands::model_location(&args.model)?;
    let [n_prompt, n_gen, n_depth] = [&args.n_prompt, &args.n_gen, &args.n_depth].map(|series| Series::concat(series));
    let tests = Test::combine(&n_prompt, &n_gen, &n_depth);
    let Some(longest) = tests.iter().map(Test::end).max() else {
        return Err(Failure::input("--n-prompt, --n-gen: expected some tokens to read or to generate, found 0 in all"));
    };
    let checkpoint = commands::open_weights(&args.model, &args.quant, resources::threads(None))?;
    let mut threads: Vec<Option<NonZeroUsize>> = Series::concat(&args.threads).into_iter().map(NonZeroUsize::new).collect();
    if threads.is_empty() {
        threads.push(None);
    }
    let mut printer = Printer { args, n_done: 0, n_tests: tests.len() * threads.len(), notes: Vec::new() };
    for (i, threads) in threads.into_iter().enumerate() {
        let options = ModelOptions {
            threads: resources::threads(threads),
            isa: args.isa,
            compute: args.compute,
            kv_dtype: args.kv_dtype,
            prefill_chunk: args.prefill_chunk,
        };
        let model = Model::open(&checkpoint, &options)?;
        if i == 0 {
            commands::print_warnings(&checkpoint, &model);
            require_memory(args, &checkpoint, &model, &tests, longest)?;
        }
        bench(&checkpoint, &model, &tests, &mut printer)?;
    }
    report::print(record::end(args.output))
}

/// Measures the machine's limits for the model's threads, then runs all tests. A test that goes beyond a limit has them measured again, for then
/// something had slowed the machine down.
fn bench(checkpoint: &Checkpoint, model: &Model, tests: &[Test], printer: &mut Printer<'_>) -> Result<(), Failure> {
    let setup = setup(checkpoint, model, printer.args);
    let mut roofline = measure_roofline(model, setup.last_cache, printer.args)?;
    printer.note(format!("machine: {}", describe(&setup, &roofline)));
    let mut runner = Runner::new(model);
    for &test in tests {
        checkpoint.verify_unchanged()?;
        let label = format!("test {} of {}, {}", printer.n_done + 1, printer.n_tests, test.name());
        let mut progress = Progress::new(label);
        let test_time = utc::now();
        let n_repetitions = printer.args.repetitions.get();
        let times = runner.measure(&test, n_repetitions, &mut |done, total| progress.update(done, total))?;
        progress.finish();
        let samples = Samples::new(times, test.n_tokens());
        let mut record = Record { setup: &setup, roofline, test, cost: test.cost(model), samples, test_time };
        if record.beats_a_limit() {
            roofline = roofline.max(measure_roofline(model, setup.last_cache, printer.args)?);
            record.roofline = roofline;
            printer.note(format!("machine, measured again after {}: {}", test.name(), describe(&setup, &roofline)));
        }
        printer.print(&record)?;
    }
    Ok(())
}

/// Writes results as they come, and each note once.
struct Printer<'a> {
    args: &'a BenchArgs,
    n_done: usize,
    n_tests: usize,
    notes: Vec<String>,
}

impl Printer<'_> {
    fn print(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        for note in record.notes() {
            self.note(format!("note: {note}"));
        }
        let is_first = self.n_done == 0;
        self.n_done += 1;
        report::print(&record.print(self.args.output, is_first))
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            report::note(&report::escape(&note));
            self.notes.push(note);
        }
    }
}

/// What is the same for all tests with the same threads.
fn setup(checkpoint: &Checkpoint, model: &Model, args: &BenchArgs) -> Setup {
    let processor = Processor::this();
    let model_n_params = checkpoint.tensors().map(n_elements).sum();
    Setup {
        model_filename: checkpoint.path().display().to_string(),
        model_type: format!("{} {} {}", model.config().model_type, short_count(model_n_params), main_dtype(checkpoint)),
        model_size: checkpoint.weight_bytes(),
        model_n_params,
        last_cache: processor.last_cache,
        cpu_info: processor.name,
        isa: model.isa().name(),
        compute: model.compute().name(),
        kv_dtype: model.kv_dtype().name(),
        n_threads: model.n_threads(),
        prefill_chunk: model.prefill_chunk().get(),
        use_mmap: !args.model.no_mmap,
    }
}

/// Measures the machine's limits for the model's threads.
fn measure_roofline(model: &Model, last_cache: Option<u64>, args: &BenchArgs) -> Result<Roofline, Failure> {
    let share = (args.probe_seconds / FULL_PROBE).min(1.0);
    let wanted = last_cache.unwrap_or(0).saturating_mul(2).clamp(PROBE_BYTES.0, PROBE_BYTES.1);
    // A quarter of what is free: the probe must not push the weights out of memory.
    let affordable = Memory::now().available().map_or(u64::MAX, |(left, _)| left / 4);
    let probe_bytes = ((wanted as f64 * share) as u64).min(affordable);
    let probe_bytes = usize::try_from(probe_bytes).unwrap_or(usize::MAX);
    Ok(model.measure_roofline(probe_bytes, Duration::from_secs_f64(args.probe_seconds))?)
}

/// The machine's limits in a line.
fn describe(setup: &Setup, roofline: &Roofline) -> String {
    let &Roofline { read_bytes, read_rate, read_way, .. } = roofline;
    let rates = Arithmetic::ALL.iter().filter_map(|&arithmetic| {
        let rate = roofline.mac_rate(arithmetic)?;
        Some(format!("{} {:.1}", arithmetic.name(), rate / 1e9))
    });
    format!(
        "{} threads, {}: memory {:.2} GB/s ({} in {} streams, prefetch {}), multiply-adds {} GMAC/s",
        setup.n_threads,
        setup.isa,
        read_rate / 1e9,
        report::bytes(read_bytes as u64),
        read_way.streams,
        read_way.prefetch,
        rates.collect::<Vec<_>>().join(", ")
    )
}

/// Fails where the longest test does not fit in memory; warns where one is longer than the model was made for.
fn require_memory(
    args: &BenchArgs,
    checkpoint: &Checkpoint,
    model: &Model,
    tests: &[Test],
    longest: usize,
) -> Result<(), Failure> {
    let most_rows = args.prefill_chunk.get().min(longest);
    let plan = MemoryPlan::new(model, checkpoint, longest, most_rows);
    let needs = Needs { mapped_weights: checkpoint.mapped_bytes(), kv_per_token: plan.kv_per_token, scratch: plan.scratch };
    let memory = Memory::now();
    needs.warn_of_paging(&memory);
    needs.require(longest, &memory)?;
    let made_for = model.config().max_seq_len;
    if let Some(test) = tests.iter().find(|test| test.end() > made_for) {
        report::warn(&format!("{}: beyond the {made_for} positions that the model was made for", test.name()));
    }
    Ok(())
}

/// The storage format of most bytes, as safetensors spells it.
fn main_dtype(checkpoint: &Checkpoint) -> String {
    let mut bytes: Vec<(TensorType, u64)> = Vec::new();
    for tensor in checkpoint.tensors() {
        match bytes.iter_mut().find(|(dtype, _)| *dtype == tensor.dtype()) {
            Some((_, sum)) => *sum += tensor.bytes().len() as u64,
            None => bytes.push((tensor.dtype(), tensor.bytes().len() as u64)),
        }
    }
    bytes.into_iter().max_by_key(|&(_, sum)| sum).map_or(String::new(), |(dtype, _)| dtype.to_string())
}

/// A number of parameters as model names have it: `135M`, `1.24B`.
fn short_count(n: u64) -> String {
    match n {
        0..1_000_000 => format!("{:.1}K", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.0}M", n as f64 / 1e6),
        _ => format!("{:.2}B", n as f64 / 1e9),
    }
}

fn n_elements(tensor: &Tensor) -> u64 {
    tensor.shape().iter().map(|&dim| dim as u64).product()
}
