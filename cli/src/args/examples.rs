//! What stands below the flags in each command's help: examples, formats, exit codes.

pub(super) const GENERATE_EXAMPLES: &str = "\
Examples:
  infer --prompt 'Once upon a time'        (the built-in demonstration model, a teller of children's stories)
  infer --model ./SmolLM2-135M --prompt 'The capital of France is' -n 32
  infer --model ./SmolLM2-135M --prompt-file notes.txt --temperature 0.8 --top-p 0.95 --stats
  git log -5 | infer --model ./SmolLM2-135M --prompt-file - --stop commit

Exit codes:
  0 done, 1 a check failed, 2 wrong input or usage, 3 not enough resources,
  4 a file changed or could not be read while in use, 130 interrupted";

pub(super) const BENCH_EXAMPLES: &str = "\
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

pub(super) const CHECK_EXAMPLES: &str = "\
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
  in f32 arithmetic:     no logit differs by more than 1e-3, and every top-1 token and the
                         greedy continuation are the same
  with anything in bf16: the normalised mean squared error is at most 1e-4
  in int8 arithmetic:    the normalised mean squared error is at most 5e-4
  with --published:      one published variant is met within its tolerance
  with --max-kl:         the mean divergence from the other model is no more";

pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  infer inspect --model ./SmolLM2-135M
  infer inspect --model ./SmolLM2-135M -c 2048 --json";

pub(super) const CHAT_EXAMPLES: &str = "\
Examples:
  infer chat --model ./SmolLM2-135M-Instruct
  infer chat --model ./SmolLM2-135M-Instruct --system 'Answer in one sentence.' --temperature 0.7
  printf 'Hello\\nAnd in French?\\n' | infer chat --model ./SmolLM2-135M-Instruct

In the conversation, /help lists the commands, a line that ends with \\ goes on in the next, and
Ctrl-C stops an answer.";

pub(super) const PROMPT_EXAMPLES: &str = "\
Examples:
  infer prompt --model ./SmolLM2-135M-Instruct --chat --prompt 'Hello'
  infer prompt --model ./SmolLM2-135M-Instruct --messages conversation.json --json";

pub(super) const QUANTIZE_EXAMPLES: &str = "\
Examples:
  infer quantize --model ./SmolLM2-135M --to q8_0 smollm2-135m-q8_0.gguf
  infer quantize --model llama-3.2-1b-bf16.gguf --to q4_k_m llama-3.2-1b-q4_k_m.gguf

Types, with bits for each weight of a large model:
  q8_0 8.5, q6_k 6.6, q5_k_m 5.7, q4_k_m 4.8, q4_0 4.6; bf16, f16, f32: no quantisation

The mix of formats is llama-quantize's: with the types ending in _m some matrices get 6 bits, the
output head always does. The file loads in llama.cpp, with tokenizer and chat template.
How far its logits are from the original's: infer check --model NEW.gguf --against ORIGINAL";

pub(super) const SCORE_EXAMPLES: &str = "\
Examples:
  infer score --model ./SmolLM2-135M --prompt 'The capital of France is Paris' --top 3
  infer score --model ./SmolLM2-135M --prompt-file book.txt --stride 512 -c 1024
  infer score --model ./SmolLM2-135M --choices questions.jsonl --json

Log-probabilities are natural logarithms of the model's own probabilities, whatever the sampling.
--stride moves a window of the context's size over the text, as transformers' guide to perplexity
does: each token is scored once, with at least window - stride tokens before it.
Multiple choice: one JSON object a line, {\"context\": \"...\", \"choices\": [\"...\", \"...\"],
\"answer\": 0}; acc takes the likeliest choice, acc by length divides by its characters first.";

pub(super) const TOKENIZE_EXAMPLES: &str = "\
Examples:
  infer tokenize --model ./SmolLM2-135M --text 'Hello, world'
  infer tokenize --model ./SmolLM2-135M --prompt-file notes.txt --json";

pub(super) const DETOKENIZE_EXAMPLES: &str = "\
Examples:
  infer detokenize --model ./SmolLM2-135M 19556 28 905
  echo 19556 28 905 | infer detokenize --model ./SmolLM2-135M";
