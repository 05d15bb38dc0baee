//! The command line's syntax: flags, their types and their help.
//!
//! Not here: what a value means. Ranges of sampling parameters, defaults from files and limits of the machine belong to the commands.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use infer_engine::{Compute, KvDType, Speculation, Steps};
use infer_kernels::Isa;

use crate::commands::bench::Format;
use crate::quantised::mix::{FILE_TYPES, FileType};
use crate::quantised::{QUANTS, Quant};
use crate::report::Failure;
use crate::series::Series;
use crate::truncate::Truncate;

const GENERATE_EXAMPLES: &str = "\
Examples:
  infer --prompt 'Once upon a time'        (the built-in demonstration model, a teller of children's stories)
  infer --model ./SmolLM2-135M --prompt 'The capital of France is' -n 32
  infer --model ./SmolLM2-135M --prompt-file notes.txt --temperature 0.8 --top-p 0.95 --stats
  git log -5 | infer --model ./SmolLM2-135M --prompt-file - --stop commit

Exit codes:
  0 done, 1 a check failed, 2 wrong input or usage, 3 not enough resources,
  4 a file changed or could not be read while in use, 130 interrupted";

const BENCH_EXAMPLES: &str = "\
Examples:
  infer bench --model ./SmolLM2-135M
  infer bench --model ./SmolLM2-135M -p 128-1024*2 -n 0 -t 1,2
  infer bench --model ./SmolLM2-135M -p 512 -n 128 -d 0,4096 -r 3 -o json

Numbers may be lists (1,2,4) and ranges (0-64+16 in steps, 128-1024*2 in multiples); every
combination is a test: prompts (pp) and generations (tg), each behind every depth (@ d).

Columns besides llama-bench's:
  GB/s       weights and KV cache that the test has to read, each pass once
  of memory  that, as a fraction of the fastest read of memory measured in this run
  GMAC/s     multiply-adds that the test has to do
  of peak    that, as a fraction of the fastest rate of that arithmetic measured in this run
  limit t/s  tokens per second if memory or arithmetic, whichever binds, ran at its limit";

const CHECK_EXAMPLES: &str = "\
Examples:
  infer check --model ./SmolLM2-135M --reference logits.safetensors --compute f32
  infer check --model ./Qwen2-0.5B --published
  infer check --published list
  infer check --model q4_k_m.gguf --against ./SmolLM2-135M --text-file notes.txt

Reference file (safetensors):
  input_ids   int64, [n]
  logits      float32, [n, vocabulary]
  greedy_ids  int64, the input and its greedy continuation; may be left out

The check passes (exit code 0, else 1) when
  in f32 arithmetic:   no logit differs by more than 1e-3, and every top-1 token and the
                       greedy continuation are the same
  in bf16 arithmetic:  the normalised mean squared error is at most 1e-4
  in int8 arithmetic:  the normalised mean squared error is at most 5e-4
  with --published:    one published variant is met within its tolerance
  with --max-kl:       the mean divergence from the other model is no more";

const INSPECT_EXAMPLES: &str = "\
Examples:
  infer inspect --model ./SmolLM2-135M
  infer inspect --model ./SmolLM2-135M -c 2048 --json";

const CHAT_EXAMPLES: &str = "\
Examples:
  infer chat --model ./SmolLM2-135M-Instruct
  infer chat --model ./SmolLM2-135M-Instruct --system 'Answer in one sentence.' --temperature 0.7
  printf 'Hello\\nAnd in French?\\n' | infer chat --model ./SmolLM2-135M-Instruct

In the conversation, /help lists the commands, a line that ends with \\ goes on in the next, and
Ctrl-C stops an answer.";

const PROMPT_EXAMPLES: &str = "\
Examples:
  infer prompt --model ./SmolLM2-135M-Instruct --chat --prompt 'Hello'
  infer prompt --model ./SmolLM2-135M-Instruct --messages conversation.json --json";

const QUANTIZE_EXAMPLES: &str = "\
Examples:
  infer quantize --model ./SmolLM2-135M --to q8_0 smollm2-135m-q8_0.gguf
  infer quantize --model llama-3.2-1b-bf16.gguf --to q4_k_m llama-3.2-1b-q4_k_m.gguf

Types, with bits for each weight of a large model:
  q8_0 8.5, q6_k 6.6, q5_k_m 5.7, q4_k_m 4.8, q4_0 4.6; bf16, f16, f32: no quantisation

The mix of formats is llama-quantize's: with the types ending in _m some matrices get 6 bits, the
output head always does. The file loads in llama.cpp, with tokenizer and chat template.
How far its logits are from the original's: infer check --model NEW.gguf --against ORIGINAL";

const SCORE_EXAMPLES: &str = "\
Examples:
  infer score --model ./SmolLM2-135M --prompt 'The capital of France is Paris' --top 3
  infer score --model ./SmolLM2-135M --prompt-file book.txt --stride 512 -c 1024
  infer score --model ./SmolLM2-135M --choices questions.jsonl --json

Log-probabilities are natural logarithms of the model's own probabilities, whatever the sampling.
--stride moves a window of the context's size over the text, as transformers' guide to perplexity
does: each token is scored once, with at least window - stride tokens before it.
Multiple choice: one JSON object a line, {\"context\": \"...\", \"choices\": [\"...\", \"...\"],
\"answer\": 0}; acc takes the likeliest choice, acc by length divides by its characters first.";

const TOKENIZE_EXAMPLES: &str = "\
Examples:
  infer tokenize --model ./SmolLM2-135M --text 'Hello, world'
  infer tokenize --model ./SmolLM2-135M --prompt-file notes.txt --json";

const DETOKENIZE_EXAMPLES: &str = "\
Examples:
  infer detokenize --model ./SmolLM2-135M 19556 28 905
  echo 19556 28 905 | infer detokenize --model ./SmolLM2-135M";

/// Run a language model on the CPU: text in, text out.
#[derive(Debug, Parser)]
#[command(name = "infer", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(max_term_width = 100, after_help = GENERATE_EXAMPLES)]
pub struct Cli {
    /// Another job than generating text.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of the default job, generating text.
    #[command(flatten)]
    pub generate: GenerateArgs,
}

/// The jobs besides generating text.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure speed, and what fraction of this machine's limits it is
    #[command(after_help = BENCH_EXAMPLES, max_term_width = 100)]
    Bench(BenchArgs),
    /// Compare logits with a reference, position by position
    #[command(after_help = CHECK_EXAMPLES, max_term_width = 100)]
    Check(CheckArgs),
    /// Talk with a model
    #[command(after_help = CHAT_EXAMPLES, max_term_width = 100)]
    Chat(Box<ChatArgs>),
    /// Show what a prompt becomes: its text, and each token with where it comes from
    #[command(after_help = PROMPT_EXAMPLES, max_term_width = 100)]
    Prompt(PromptArgs),
    /// Show what is in a checkpoint: architecture, tensors, sizes, memory plan
    #[command(after_help = INSPECT_EXAMPLES, max_term_width = 100)]
    Inspect(InspectArgs),
    /// Write a GGUF file of a model, with fewer bits for each weight
    #[command(after_help = QUANTIZE_EXAMPLES, max_term_width = 100)]
    Quantize(QuantizeArgs),
    /// Tell how likely a model holds a text: token by token, its perplexity, or which of several endings
    #[command(after_help = SCORE_EXAMPLES, max_term_width = 100)]
    Score(ScoreArgs),
    /// Turn text into token ids
    #[command(after_help = TOKENIZE_EXAMPLES, max_term_width = 100)]
    Tokenize(TokenizeArgs),
    /// Turn token ids into text
    #[command(after_help = DETOKENIZE_EXAMPLES, max_term_width = 100)]
    Detokenize(DetokenizeArgs),
}

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
    /// Storage of keys and values: f32, f16, bf16 or q8 [default: bf16 if activations are rounded and the CPU multiplies bf16, else f32]
    #[arg(long, value_name = "TYPE", value_parser = kv_dtype)]
    pub kv_dtype: Option<KvDType>,
    /// Prompt tokens read in one pass; changes speed and memory, never the result
    #[arg(long, value_name = "N", value_parser = positive_count, allow_negative_numbers = true, default_value = "512")]
    pub prefill_chunk: NonZeroUsize,
    /// Look for NaN and infinity in the weights before starting
    #[arg(long)]
    pub check_tensors: bool,
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
    /// Storage of keys and values: f32, f16, bf16 or q8 [default: bf16 if activations are rounded and the CPU multiplies bf16, else f32]
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

impl Cli {
    /// Parses the process's arguments; the error is a usage line, or the help or version text that was asked for.
    pub fn from_process() -> Result<Cli, Refusal> {
        Cli::try_parse().map_err(Refusal::from)
    }
}

/// Why there are no arguments to run with.
#[derive(Debug)]
pub enum Refusal {
    /// `--help` or `--version`: text for standard output.
    Asked(String),
    /// A usage error, as one line.
    Usage(Failure),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Refusal {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Refusal::Asked(error.render().to_string());
        }
        Refusal::Usage(Failure::input(one_line(&error)))
    }
}

