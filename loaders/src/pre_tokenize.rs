//! Splitting a text into words before the vocabulary is applied, in linear time or not at all.
//!
//! Not here: pre-tokenizers without regular expressions, which are the `tokenizers` crate's. Those with one are run here, because the
//! crate's engine keeps a place to return to for each character of a run: at a million spaces it gives up, and the crate then leaves
//! the rest of the text in one piece and says nothing. Nor does anything there limit how often a slow expression is tried: a hostile
//! `tokenizer.json` could keep a short text busy for hours.

use std::time::{Duration, Instant};

use regex_automata::meta;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::pattern::{Invert, Pattern};
use tokenizers::{Offsets, PreTokenizedString, PreTokenizer, Result, SplitDelimiterBehavior};

/// How byte-level BPE splits where the file does not say otherwise (GPT-2, `encoder.py`).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// How nearly all expressions in use end: a run of white space is left its last character if a word follows.
const SPARED_SPACE: &str = r"|\s+(?!\S)|\s+";
/// Time that splitting any text may take. Expressions in use need a fiftieth of this and of the next.
const BASE_TIME: Duration = Duration::from_secs(2);
/// Time that splitting may take in addition for each byte of the text.
const TIME_PER_BYTE: Duration = Duration::from_micros(20);

/// A pre-tokenizer: nested sequences laid out flat, with the regular expressions in our hands.
#[derive(Debug)]
pub(crate) struct Stages(Vec<Stage>);

#[derive(Debug)]
enum Stage {
    Split {
        words: Words,
        behavior: SplitDelimiterBehavior,
        invert: bool,
        /// Put a space before each part that has none, first.
        prefix_space: bool,
    },
    Library(PreTokenizerWrapper),
}

/// A regular expression, by the cheapest engine that runs it.
#[derive(Debug)]
enum Words {
    /// Finite automata: each search is linear in the text.
    Linear(meta::Regex),
    /// The same for two expressions: the one before [`SPARED_SPACE`], and `\s+`. What the latter finds is cut short afterwards.
    SparedSpace(meta::Regex),
    /// Look-around, possessive repetition and back-references: by backtracking, which may give up.
    Backtracking(fancy_regex::Regex),
}

impl Stages {
    /// The stages that `pre_tokenizer` consists of.
    ///
    /// # Errors
    /// If a regular expression is invalid.
    pub(crate) fn new(pre_tokenizer: PreTokenizerWrapper) -> Result<Stages> {
        let mut stages = Vec::new();
        add_stages(pre_tokenizer, &mut stages)?;
        Ok(Stages(stages))
    }
}

fn add_stages(pre_tokenizer: PreTokenizerWrapper, stages: &mut Vec<Stage>) -> Result<()> {
    match pre_tokenizer {
        PreTokenizerWrapper::Sequence(sequence) => sequence.into_iter().try_for_each(|inner| add_stages(inner, stages))?,
        PreTokenizerWrapper::Split(Split { pattern: SplitPattern::Regex(pattern), behavior, invert, .. }) => {
            stages.push(Stage::Split { words: Words::new(&pattern)?, behavior, invert, prefix_space: false });
        }
        PreTokenizerWrapper::ByteLevel(bytes) if bytes.use_regex => {
            stages.push(Stage::Split {
                words: Words::new(GPT2)?,
                behavior: SplitDelimiterBehavior::Isolated,
                invert: false,
                prefix_space: bytes.add_prefix_space,
            });
            stages.push(Stage::Library(PreTokenizerWrapper::ByteLevel(bytes.use_regex(false).add_prefix_space(false))));
        }
        // Also a `Split` at a plain string.
        other => stages.push(Stage::Library(other)),
    }
    Ok(())
}

