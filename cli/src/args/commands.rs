//! The flags of each command.
//!
//! Not here: groups of flags that several commands have (`groups.rs`).

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use infer_engine::{Compute, KvDType};
use infer_kernels::Isa;

use super::groups::{ConversationArgs, EngineArgs, GrammarArgs, ModelArgs, QuantArgs, SamplingArgs, SpeculationArgs};
use super::values::{
    bench_format, compute, count, file_type, isa, kv_dtype, positive_count, positive_number, positive_series, probe_seconds,
    saturating_count, token_id, truncate,
};
use crate::commands::bench::Format;
use crate::quantised::mix::FileType;
use crate::series::Series;
use crate::truncate::Truncate;

/// Generating text.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// In how many bits.
    #[command(flatten)]
    pub quant: QuantArgs,
    /// Text to continue; an empty text starts from the model's beginning-of-text token
    #[arg(short = 'p', long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "prompt_file")]
    #[arg(help_heading = "Input and output")]
    pub prompt: Option<OsString>,
    /// Read the prompt from a file, or from standard input with -
    #[arg(short = 'f', long, value_name = "FILE", help_heading = "Input and output")]
    pub prompt_file: Option<PathBuf>,
    /// A conversation instead of a bare text.
    #[command(flatten)]
    pub conversation: ConversationArgs,
    /// Keep what was read of the prompt in FILE, and do not read again what FILE holds of it; the text is the same as without
    #[arg(long, value_name = "FILE", help_heading = "Input and output")]
    pub prompt_cache: Option<PathBuf>,
    /// Print the prompt before the generated text
    #[arg(long, help_heading = "Input and output")]
    pub echo: bool,
    /// Print timings and memory to standard error at the end
    #[arg(long, help_heading = "Input and output")]
    pub stats: bool,
    /// Print one JSON object at the end instead of the text as it comes: text, why it ended, tokens, times
    #[arg(long, conflicts_with = "echo", help_heading = "Input and output")]
    pub json: bool,
    /// Tell each token's log-probability and the N likeliest tokens of its place, at the end on standard error or with --json
    #[arg(long, value_name = "N", value_parser = saturating_count, allow_negative_numbers = true)]
    #[arg(help_heading = "Input and output")]
    pub logprobs: Option<usize>,
    /// Generate at most N tokens [default: until the model ends the text or the context is full]
    #[arg(short = 'n', long, value_name = "N", value_parser = saturating_count, allow_negative_numbers = true)]
    #[arg(help_heading = "Length")]
    pub max_tokens: Option<usize>,
    /// Tokens of prompt and text together; 0 means the model's own limit [default: that, as far as memory allows]
    #[arg(short = 'c', long, value_name = "N", value_parser = count, allow_negative_numbers = true, help_heading = "Length")]
    pub ctx_size: Option<usize>,
    /// Cut a prompt that leaves no room in the context: left drops its beginning, right its end, middle what is between
    #[arg(long, value_name = "left|right|middle", value_parser = truncate, help_heading = "Length")]
    pub truncate: Option<Truncate>,
    /// End the text before this string; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = "Length")]
    pub stop: Vec<String>,
    /// Never write this string: where it would come up, choose other tokens from where it begins; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = "Length")]
    pub ban: Vec<String>,
    /// Never choose an end-of-text token
    #[arg(long, help_heading = "Length")]
    pub ignore_eos: bool,
    /// What the text must be.
    #[command(flatten)]
    pub grammar: GrammarArgs,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// How passes are spared.
    #[command(flatten)]
    pub speculation: SpeculationArgs,
    /// How the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `infer chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// In how many bits.
    #[command(flatten)]
    pub quant: QuantArgs,
    /// Begin with this system message
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// Go on with a conversation that /save wrote
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    /// At most N tokens in an answer [default: until the model ends it or the context is full]
    #[arg(short = 'n', long, value_name = "N", value_parser = saturating_count, allow_negative_numbers = true)]
    pub max_tokens: Option<usize>,
    /// Tokens of the whole conversation; 0 means the model's own limit [default: that, as far as memory allows]
    #[arg(short = 'c', long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub ctx_size: Option<usize>,
    /// What each answer must be.
    #[command(flatten)]
    pub grammar: GrammarArgs,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// How passes are spared.
    #[command(flatten)]
    pub speculation: SpeculationArgs,
    /// How the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `infer prompt`.
