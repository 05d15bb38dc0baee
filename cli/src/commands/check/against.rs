//! `infer check --against ORIGINAL`: what a model lost against another of the same shape, such as a quantised file against the float one.
//!
//! Each tensor's error; and, with a text, how far the distributions of the next token are from the original's, and the speed of both. Both
//! models are held to the same tokens, which the original's tokenizer makes. Not here: a verdict, but for the one that `--max-kl` asks for.

use std::path::Path;
use std::time::{Duration, Instant};

use infer_engine::{Batch, Model, Row};
use infer_kernels::{Kernels, decode};
use infer_loaders::{Checkpoint, OpenOptions, Tensor, TensorType};
use serde_json::json;

use super::MAX_LOGITS;
use crate::args::CheckArgs;
use crate::commands;
use crate::compare::{Comparison, Position};
use crate::progress::Progress;
use crate::prompt;
use crate::report::{self, Failure};

/// Tokens that are read from scratch at a time: distributions behind a short and a long context count alike.
const WINDOW: usize = 512;
/// Tokens of each window that both models read one at a time, for the speed of generating.
const N_DECODED: usize = 16;
/// Weights that are decoded at a time.
const PART: usize = 1 << 16;
/// How many of the worst tensors are listed.
const N_WORST: usize = 8;

/// A tensor of both models.
struct Loss {
    name: String,
    from: TensorType,
    to: TensorType,
    square_err: f64,
    square_ref: f64,
    max_abs_err: f64,
}

impl Loss {
    fn nmse(&self) -> f64 {
        if self.square_err == 0.0 { 0.0 } else { self.square_err / self.square_ref }
    }
}

/// Tokens and the time that they took.
#[derive(Clone, Copy, Default)]
struct Speed {
    read: (usize, Duration),
    decoded: (usize, Duration),
}

impl Speed {
    /// Tokens per second of reading and of generating.
    fn rates(&self) -> [f64; 2] {
        [self.read, self.decoded].map(|(n, time)| if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() })
    }
}

/// Runs the command.
pub fn run(args: &CheckArgs, original: &Path) -> Result<(), Failure> {
    let (checkpoint, model) = super::open(args)?;
    let theirs = infer_loaders::open(original, &OpenOptions { mmap: !args.model.no_mmap })?;
    let reference = Model::open(&theirs, &commands::model_options(&args.engine))?;
    let losses = losses(&checkpoint, &theirs)?;
    let text = prompt::read_optional("--text", args.text.as_deref(), args.text_file.as_deref())?;
    let compared = match &text {
        None => None,
        Some(text) => Some(compare(args, (&checkpoint, &model), (&theirs, &reference), text)?),
    };
    let sizes = [&checkpoint, &theirs].map(Checkpoint::weight_bytes);
    match args.json {
        true => print_json(&model, &losses, sizes, compared.as_ref())?,
        false => print_report(args, original, &losses, sizes, compared.as_ref())?,
    }
    let mean_kl = compared.as_ref().map(|(comparison, ..)| comparison.mean_kl());
    match (args.max_kl, mean_kl) {
        (Some(most), Some(found)) if found > most => {
            Err(Failure::check(format!("{}: check failed: mean KL {found:.3e} exceeds {most:e}", checkpoint.path().display())))
        }
        _ => Ok(()),
    }
}

/// The error of each tensor that both have.
fn losses(ours: &Checkpoint, theirs: &Checkpoint) -> Result<Vec<Loss>, Failure> {
    let (mut losses, kernels) = (Vec::new(), Kernels::detect());
    for a in theirs.tensors() {
        let Some(b) = ours.tensor(a.name()) else { continue };
        if a.shape() != b.shape() {
            return Err(b
                .error(format_args!("shape {:?} as in the original", a.shape()), format_args!("{:?}", b.shape()))
                .into());
        }
        let (TensorType::Weights(from), TensorType::Weights(to)) = (a.dtype(), b.dtype()) else { continue };
        // Parts of both that hold whole blocks, also of Hadamard matrices.
        let part = PART.next_multiple_of(from.block_len().max(to.block_len()));
        let values = |tensor: &Tensor, dtype: infer_kernels::DType, begin: usize, n: usize| -> Option<Vec<f32>> {
            let (begin, end) = (dtype.row_bytes(begin)?, dtype.row_bytes(begin + n)?);
            let mut values = vec![0.0; n];
            decode(dtype, tensor.bytes().get(begin..end)?, &mut values);
            kernels.hadamard(&mut values, tensor.hadamard());
            Some(values)
        };
        let mut loss = Loss {
            name: a.name().to_owned(),
            from: a.dtype(),
            to: b.dtype(),
            square_err: 0.0,
            square_ref: 0.0,
            max_abs_err: 0.0,
        };
        let n: usize = a.shape().iter().product();
        for begin in (0..n).step_by(part) {
            let n = part.min(n - begin);
            let (Some(x), Some(y)) = (values(a, from, begin, n), values(b, to, begin, n)) else { break };
            for (x, y) in x.into_iter().zip(y) {
                let (x, err) = (f64::from(x), f64::from(x) - f64::from(y));
                loss.square_err += err * err;
                loss.square_ref += x * x;
                loss.max_abs_err = loss.max_abs_err.max(err.abs());
            }
        }
        losses.push(loss);
    }
    Ok(losses)
}

