//! The command line's syntax: flags, their types and their help. Here the commands; `commands.rs` has the flags of each.
//!
//! Not here: what a value means. Ranges of sampling parameters, defaults from files and limits of the machine belong to the commands.

mod commands;
mod examples;
mod groups;
mod refusal;
mod values;

use clap::{Parser, Subcommand};

pub use commands::{
    BenchArgs, ChatArgs, CheckArgs, DetokenizeArgs, GenerateArgs, InspectArgs, PromptArgs, QuantizeArgs, ScoreArgs, TokenizeArgs,
};
use examples::{
    BENCH_EXAMPLES, CHAT_EXAMPLES, CHECK_EXAMPLES, DETOKENIZE_EXAMPLES, GENERATE_EXAMPLES, INSPECT_EXAMPLES, PROMPT_EXAMPLES,
    QUANTIZE_EXAMPLES, SCORE_EXAMPLES, TOKENIZE_EXAMPLES,
};
pub use groups::{ConversationArgs, EngineArgs, GrammarArgs, ModelArgs, QuantArgs, SamplingArgs, SpeculationArgs};
pub use refusal::Refusal;

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

impl Cli {
    /// Parses the process's arguments; the error is a usage line, or the help or version text that was asked for.
    pub fn from_process() -> Result<Cli, Refusal> {
        Cli::try_parse().map_err(Refusal::from)
    }
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
            (
                ["--isa", "mmx"],
                "--isa: expected one of scalar, portable, avx2, avx_vnni, avx512, avx512_vnni, avx512_bf16, avx512_amx, found \"mmx\"",
            ),
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
