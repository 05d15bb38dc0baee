//! Groups of flags that several commands have.
//!
//! Not here: what only one command has (`commands.rs`).

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use infer_engine::{Compute, KvDType, Speculation, Steps};
use infer_kernels::Isa;

use super::values::{
    compute, count, isa, kv_dtype, logit_bias, number, positive_count, quant, saturating_count, seed, speculation, steps,
};
use crate::quantised::Quant;

/// Where the model is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Folder in Hugging Face layout, a .safetensors file beside its config.json, or a .gguf file [default: the built-in model]
    #[arg(short = 'm', long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Read the weights into memory instead of mapping the file
    #[arg(long)]
    pub no_mmap: bool,
}

/// Whether float weights are quantised.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct QuantArgs {
    /// Quantise a float model to 8 or 4 bits for each weight; the result is kept in the cache folder for the next start
    #[arg(long, value_name = "q8|q4", value_parser = quant)]
    pub quant: Option<Quant>,
    /// Neither keep what --quant makes nor take what an earlier start kept
    #[arg(long, requires = "quant")]
    pub no_cache: bool,
}

/// How the model is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// Worker threads [default: the processors this process may use]
    #[arg(short = 't', long, value_name = "N", value_parser = positive_count, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
    /// Instruction set to use [default: the best this processor has]
    #[arg(long, value_name = "ISA", value_parser = isa)]
    pub isa: Option<Isa>,
    /// Arithmetic of the matrix products: auto, f32 (exact), bf16 or int8
    #[arg(long, value_name = "TYPE", value_parser = compute, default_value = "auto")]
    pub compute: Compute,
    /// Storage of keys and values: f32, f16, bf16 or q8 [default: bf16; f32 with --compute f32 or weights in f32]
    #[arg(long, value_name = "TYPE", value_parser = kv_dtype)]
    pub kv_dtype: Option<KvDType>,
    /// Prompt tokens read in one pass; changes speed and memory, never the result
    #[arg(long, value_name = "N", value_parser = positive_count, allow_negative_numbers = true, default_value = "512")]
    pub prefill_chunk: NonZeroUsize,
    /// Look for NaN and infinity in the weights before starting
    #[arg(long)]
    pub check_tensors: bool,
}

/// How passes are spared.
#[derive(Debug, Args)]
#[command(next_help_heading = "Speculation (changes the speed, never the text)")]
pub struct SpeculationArgs {
    /// Draft tokens where text repeats, to verify several in one pass: auto (where that pays), off, or N at a time
    #[arg(long, value_name = "auto|off|N", value_parser = speculation, default_value = "auto")]
    pub speculate: Speculation,
    /// Let a smaller model with the same vocabulary draft, too
    #[arg(long, value_name = "PATH")]
    pub draft: Option<PathBuf>,
}

/// Overrides of the model's sampling defaults. Ranges are the sampler's business.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling (defaults: generation_config.json, else greedy)")]
pub struct SamplingArgs {
    /// 0 always takes the likeliest token (greedy); higher is more varied
    #[arg(long, alias = "temp", value_name = "T", value_parser = number, allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Choose among the K likeliest tokens; 0 is off
    #[arg(long, value_name = "K", value_parser = saturating_count, allow_negative_numbers = true)]
    pub top_k: Option<usize>,
    /// Choose among the likeliest tokens that together have probability P; 1 is off
    #[arg(long, value_name = "P", value_parser = number, allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Drop tokens less than P times as likely as the likeliest; 0 is off
    #[arg(long, value_name = "P", value_parser = number, allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Divide the logits of tokens that occurred already by X; 1 is off
    #[arg(long, alias = "repetition-penalty", value_name = "X", value_parser = number, allow_negative_numbers = true)]
    pub repeat_penalty: Option<f32>,
    /// Subtract X from the logits of tokens that were generated already; 0 is off
    #[arg(long, value_name = "X", value_parser = number, allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Subtract X from a token's logit for each time it was generated; 0 is off
    #[arg(long, value_name = "X", value_parser = number, allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// Choose among the tokens of typical information that together have probability P; 1 is off
    #[arg(long, alias = "typical", value_name = "P", value_parser = number, allow_negative_numbers = true)]
    pub typical_p: Option<f32>,
    /// Drop tokens more than X standard deviations below the highest logit; 0 is off
    #[arg(long, value_name = "X", value_parser = number, allow_negative_numbers = true)]
    pub top_n_sigma: Option<f32>,
    /// With probability P, drop all likely tokens but the least likely of them (XTC); 0 is off
    #[arg(long, value_name = "P", value_parser = number, allow_negative_numbers = true)]
    pub xtc_probability: Option<f32>,
    /// A token of at least probability P is likely, to XTC [default: 0.1]
    #[arg(long, value_name = "P", value_parser = number, allow_negative_numbers = true)]
    pub xtc_threshold: Option<f32>,
    /// Subtract X times base^(length - allowed) from the logit of a token that would go on with a repetition (DRY); 0 is off
    #[arg(long, value_name = "X", value_parser = number, allow_negative_numbers = true)]
    pub dry_multiplier: Option<f32>,
    /// The base of that penalty [default: 1.75]
    #[arg(long, value_name = "X", value_parser = number, allow_negative_numbers = true)]
    pub dry_base: Option<f32>,
    /// Tokens that may repeat before it grows [default: 2]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub dry_allowed_length: Option<usize>,
    /// Look for repetitions in the last N tokens of prompt and text [default: all]
    // All, as DRY's author does, not the 64 of the repetition penalty: the repetitions that DRY is for are longer than that.
    #[arg(long, value_name = "N", value_parser = saturating_count, allow_negative_numbers = true)]
    pub dry_penalty_last_n: Option<usize>,
    /// No repetition reaches across this text; may be given several times [default: line end : " *]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub dry_sequence_breaker: Vec<String>,
    /// Add B to the logit of a token, given by its id or by a text (each token of it); -inf forbids it; may be given several times
    #[arg(long, value_name = "TOKEN=B", value_parser = logit_bias, allow_hyphen_values = true)]
    pub logit_bias: Vec<(String, f32)>,
    /// The steps that run, in their order, with ; between them [default: penalties; dry; top_n_sigma; temperature; top_k; top_p; min_p; typ_p;
    /// xtc]
    #[arg(long, value_name = "A;B", value_parser = steps)]
    pub samplers: Option<Steps>,
    /// Seed of the random numbers: the same seed, the same text [default: 0]
    #[arg(long, value_name = "S", value_parser = seed, allow_negative_numbers = true)]
    pub seed: Option<u64>,
}

/// What a text must be.
#[derive(Debug, Args)]
#[command(next_help_heading = "Structure")]
#[group(multiple = false)]
pub struct GrammarArgs {
    /// Write JSON that is valid under this schema: a file, or the schema itself
    #[arg(long, value_name = "FILE|JSON", allow_hyphen_values = true)]
    pub json_schema: Option<String>,
    /// Write what matches this regular expression, from beginning to end
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    pub regex: Option<String>,
    /// Write what the rule start of this Lark grammar derives
    #[arg(long, value_name = "FILE")]
    pub grammar: Option<PathBuf>,
}

/// A prompt as a conversation.
#[derive(Debug, Args)]
#[command(next_help_heading = "Conversation")]
pub struct ConversationArgs {
    /// Put the prompt into the model's chat template, as a user's message
    #[arg(long)]
    pub chat: bool,
    /// Read messages from a JSON file: a list of objects with role and content, or an object with messages and tools
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    /// Begin with this system message
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
}