/// What a text says: the distances of the logits, the speeds of both, and the mean negative log-probability of the text's tokens in both.
type Compared = (Comparison, [Speed; 2], [f64; 2]);

fn compare(
    args: &CheckArgs,
    (checkpoint, model): (&Checkpoint, &Model),
    (theirs, reference): (&Checkpoint, &Model),
    text: &str,
) -> Result<Compared, Failure> {
    let vocab_size = model.config().vocab_size;
    if reference.config().vocab_size != vocab_size {
        let expected = format_args!("{} as in {}", reference.config().vocab_size, theirs.path().display()).to_string();
        return Err(checkpoint.config().error("vocab_size", expected).into());
    }
    let tokenizer = theirs.tokenizer()?;
    let ids = tokenizer.encode(text, true)?;
    let longest = model.config().max_seq_len.min(reference.config().max_seq_len);
    let window = WINDOW.min(longest).min((MAX_LOGITS / size_of::<f32>() / vocab_size).max(2));
    if ids.len() < 2 {
        return Err(Failure::input(format!("text: expected at least 2 tokens, found {}", ids.len())));
    }
    if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
        return Err(Failure::input(format!("text: expected tokens below {vocab_size}, found id {id}")));
    }
    let mut comparison = Comparison::default();
    let (mut speeds, mut surprise, mut n_scored) = ([Speed::default(); 2], [0.0; 2], 0);
    let mut progress = Progress::new("comparing");
    let n_windows = ids.len().div_ceil(window);
    for (number, ids) in ids.chunks(window).enumerate() {
        // In turn, so that a busy neighbour slows both.
        let ours = read(args, (checkpoint, model), ids, &mut speeds[0])?;
        let original = read(args, (theirs, reference), ids, &mut speeds[1])?;
        for (position, (ours, original)) in ours.chunks_exact(vocab_size).zip(original.chunks_exact(vocab_size)).enumerate() {
            comparison.positions.push(Position::new(original, ours));
            if let Some(&next) = ids.get(position + 1) {
                n_scored += 1;
                for (sum, logits) in surprise.iter_mut().zip([ours, original]) {
                    *sum -= crate::compare::log_probability(logits, next as usize);
                }
            }
        }
        progress.update(((number + 1) * window).min(n_windows * window), n_windows * window);
    }
    Ok((comparison, speeds, surprise.map(|sum| sum / f64::from(n_scored.max(1)))))
}

/// The logits of all positions of a text that begins with `ids`, (ids, vocabulary), the last few read one at a time.
fn read(
    args: &CheckArgs,
    (checkpoint, model): (&Checkpoint, &Model),
    ids: &[u32],
    speed: &mut Speed,
) -> Result<Vec<f32>, Failure> {
    let n_single = N_DECODED.min(ids.len() / 2);
    let chunk = args.engine.prefill_chunk.get().min(ids.len() - n_single).max(1);
    let (mut cache, mut state, mut batch) = (model.new_cache(), model.new_state(), Batch::new());
    let sequence = cache.create();
    let mut logits = Vec::new();
    let mut begin = 0;
    while begin < ids.len() {
        let many = chunk.min((ids.len() - n_single).saturating_sub(begin));
        let n = many.max(1);
        batch.clear();
        for (position, &token) in ids.iter().enumerate().skip(begin).take(n) {
            batch.push(Row { sequence, position, token, rope_len: ids.len(), wants_logits: true });
        }
        let started = Instant::now();
        model.forward(&batch, &mut cache, &mut state)?;
        let side = if many == 0 { &mut speed.decoded } else { &mut speed.read };
        *side = (side.0 + n, side.1 + started.elapsed());
        for row in 0..n {
            let row_logits = state.logits(row);
            if let Some(token) = row_logits.iter().position(|logit| !logit.is_finite()) {
                let path = checkpoint.path().display();
                return Err(Failure::input(format!(
                    "{path}: logits: expected finite numbers, found {} at [{}, {token}]",
                    row_logits.get(token).copied().unwrap_or(f32::NAN),
                    begin + row
                )));
            }
            logits.extend_from_slice(row_logits);
        }
        begin += n;
    }
    Ok(logits)
}