/// clap's message without its usage text and with our words for a bad value: "--flag: expected X, found Y".
fn one_line(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // InvalidArg reads "--top-k <K>" or "[ID]...".
    let flag = text(ContextKind::InvalidArg).map(|arg| arg.split(" <").next().unwrap_or(arg));
    let flag = flag.map(|flag| flag.trim_matches(['[', ']', '<', '>', '.']));
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    // clap does not say which argument it is.
    if error.kind() == ErrorKind::InvalidUtf8 {
        return "arguments: expected UTF-8 text in each flag and value, found other bytes".to_string();
    }
    if let (ErrorKind::ValueValidation, Some(flag), Some(expected)) = (error.kind(), flag, std::error::Error::source(error)) {
        return format!("{flag}: {expected}, found {value:?}");
    }
    if let (ErrorKind::InvalidValue, Some(flag), true) = (error.kind(), flag, value.is_empty()) {
        return format!("{flag}: expected a value, found nothing");
    }
    let rendered = error.render().to_string();
    let lines =
        rendered.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"));
    let mut line = String::new();
    for part in lines.filter(|l| !l.is_empty()) {
        let separator = if line.is_empty() || line.ends_with(':') { "" } else { ";" };
        line.push_str(separator);
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(part.strip_prefix("error: ").unwrap_or(part));
    }
    line
}