impl PreTokenizer for Stages {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> Result<()> {
        let mut watch = Watch { begin: Instant::now(), allowed: BASE_TIME };
        for stage in &self.0 {
            match stage {
                Stage::Library(library) => library.pre_tokenize(text)?,
                Stage::Split { words, behavior, invert, prefix_space } => text.split(|_, mut part| {
                    if *prefix_space && !part.get().starts_with(' ') {
                        part.prepend(" ");
                    }
                    watch.allow_for(part.get());
                    let pattern = Watched { words, watch: &watch };
                    if *invert { part.split(Invert(pattern), *behavior) } else { part.split(pattern, *behavior) }
                })?,
            }
        }
        Ok(())
    }
}

/// The expression for the engine of finite automata, if that engine runs it and means the same by it.
pub(crate) fn linear(pattern: &str) -> Option<meta::Regex> {
    linear_many(&[pattern])
}

fn linear_many(patterns: &[&str]) -> Option<meta::Regex> {
    if patterns.iter().any(|pattern| may_be_possessive(pattern)) {
        return None;
    }
    meta::Regex::new_many(patterns).ok()
}

/// Whether a pattern has a possessive repetition, or something that looks like one: `a?+`, which the linear engine reads as `(a?)+`.
fn may_be_possessive(pattern: &str) -> bool {
    let counted = |(at, _): (usize, &str)| {
        let inside = pattern.get(..at).and_then(|before| before.rsplit_once('{'));
        inside.is_some_and(|(_, count)| count.chars().all(|c| c.is_ascii_digit() || c == ','))
    };
    ["++", "*+", "?+"].iter().any(|sign| pattern.contains(sign)) || pattern.match_indices("}+").any(counted)
}

impl Words {
    fn new(pattern: &str) -> Result<Words> {
        if let Some(regex) = linear(pattern) {
            return Ok(Words::Linear(regex));
        }
        let head = pattern.strip_suffix(SPARED_SPACE);
        if let Some(regex) = head.and_then(|head| linear_many(&[head, r"\s+"])) {
            return Ok(Words::SparedSpace(regex));
        }
        Ok(Words::Backtracking(fancy_regex::Regex::new(pattern)?))
    }

    /// Calls `found` with each word of `text`, in order, until one call fails.
    fn find(&self, text: &str, mut found: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        match self {
            Words::Linear(regex) => regex.find_iter(text).try_for_each(|word| found(word.start(), word.end())),
            Words::SparedSpace(regex) => {
                let mut input = regex_automata::Input::new(text);
                while let Some(word) = regex.search(&input) {
                    let mut end = word.end();
                    if word.pattern().as_usize() == 1 && end < text.len() {
                        // The run is maximal, so a word follows: `\s+(?!\S)` gives back one character, if that leaves any.
                        let last = text.get(word.range()).and_then(|run| run.chars().next_back()).map_or(0, char::len_utf8);
                        if end - last > word.start() {
                            end -= last;
                        }
                    }
                    found(word.start(), end)?;
                    // An empty word, which only a head that matches nothing gives, would be found forever.
                    let next = if end > word.start() { end } else { next_char(text, end) };
                    if next > text.len() {
                        break;
                    }
                    input.set_start(next);
                }
                Ok(())
            }
            Words::Backtracking(regex) => regex.find_iter(text).try_for_each(|word| {
                let word = word.map_err(|error| format!("a regular expression of the pre-tokenizer that gives up: {error}"))?;
                found(word.start(), word.end())
            }),
        }
    }
}

/// Where the character after the one at `at` begins; past the end of the text at its end.
fn next_char(text: &str, at: usize) -> usize {
    at + text.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
}

/// Stops the time of all regular expressions together. A search is linear; any number of searches are not.
struct Watch {
    begin: Instant,
    allowed: Duration,
}

impl Watch {
    fn allow_for(&mut self, text: &str) {
        let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.allowed = self.allowed.saturating_add(TIME_PER_BYTE.saturating_mul(bytes));
    }

    fn check(&self) -> Result<()> {
        if self.begin.elapsed() > self.allowed {
            return Err("a regular expression of the pre-tokenizer that is too slow for this text".into());
        }
        Ok(())
    }
}

/// A regular expression that may fail and takes time.
struct Watched<'w> {
    words: &'w Words,
    watch: &'w Watch,
}

