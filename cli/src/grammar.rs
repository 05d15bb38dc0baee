//! Grammars that a text must follow: JSON schemas, regular expressions, Lark grammars, as constraints on tokens.
//!
//! The automata and the masks are the `llguidance` crate's; here is what lies between it and the engine: the vocabulary as bytes, the
//! end-of-text tokens, bounds for grammars from anywhere, and one line where one is no good. Not here: which tokens are likely.
//!
//! **End of text.** The vocabulary that llguidance sees has one token more than the model's, which stands for the end. Where a text may end,
//! the model's own end-of-text tokens, all of them, are let through; no other special token ever is, for it has no text.

use std::panic::{AssertUnwindSafe, catch_unwind};

use infer_engine::Constraint;
use infer_loaders::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;

use crate::error::Error;

/// The longest grammar that is read, in bytes, and how deep its brackets may nest: the compiler is recursive.
const MAX_BYTES: usize = 4 << 20;
const MAX_DEPTH: usize = 100;

/// White space between the parts of JSON: enough for any usual layout, and an end for a model that likes nothing better.
const JSON_SPACE: &str = r"[ ]|\n[ \t]{0,32}";

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// JSON that is valid under this schema, itself JSON; see llguidance's list of what of JSON Schema it knows.
    JsonSchema(String),
    /// What matches this regular expression, from beginning to end; in the syntax of the `regex` crate, without anchors or look-around.
    Regex(String),
    /// What the rule `start` of this grammar derives, in llguidance's variant of Lark.
    Lark(String),
}

/// The vocabulary of a model, ready for grammars. Building it takes a moment, and one does for all grammars.
pub(crate) struct Vocabulary {
    factory: ParserFactory,
    /// The id that stands for the end.
    end: u32,
}

impl Vocabulary {
    /// Of `tokenizer`.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Vocabulary, Error> {
        let end = tokenizer.vocab_size() as u32;
        let mut words: Vec<Vec<u8>> = (0..end).map(|id| tokenizer.token_bytes(id).unwrap_or_default()).collect();
        if words.iter().all(Vec::is_empty) {
            let expected = "a tokenizer whose tokens have a text of their own";
            return Err(Error::invalid("grammar", expected, "one whose decoder only has texts as a whole"));
        }
        words.push(b"\xff</end>".to_vec()); // The mark is how the crate knows special tokens.
        let trie = TokTrie::from(&TokRxInfo::new(end + 1, end), &words);
        let env: TokEnv = std::sync::Arc::new(ApproximateTokEnv::new(trie));
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| Error::invalid("grammar", "a vocabulary", one_line(&error)))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        Ok(Vocabulary { factory, end })
    }

    /// A constraint to `grammar`; a text may end with `stop_ids`.
    pub(crate) fn constraint(&self, grammar: &Grammar, stop_ids: &[u32]) -> Result<GrammarConstraint, Error> {
        let (name, text) = grammar.parts();
        let wrong = |found: &dyn std::fmt::Display| Error::invalid(name, grammar.expected(), found);
        if text.len() > MAX_BYTES {
            return Err(wrong(&format_args!("{} bytes, more than {MAX_BYTES}", text.len())));
        }
        if depth(text) > MAX_DEPTH {
            return Err(wrong(&format_args!("brackets nested more than {MAX_DEPTH} deep")));
        }
        let top = match grammar {
            Grammar::JsonSchema(schema) => {
                let mut schema: Value = serde_json::from_str(schema).map_err(|error| wrong(&error))?;
                match &mut schema {
                    // Layout is not the schema's to choose.
                    Value::Object(fields) => drop(fields.insert("x-guidance".to_string(), json_layout())),
                    Value::Bool(true) => schema = serde_json::json!({ "x-guidance": json_layout() }),
                    other => return Err(wrong(&other)),
                }
                TopLevelGrammar::from_json_schema(schema)
            }
            Grammar::Regex(regex) => TopLevelGrammar::from_regex(regex),
            Grammar::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
        };
        // Whatever the crate panics on is the grammar's fault, too.
        let matcher = catch_unwind(AssertUnwindSafe(|| Matcher::new(self.factory.create_parser(top))));
        let matcher = matcher.map_err(|_| wrong(&"one that its compiler cannot handle"))?;
        if let Some(error) = matcher.get_error() {
            return Err(wrong(&one_line(&error)));
        }
        if matcher.is_stopped() {
            return Err(wrong(&"one that no text follows"));
        }
        let mut constraint = GrammarConstraint { matcher, end: self.end, stop_ids: stop_ids.to_vec(), n_ends: 0 };
        // What has no beginning in this vocabulary, or is too much for the bounds, shows before the model has read the prompt.
        let mask = constraint.matcher.compute_mask().map_err(|error| wrong(&one_line(&error)))?;
        if mask.is_zero() {
            return Err(wrong(&"one whose first character no token has"));
        }
        Ok(constraint)
    }
}