/// The error over all tensors together.
fn total_nmse(losses: &[Loss]) -> f64 {
    let (err, of): (f64, f64) = losses.iter().fold((0.0, 0.0), |(err, of), loss| (err + loss.square_err, of + loss.square_ref));
    if err == 0.0 { 0.0 } else { err / of }
}

fn print_json(model: &Model, losses: &[Loss], sizes: [u64; 2], compared: Option<&Compared>) -> Result<(), Failure> {
    let tensors: Vec<serde_json::Value> = losses
        .iter()
        .map(|loss| {
            json!({
                "name": loss.name,
                "original_dtype": loss.from.to_string(),
                "dtype": loss.to.to_string(),
                "nmse": loss.nmse(),
                "max_abs_err": loss.max_abs_err,
            })
        })
        .collect();
    let text = compared.map(|(comparison, speeds, surprise)| {
        let [ours, original] = speeds.map(|speed| speed.rates());
        json!({
            "positions": comparison.positions.len(),
            "mean_kl": comparison.mean_kl(),
            "max_kl": comparison.max_kl(),
            "top1_agreement": comparison.top1_agreement(),
            "nmse": comparison.nmse(),
            "perplexity": surprise[0].exp(),
            "original_perplexity": surprise[1].exp(),
            "prefill_ts": ours[0],
            "original_prefill_ts": original[0],
            "decode_ts": ours[1],
            "original_decode_ts": original[1],
        })
    });
    report::print_json(&json!({
        "weight_bytes": sizes[0],
        "original_weight_bytes": sizes[1],
        "weights_nmse": total_nmse(losses),
        "tensors": tensors,
        "text": text,
        "compute": model.compute().to_string(),
        "kv_dtype": model.kv_dtype().name(),
        "isa": model.isa().to_string(),
        "threads": model.n_threads(),
    }))
}

fn print_report(
    args: &CheckArgs,
    original: &Path,
    losses: &[Loss],
    sizes: [u64; 2],
    compared: Option<&Compared>,
) -> Result<(), Failure> {
    let number = |value: f64| if value == 0.0 { "0".to_string() } else { format!("{value:.3e}") };
    let path = |path: &Path| report::escape(&path.display().to_string());
    let mut out = format!(
        "model:     {}: {}\noriginal:  {}: {}\n\n",
        path(commands::model_location(&args.model)?.path()),
        report::bytes(sizes[0]),
        path(original),
        report::bytes(sizes[1])
    );
    let mut worst: Vec<&Loss> = losses.iter().filter(|loss| loss.square_err > 0.0).collect();
    worst.sort_by(|a, b| b.nmse().total_cmp(&a.nmse()));
    let largest = losses.iter().map(|loss| loss.max_abs_err).fold(0.0, f64::max);
    let all = vec![format!("all {} tensors", losses.len()), String::new(), number(total_nmse(losses)), number(largest)];
    let rows = worst.iter().take(N_WORST).map(|loss| {
        vec![loss.name.clone(), format!("{} as {}", loss.from, loss.to), number(loss.nmse()), number(loss.max_abs_err)]
    });
    let rows: Vec<Vec<String>> = std::iter::once(all).chain(rows).collect();
    out.push_str(&report::table(&["weights", "", "NMSE", "max |diff|"], &rows, 2));
    if let Some((comparison, speeds, surprise)) = compared {
        let [ours, theirs] = speeds.map(|speed| speed.rates());
        let row = |name: &str, ours: String, theirs: String| vec![name.to_string(), ours, theirs];
        let rows = [
            row("mean KL(original || model)", number(comparison.mean_kl()), String::new()),
            row("largest KL", number(comparison.max_kl()), String::new()),
            row("top-1 agreement", format!("{:.2} %", 100.0 * comparison.top1_agreement()), String::new()),
            row("perplexity", format!("{:.4}", surprise[0].exp()), format!("{:.4}", surprise[1].exp())),
            row("reading, tokens/s", format!("{:.1}", ours[0]), format!("{:.1}", theirs[0])),
            row("generating, tokens/s", format!("{:.1}", ours[1]), format!("{:.1}", theirs[1])),
        ];
        let positions = format!("text of {} tokens", comparison.positions.len());
        out.push('\n');
        out.push_str(&report::table(&[&positions, "model", "original"], &rows, 1));
    }
    report::print(&out)
}