fn count(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| "expected a whole number, 0 or more")
}

/// A count where a number too large for this machine means the same as the largest: there is no such vocabulary or text.
fn saturating_count(text: &str) -> Result<usize, &'static str> {
    match text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        true => count(text),
        false => Ok(text.parse().unwrap_or(usize::MAX)),
    }
}

fn positive_count(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "expected a whole number, 1 or more")
}

fn positive_series(text: &str) -> Result<Series, &'static str> {
    let series = Series::parse(text)?;
    if series.0.contains(&0) { Err("expected whole numbers, 1 or more") } else { Ok(series) }
}

fn probe_seconds(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 60.0);
    seconds.ok_or("expected a number of seconds, more than 0 and at most 60")
}

fn bench_format(text: &str) -> Result<Format, &'static str> {
    Format::parse(text).ok_or("expected md, json, jsonl or csv")
}

fn positive_number(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0).ok_or("expected a number, 0 or more")
}

fn quant(text: &str) -> Result<Quant, String> {
    let names = || QUANTS.map(|quant| quant.name).join(" or ");
    Quant::parse(text).ok_or_else(|| format!("expected {}", names()))
}

fn file_type(text: &str) -> Result<FileType, String> {
    let names = || FILE_TYPES.map(|kind| kind.name).join(", ");
    FileType::parse(text).ok_or_else(|| format!("expected one of {}", names()))
}

fn token_id(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "expected a token id, a whole number below 2^32")
}

fn seed(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "expected a whole number from 0 to 18446744073709551615")
}

fn number(text: &str) -> Result<f32, &'static str> {
    text.parse().map_err(|_| "expected a number")
}

fn steps(text: &str) -> Result<Steps, String> {
    text.parse()
}

