//! `--quant`: a float checkpoint with its matrices quantised, taken from the file that an earlier start kept, or made anew and kept.
//!
//! Config, tokenizer, chat template, norms and biases stay the original's: only matrices are replaced, for q4 by what `infer quantize` would
//! write. q8 is closer to the floats than a Q8_0 file is (`benches/QUALITY.md` has the figures): where little is gained and much is lost,
//! matrices stay floats, and down projections are multiplied by Hadamard matrices before they are rounded. Not here: the mix of formats
//! (`mix.rs`), encoding (`encode.rs`), and the kept file (`sidecar.rs`).

pub mod encode;
pub mod mix;
mod sidecar;

use std::path::PathBuf;

use infer_engine::{Config, Weights};
use infer_kernels::{DType, INT8_BLOCK, MATMUL_SCRATCH};
use infer_loaders::{Checkpoint, Fault, Tensor, TensorType, gguf_tensor_name};

use crate::progress::Progress;
use crate::report::{self, Failure};
use crate::resources::Memory;
use encode::Source;
use mix::{FileType, Shape};
use sidecar::Sidecar;

/// What `--quant` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quant {
    /// The name on the command line.
    pub name: &'static str,
    /// The type of `infer quantize` whose mix of formats it is.
    mix: &'static str,
    /// Whether less is to be lost than that mix loses.
    is_fine: bool,
}

/// Every choice.
pub const QUANTS: [Quant; 2] =
    [Quant { name: "q8", mix: "q8_0", is_fine: true }, Quant { name: "q4", mix: "q4_k_m", is_fine: false }];

/// Small matrices that lose much, and so stay floats where little may be lost: values, and what attention adds to the residual stream.
const STAY_FLOAT: [&str; 2] = [".attn_v.weight", ".attn_output.weight"];

/// The matrix whose inputs have few large numbers among many small ones, and what spreads those: a Hadamard matrix of the order of a block.
const SPREAD: &str = ".ffn_down.weight";
const SPREAD_ORDER: usize = INT8_BLOCK;

impl Quant {
    /// The choice of this name.
    pub fn parse(name: &str) -> Option<Quant> {
        QUANTS.into_iter().find(|quant| quant.name == name)
    }

    /// Whether the matrix of this name in GGUF stays a float, of at most 16 bits.
    fn stays_float(&self, name: &str) -> bool {
        self.is_fine && STAY_FLOAT.iter().any(|end| name.ends_with(end))
    }

    /// The order of the Hadamard matrix by which rows of the matrix of this name are multiplied.
    fn hadamard(&self, name: &str) -> usize {
        if self.is_fine && name.ends_with(SPREAD) { SPREAD_ORDER } else { 1 }
    }
}

/// How quantised weights are had.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What is asked for.
    pub quant: Quant,
    /// Whether they are kept for the next start, and taken from where an earlier one kept them.
    pub is_cached: bool,
    /// Whether a kept file is mapped.
    pub mmap: bool,
    /// Threads that quantise.
    pub n_threads: usize,
}

/// A matrix that is quantised, under its name in GGUF files, and the format.
struct Part<'c> {
    tensor: &'c Tensor,
    name: String,
    dtype: DType,
    /// The order of the Hadamard matrix by which its rows are multiplied.
    hadamard: usize,
    n_bytes: usize,
}

/// The file that is kept, or would be, for a checkpoint.
pub struct Kept {
    /// What it is quantised to.
    pub quant: Quant,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of its weights.
    pub n_bytes: u64,
    /// The checkpoint's matrices from it; none if it is not there, or a start would make it anew.
    pub tensors: Option<Vec<Tensor>>,
}

/// `checkpoint`, whose files are mapped, with its matrices quantised. A warning says where they could not be kept.
///
/// # Errors
/// If a weight is no float or none that the format can say, memory is short, or a file changes meanwhile.
pub fn quantised(checkpoint: Checkpoint, options: &Options) -> Result<Checkpoint, Failure> {
    let parts = parts(&checkpoint, options.quant)?;
    // A model that does not run is not worth the work.
    Weights::bind(&checkpoint, &Config::from_checkpoint(&checkpoint)?)?;
    let tensors = if parts.is_empty() {
        let path = checkpoint.path().display();
        report::warn(&format!("{path}: --quant: no effect: no matrix has rows of whole blocks, of 32 weights or 256"));
        Vec::new()
    } else if options.is_cached {
        kept_or_made(&checkpoint, &parts, options)?
    } else {
        made_in_memory(&checkpoint, &parts, options)?
    };
    let checkpoint = checkpoint.with_tensors(tensors);
    if options.mmap { Ok(checkpoint) } else { Ok(checkpoint.into_memory()?) }
}

/// What is kept of a checkpoint, without making anything; nothing where there is no matrix to quantise or no place to keep it.
///
/// # Errors
/// If the checkpoint cannot be quantised.
pub fn kept(checkpoint: &Checkpoint, quant: Quant) -> Result<Option<Kept>, Failure> {
    let parts = parts(checkpoint, quant)?;
    let Some(Ok(sidecar)) = (!parts.is_empty()).then(|| Sidecar::new(checkpoint, quant, &parts)) else { return Ok(None) };
    let tensors = sidecar.read(&parts, true).ok().flatten();
    Ok(Some(Kept { quant, path: sidecar.path().to_owned(), n_bytes: total(&parts), tensors }))
}