impl Grammar {
    /// What it is called, and its text.
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Grammar::JsonSchema(text) => ("JSON schema", text),
            Grammar::Regex(text) => ("regular expression", text),
            Grammar::Lark(text) => ("grammar", text),
        }
    }

    fn expected(&self) -> &'static str {
        match self {
            Grammar::JsonSchema(_) => "a schema that can be followed",
            Grammar::Regex(_) => "an expression that can be followed",
            Grammar::Lark(_) => "rules that can be followed",
        }
    }
}

/// The text so far, as a grammar has read it.
pub(crate) struct GrammarConstraint {
    matcher: Matcher,
    end: u32,
    stop_ids: Vec<u32>,
    /// End-of-text tokens that were read: they are not the grammar's.
    n_ends: usize,
}

impl Constraint for GrammarConstraint {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| one_line(&error))?;
        let may_end = mask.is_allowed(self.end);
        let ends: Vec<(u32, f32)> = self.stop_ids.iter().filter_map(|&id| Some((id, *logits.get(id as usize)?))).collect();
        let words = mask.as_slice();
        for (n, chunk) in logits.chunks_mut(32).enumerate() {
            let word = words.get(n).copied().unwrap_or_default();
            if word == 0 {
                chunk.fill(f32::NEG_INFINITY);
            } else if word != u32::MAX {
                for (bit, logit) in chunk.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0) {
                    let _ = bit;
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        // The id of the end may be that of a row of the output matrix without a token.
        if let Some(logit) = logits.get_mut(self.end as usize) {
            *logit = f32::NEG_INFINITY;
        }
        for (id, logit) in ends {
            if let Some(place) = logits.get_mut(id as usize) {
                *place = if may_end { logit } else { f32::NEG_INFINITY };
            }
        }
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<(), String> {
        if self.stop_ids.contains(&token) {
            self.n_ends += 1;
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|error| one_line(&error))
    }

    fn rewind(&mut self, n_tokens: usize) -> Result<(), String> {
        let n_ends = n_tokens.min(self.n_ends);
        self.n_ends -= n_ends;
        match n_tokens - n_ends {
            0 => Ok(()),
            n => self.matcher.rollback(n).map_err(|error| one_line(&error)),
        }
    }

    fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }

    fn may_end(&mut self) -> bool {
        self.matcher.is_stopped() || self.matcher.is_accepting().unwrap_or(false)
    }

    fn fork(&self) -> Option<Box<dyn Constraint>> {
        let GrammarConstraint { matcher, end, stop_ids, n_ends } = self;
        let (matcher, stop_ids) = (matcher.deep_clone(), stop_ids.clone());
        Some(Box::new(GrammarConstraint { matcher, end: *end, stop_ids, n_ends: *n_ends }))
    }
}

fn json_layout() -> Value {
    serde_json::json!({ "whitespace_flexible": true, "whitespace_pattern": JSON_SPACE })
}

/// How deep brackets nest, wherever they stand; those in strings count, too, which no usual grammar minds.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The crate's message: its first line, and where a parser drew a picture, the line below that says what is wrong; shortened.
fn one_line(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let line: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if text.contains("NoExtension") {
        return "one that no text follows".to_string();
    }
    let reason = line.iter().find(|line| line.starts_with("error: "));
    let line = line.first().copied().unwrap_or("an error without words").to_string();
    let line = reason.map_or(line.clone(), |reason| format!("{line} {}", &reason["error: ".len()..]));
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