#[derive(Debug, Args)]
pub struct PromptArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Text of the prompt, or of the last message
    #[arg(short = 'p', long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "prompt_file")]
    pub prompt: Option<OsString>,
    /// Read the text from a file, or from standard input with -
    #[arg(short = 'f', long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// A conversation instead of a bare text.
    #[command(flatten)]
    pub conversation: ConversationArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `infer bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// In how many bits.
    #[command(flatten)]
    pub quant: QuantArgs,
    /// Tokens of the prompts to read
    #[arg(short = 'p', long, value_name = "N", value_parser = Series::parse, default_value = "512")]
    #[arg(allow_hyphen_values = true, help_heading = "Tests")]
    pub n_prompt: Vec<Series>,
    /// Tokens to generate
    #[arg(short = 'n', long, value_name = "N", value_parser = Series::parse, default_value = "128")]
    #[arg(allow_hyphen_values = true, help_heading = "Tests")]
    pub n_gen: Vec<Series>,
    /// Tokens in the context before the test begins
    #[arg(short = 'd', long, value_name = "N", value_parser = Series::parse, default_value = "0")]
    #[arg(allow_hyphen_values = true, help_heading = "Tests")]
    pub n_depth: Vec<Series>,
    /// How often each test is repeated, after one run to warm up
    #[arg(short = 'r', long, value_name = "N", value_parser = positive_count, allow_negative_numbers = true)]
    #[arg(default_value = "5", help_heading = "Tests")]
    pub repetitions: NonZeroUsize,
    /// Seconds that measuring the machine's limits takes, for each number of threads
    #[arg(long, value_name = "S", value_parser = probe_seconds, allow_negative_numbers = true)]
    #[arg(default_value = "2", help_heading = "Tests")]
    pub probe_seconds: f64,
    /// Format of the results: md, json, jsonl or csv
    #[arg(short = 'o', long, value_name = "FORMAT", value_parser = bench_format, default_value = "md")]
    #[arg(help_heading = "Tests")]
    pub output: Format,
    /// Worker threads [default: the processors this process may use]
    #[arg(short = 't', long, value_name = "N", value_parser = positive_series, allow_hyphen_values = true)]
    #[arg(help_heading = "Engine")]
    pub threads: Vec<Series>,
    /// Instruction set to use [default: the best this processor has]
    #[arg(long, value_name = "ISA", value_parser = isa, help_heading = "Engine")]
    pub isa: Option<Isa>,
    /// Arithmetic of the matrix products: auto, f32 (exact), bf16 or int8
    #[arg(long, value_name = "TYPE", value_parser = compute, default_value = "auto", help_heading = "Engine")]
    pub compute: Compute,
    /// Storage of keys and values: f32, f16, bf16 or q8 [default: bf16; f32 with --compute f32 or weights in f32]
    #[arg(long, value_name = "TYPE", value_parser = kv_dtype, help_heading = "Engine")]
    pub kv_dtype: Option<KvDType>,
    /// Prompt tokens read in one pass
    #[arg(long, value_name = "N", value_parser = positive_count, allow_negative_numbers = true, default_value = "512")]
    #[arg(help_heading = "Engine")]
    pub prefill_chunk: NonZeroUsize,
}

/// `infer check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// In how many bits.
    #[command(flatten)]
    pub quant: QuantArgs,
    /// Safetensors file with input_ids, logits and optionally greedy_ids
    #[arg(long, value_name = "FILE", conflicts_with = "published", help_heading = "Reference")]
    pub reference: Option<PathBuf>,
    /// Compare with published logits: NAME, a .json file, `list`, or by default those that fit the model
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", help_heading = "Reference")]
    pub published: Option<String>,
    /// Compare with another model of the same shape: the weights, and on a text the next token's probabilities and the speed
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["reference", "published"], help_heading = "Reference")]
    pub against: Option<PathBuf>,
    /// Text on which two models are compared
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "against", conflicts_with = "text_file")]
    #[arg(help_heading = "Reference")]
    pub text: Option<OsString>,
    /// Read that text from a file, or from standard input with -
    #[arg(long, value_name = "FILE", requires = "against", help_heading = "Reference")]
    pub text_file: Option<PathBuf>,
    /// Fail if the mean KL divergence from the other model exceeds X nats
    #[arg(long, value_name = "X", value_parser = positive_number, requires = "against", allow_negative_numbers = true)]
    #[arg(help_heading = "Reference")]
    pub max_kl: Option<f64>,
    /// Print one JSON object
    #[arg(long, help_heading = "Reference")]
    pub json: bool,
    /// How the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `infer inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// In how many bits.
    #[command(flatten)]
    pub quant: QuantArgs,
    /// Context to plan memory for; 0 means the model's own limit [default: 0]
    #[arg(short = 'c', long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub ctx_size: Option<usize>,
    /// List every tensor instead of one line for those that repeat in each layer
    #[arg(long)]
    pub all: bool,
    /// Print one JSON object (it lists every tensor)
    #[arg(long)]
    pub json: bool,
}