/// The matrices that are quantised. A matrix whose rows are no whole blocks of any format, or longer than products of blocks take, stays as
/// it is.
fn parts(checkpoint: &Checkpoint, quant: Quant) -> Result<Vec<Part<'_>>, Failure> {
    let config = Config::from_checkpoint(checkpoint)?;
    let shape = Shape {
        n_layers: config.n_layers,
        group_size: config.group_size(),
        is_tied: checkpoint.tensor("lm_head.weight").is_none(),
    };
    let mix = FileType::parse(quant.mix).unwrap_or(mix::FILE_TYPES[0]);
    let mut parts = Vec::new();
    for tensor in checkpoint.tensors() {
        let TensorType::Weights(from) = tensor.dtype() else { continue };
        if from.block_len() > 1 {
            return Err(tensor.error(format_args!("floats, which --quant {} quantises", quant.name), from).into());
        }
        let ([n, k], Some(name)) = (tensor.shape(), gguf_tensor_name(tensor.name())) else { continue };
        let dtype = mix.of_tensor(&name, tensor.shape(), shape);
        if dtype.block_len() == 1 || *k > MATMUL_SCRATCH {
            continue;
        }
        let dtype = match quant.stays_float(&name) {
            false => dtype,
            // Of 16 bits, which lose nothing beside what bytes lose.
            true if from == DType::F32 => DType::BF16,
            true => continue,
        };
        let n_bytes = dtype.row_bytes(*k).and_then(|row| row.checked_mul(*n));
        if let Some(n_bytes) = n_bytes.filter(|&n| n > 0) {
            let hadamard = quant.hadamard(&name);
            parts.push(Part { tensor, name, dtype, hadamard, n_bytes });
        }
    }
    Ok(parts)
}

fn total(parts: &[Part<'_>]) -> u64 {
    parts.iter().map(|part| part.n_bytes as u64).sum()
}

/// The matrices from the kept file; where there is none that serves, it is made. A place that takes no file is told and done without.
fn kept_or_made(checkpoint: &Checkpoint, parts: &[Part<'_>], options: &Options) -> Result<Vec<Tensor>, Failure> {
    let made = Sidecar::new(checkpoint, options.quant, parts).map_err(Trouble::Keeping).and_then(|sidecar| {
        let wrong = match sidecar.read(parts, options.mmap) {
            Ok(Some(tensors)) => return Ok(tensors),
            Ok(None) => None,
            Err(error) if error.fault() == Fault::Resources => return Err(Trouble::Else(error.into())),
            Err(error) => Some(Failure::from(error)),
        };
        let mut file = sidecar.create(parts).map_err(Trouble::Keeping)?;
        make(parts, options, &mut |_, bytes| file.write(bytes).map_err(Trouble::Keeping))?;
        checkpoint.verify_unchanged().map_err(Failure::from)?;
        file.finish().map_err(Trouble::Keeping)?;
        if let Some(wrong) = wrong {
            report::warn(&format!("{}: quantised anew", wrong.line()));
        }
        let read = sidecar.read(parts, options.mmap).map_err(Failure::from)?;
        // Someone else's start may have put the file of another version in its place.
        read.ok_or_else(|| Trouble::Keeping(sidecar.replaced()))
    });
    match made {
        Ok(tensors) => Ok(tensors),
        Err(Trouble::Else(failure)) => Err(failure),
        Err(Trouble::Keeping(failure)) => {
            report::warn(&format!("{} (quantised weights are not kept for the next start)", failure.line()));
            made_in_memory(checkpoint, parts, options)
        }
    }
}

/// What went wrong: with the file that keeps the weights, which can be done without, or with something else.
enum Trouble {
    Keeping(Failure),
    Else(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Else(failure)
    }
}

/// The matrices in memory of their own.
fn made_in_memory(checkpoint: &Checkpoint, parts: &[Part<'_>], options: &Options) -> Result<Vec<Tensor>, Failure> {
    let path = checkpoint.path().display();
    let short = |found: String| {
        Failure::resources(format!("{path}: expected {} for the quantised weights, found {found}", report::bytes(total(parts))))
    };
    if let Some((left, name)) = Memory::now().available().filter(|&(left, _)| left < total(parts)) {
        return Err(short(format!("{} left of {name}", report::bytes(left))));
    }
    let mut made: Vec<Vec<u8>> = Vec::new();
    make::<Failure>(parts, options, &mut |part, bytes| {
        if made.len() <= part {
            let mut data = Vec::new();
            // With room to move the beginning to where vectors like it.
            let wanted = parts.get(part).map_or(0, |part| part.n_bytes).saturating_add(64);
            data.try_reserve_exact(wanted).map_err(|_| short("less memory".to_owned()))?;
            made.push(data);
        }
        if let Some(data) = made.get_mut(part) {
            data.extend_from_slice(bytes);
        }
        Ok(())
    })?;
    checkpoint.verify_unchanged()?;
    let tensor = |(part, data): (&Part<'_>, _)| Ok(part.tensor.recoded(part.dtype, data)?.with_hadamard(part.hadamard));
    parts.iter().zip(made).map(tensor).collect()
}

/// Receives the number of a matrix and its next bytes.
type Take<'t, E> = dyn FnMut(usize, &[u8]) -> Result<(), E> + 't;

/// Quantises all matrices in their order, on all threads, and calls `take` with the number of each and its next bytes.
fn make<E: From<Failure>>(parts: &[Part<'_>], options: &Options, take: &mut Take<'_, E>) -> Result<(), E> {
    let mut progress = Progress::of_bytes(format!("quantising to {}", options.quant.name));
    let (mut done, total) = (0, usize::try_from(total(parts)).unwrap_or(usize::MAX));
    for (number, part) in parts.iter().enumerate() {
        let source = Source::new(part.tensor, None)?.with_hadamard(part.hadamard);
        encode::each_batch(&source, part.dtype, options.n_threads, &mut |bytes| {
            done += bytes.len();
            progress.update(done, total);
            take(number, bytes)
        })?;
    }
    Ok(())
}