/// `TOKEN=B`; the last `=` is the one meant, a text may hold others.
fn logit_bias(text: &str) -> Result<(String, f32), &'static str> {
    let parts = text.rsplit_once('=').and_then(|(token, bias)| Some((token.to_owned(), bias.parse::<f32>().ok()?)));
    let is_good = |(token, bias): &(String, f32)| !token.is_empty() && !bias.is_nan() && *bias != f32::INFINITY;
    parts.filter(is_good).ok_or("expected a token's id or a text, =, and a number or -inf")
}

fn isa(text: &str) -> Result<Isa, String> {
    text.parse().map_err(|_| format!("expected one of {}", names(Isa::ALL)))
}

fn truncate(text: &str) -> Result<Truncate, &'static str> {
    text.parse()
}

fn speculation(text: &str) -> Result<Speculation, &'static str> {
    text.parse()
}

fn compute(text: &str) -> Result<Compute, &'static str> {
    text.parse().map_err(|_| "expected auto, f32, bf16 or int8")
}

fn kv_dtype(text: &str) -> Result<KvDType, &'static str> {
    text.parse().map_err(|_| "expected f32, f16, bf16 or q8")
}

fn names(all: &[Isa]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn usage_line(args: &[&str]) -> String {
        match Cli::try_parse_from([&["infer"], args].concat()).map_err(Refusal::from) {
            Err(Refusal::Usage(failure)) => failure.line().to_string(),
            other => format!("no usage error but {other:?}"),
        }
    }

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_values_name_the_flag_what_was_expected_and_what_was_found() {
        for (args, line) in [
            (["--seed", "-1"], "--seed: expected a whole number from 0 to 18446744073709551615, found \"-1\""),
            (
                ["--seed", "18446744073709551616"],
                "--seed: expected a whole number from 0 to 18446744073709551615, found \"18446744073709551616\"",
            ),
            (["--threads", "0"], "--threads: expected a whole number, 1 or more, found \"0\""),
            (["--top-k", "-1"], "--top-k: expected a whole number, 0 or more, found \"-1\""),
            (["--temperature", "warm"], "--temperature: expected a number, found \"warm\""),
            (["--logit-bias", "5"], "--logit-bias: expected a token's id or a text, =, and a number or -inf, found \"5\""),
            (["--logit-bias", "=1"], "--logit-bias: expected a token's id or a text, =, and a number or -inf, found \"=1\""),
            (
                ["--logit-bias", "5=inf"],
                "--logit-bias: expected a token's id or a text, =, and a number or -inf, found \"5=inf\"",
            ),
            (["--samplers", "top_k;top_k"], "--samplers: expected each name at most once, found \"top_k;top_k\""),
            (["--dry-allowed-length", "x"], "--dry-allowed-length: expected a whole number, 0 or more, found \"x\""),
            (["--compute", "f8"], "--compute: expected auto, f32, bf16 or int8, found \"f8\""),
            (["--kv-dtype", "q4"], "--kv-dtype: expected f32, f16, bf16 or q8, found \"q4\""),
            (["--isa", "mmx"], "--isa: expected one of scalar, portable, avx2, avx512, avx512_bf16, found \"mmx\""),
            (["-n", "1.5"], "--max-tokens: expected a whole number, 0 or more, found \"1.5\""),
        ] {
            assert_eq!(usage_line(&args), line);
        }
    }

    #[test]
    fn other_usage_errors_are_one_line_too() {
        for args in [
            &["--promt", "x"][..],
            &["--prompt", "x", "--prompt-file", "y"],
            &["--prompt"],
            &["check", "--reference"],
            &["check", "--reference", "x", "--published", "y"],
            &["detokenize", "1", "x"],
            &["nonsense"],
        ] {
            let line = usage_line(args);
            assert!(!line.is_empty() && !line.contains(['\n', '\r']) && !line.contains("Usage"), "{args:?}: {line:?}");
            assert!(!line.starts_with("error") && !line.starts_with("no usage error"), "{args:?}: {line:?}");
        }
    }

    #[test]
    fn counts_too_large_for_a_word_saturate_where_that_means_the_same() {
        let cli = Cli::try_parse_from(["infer", "-n", "99999999999999999999999", "--top-k", "18446744073709551616"]).unwrap();
        assert_eq!((cli.generate.max_tokens, cli.generate.sampling.top_k), (Some(usize::MAX), Some(usize::MAX)));
    }
}