impl Pattern for Watched<'_> {
    fn find_matches(&self, text: &str) -> Result<Vec<(Offsets, bool)>> {
        // The crate's own choice for the empty text.
        if text.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let mut parts = Vec::new();
        let mut end = 0;
        self.words.find(text, |word_start, word_end| {
            self.watch.check()?;
            if end != word_start {
                parts.push(((end, word_start), false));
            }
            parts.push(((word_start, word_end), true));
            end = word_end;
            Ok(())
        })?;
        if end != text.len() {
            parts.push(((end, text.len()), false));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::{OffsetReferential, OffsetType};

    use super::*;

    const LLAMA3: &str =
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const CL100K: &str =
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

    fn at(pattern: &str) -> PreTokenizerWrapper {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        PreTokenizerWrapper::Split(Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap())
    }

    fn split(by: &impl PreTokenizer, text: &str) -> Result<Vec<String>> {
        let mut text = PreTokenizedString::from(text);
        by.pre_tokenize(&mut text)?;
        let parts = text.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        Ok(parts.into_iter().map(|(part, _, _)| part.to_owned()).collect())
    }

    fn split_at(pattern: &str, text: &str) -> Result<Vec<String>> {
        split(&Stages::new(at(pattern))?, text)
    }

    fn check_against_library(wrapper: PreTokenizerWrapper, text: &str) {
        let expected = split(&wrapper, text).unwrap();
        assert_eq!(split(&Stages::new(wrapper).unwrap(), text).unwrap(), expected, "{text:?}");
    }

    proptest! {
        #[test]
        fn splits_as_the_library_does(text in "([a-zA-Z' ]|[0-9]|\\s|[\r\n]|\\PC|.){0,40}", prefix in any::<bool>()) {
            check_against_library(at(LLAMA3), &text);
            check_against_library(at(CL100K), &text);
            check_against_library(at(r"\p{N}|"), &text);
            check_against_library(at(r"x*|\s+(?!\S)|\s+"), &text);
            check_against_library(PreTokenizerWrapper::ByteLevel(ByteLevel::default().add_prefix_space(prefix)), &text);
        }
    }

    #[test]
    fn expressions_in_use_take_the_linear_engine_where_it_means_the_same() {
        assert!(matches!(Words::new(LLAMA3).unwrap(), Words::SparedSpace(_)));
        assert!(matches!(Words::new(GPT2).unwrap(), Words::SparedSpace(_)));
        assert!(matches!(Words::new(CL100K).unwrap(), Words::Backtracking(_)));
        assert!(matches!(Words::new(r"\p{N}{1,3}").unwrap(), Words::Linear(_)));
    }

    #[test]
    fn nested_repetition_without_look_around_is_linear() {
        assert_eq!(split_at("(a+)+", &("a".repeat(30) + "b")).unwrap(), ["a".repeat(30), "b".to_owned()]);
    }

    #[test]
    fn a_regex_that_backtracks_without_end_is_an_error() {
        let error = split_at(r"(?:a|a)+(?!b)$", &("a".repeat(64) + "b")).unwrap_err();
        assert!(error.to_string().contains("gives up"), "{error}");
    }

    #[test]
    fn a_regex_that_is_slow_at_every_position_is_an_error() {
        // Each search takes two to the power of the run's rest, below the limit of one search.
        let run = "a".repeat(17) + "c";
        let begin = Instant::now();
        let error = split_at(r"(?:a|a)+(?!c)b|.", &run.repeat(4000)).unwrap_err();
        assert!(error.to_string().contains("too slow"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_run_of_two_million_spaces_is_split_at_its_last() {
        let text = " ".repeat(2_000_000) + "x";
        for parts in [split_at(LLAMA3, &text), split(&Stages::new(ByteLevel::default().use_regex(true).into()).unwrap(), &text)] {
            let characters: Vec<usize> = parts.unwrap().iter().map(|part| part.chars().count()).collect();
            assert_eq!(characters, [1_999_999, 2]);
        }
    }
}