/// `infer quantize`.
#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Type of the new file
    #[arg(long, value_name = "TYPE", value_parser = file_type)]
    pub to: FileType,
    /// The new file; one that is there already is replaced once the new one is whole
    #[arg(value_name = "OUT.gguf")]
    pub output: PathBuf,
    /// Worker threads [default: the processors this process may use]
    #[arg(short = 't', long, value_name = "N", value_parser = positive_count, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
}

/// `infer score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// In how many bits.
    #[command(flatten)]
    pub quant: QuantArgs,
    /// Text to score
    #[arg(short = 'p', long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "prompt_file")]
    pub prompt: Option<OsString>,
    /// Read the text from a file, or from standard input with -
    #[arg(short = 'f', long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// Score the endings of multiple-choice questions instead, one JSON object a line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "prompt_file", "stride"])]
    pub choices: Option<PathBuf>,
    /// Show the N likeliest tokens of each place
    #[arg(long, value_name = "N", value_parser = saturating_count, allow_negative_numbers = true, default_value = "0")]
    pub top: usize,
    /// Tell the perplexity of a text of any length: a window moves on by N tokens at a time
    #[arg(long, value_name = "N", value_parser = positive_count, allow_negative_numbers = true)]
    pub stride: Option<NonZeroUsize>,
    /// Tokens of the window; 0 means the model's own limit [default: that, as far as memory allows]
    #[arg(short = 'c', long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub ctx_size: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// How the model is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `infer tokenize`.
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Text to tokenise
    #[arg(long, alias = "prompt", value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "prompt_file")]
    pub text: Option<OsString>,
    /// Read the text from a file, or from standard input with -
    #[arg(short = 'f', long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// Do not add the tokens that the model expects around a text, such as beginning-of-text
    #[arg(long)]
    pub no_special: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `infer detokenize`.
#[derive(Debug, Args)]
pub struct DetokenizeArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Token ids [default: read from standard input, separated by spaces, commas or line ends]
    #[arg(value_name = "ID", value_parser = token_id, allow_negative_numbers = true)]
    pub ids: Vec<u32>,
    /// Leave out special tokens such as beginning-of-text
    #[arg(long)]
    pub skip_special: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
