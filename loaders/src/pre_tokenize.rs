//! Splitting a text into words before the vocabulary is applied, such that a regular expression that gives up is an error.
//!
//! Not here: the other pre-tokenizers, which are the `tokenizers` crate's. Its `Split` runs the same regular expressions, but when
//! one exceeds its backtracking limit it leaves the rest of the text in one piece and says nothing, and nothing limits how often a
//! slow expression is tried: a hostile `tokenizer.json` could keep a short text busy for hours.

use std::time::{Duration, Instant};

use fancy_regex::Regex;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::pattern::{Invert, Pattern};
use tokenizers::{Offsets, PreTokenizedString, PreTokenizer, Result, SplitDelimiterBehavior};

/// Time that splitting any text may take. Expressions in use need a fiftieth of this and of the next.
const BASE_TIME: Duration = Duration::from_secs(2);
/// Time that splitting may take in addition for each byte of the text.
const TIME_PER_BYTE: Duration = Duration::from_micros(20);

/// A pre-tokenizer: nested sequences laid out flat, with our own `Split`.
#[derive(Debug)]
pub(crate) struct Stages(Vec<Stage>);

#[derive(Debug)]
enum Stage {
    Split { regex: Regex, behavior: SplitDelimiterBehavior, invert: bool },
    Library(PreTokenizerWrapper),
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
            stages.push(Stage::Split { regex: Regex::new(&pattern)?, behavior, invert });
        }
        // Also a `Split` at a plain string, which cannot backtrack.
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
                Stage::Split { regex, behavior, invert } => text.split(|_, part| {
                    watch.allow_for(part.get());
                    let pattern = Watched { regex, watch: &watch };
                    if *invert { part.split(Invert(pattern), *behavior) } else { part.split(pattern, *behavior) }
                })?,
            }
        }
        Ok(())
    }
}

/// Stops the time of all regular expressions together.
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
    regex: &'w Regex,
    watch: &'w Watch,
}

impl Pattern for Watched<'_> {
    fn find_matches(&self, text: &str) -> Result<Vec<(Offsets, bool)>> {
        // The contract of `Pattern` and the crate's own choice for the empty text.
        if text.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let mut parts = Vec::new();
        let mut end = 0;
        for found in self.regex.find_iter(text) {
            self.watch.check()?;
            let found = found.map_err(|error| format!("a regular expression of the pre-tokenizer that gives up: {error}"))?;
            if end != found.start() {
                parts.push(((end, found.start()), false));
            }
            parts.push(((found.start(), found.end()), true));
            end = found.end();
        }
        if end != text.len() {
            parts.push(((end, text.len()), false));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType};

    use super::*;

    fn stages(pattern: &str) -> Result<Stages> {
        Stages::new(PreTokenizerWrapper::Split(Split::new(
            SplitPattern::Regex(pattern.to_owned()),
            SplitDelimiterBehavior::Isolated,
            false,
        )?))
    }

    fn split(pattern: &str, text: &str) -> Result<Vec<String>> {
        let mut text = PreTokenizedString::from(text);
        stages(pattern)?.pre_tokenize(&mut text)?;
        let parts = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Ok(parts.into_iter().map(|(part, _, _)| part.to_owned()).collect())
    }

    #[test]
    fn splits_as_the_library_does() {
        let pattern = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        for text in ["", "Hello world's  12345\n\n  x", "   ", "\u{4f60}\u{597d} e\u{301}", "a\r\n \t"] {
            let mut library = PreTokenizedString::from(text);
            let split_by_library = Split::new(SplitPattern::Regex(pattern.into()), SplitDelimiterBehavior::Isolated, false);
            split_by_library.unwrap().pre_tokenize(&mut library).unwrap();
            let parts = library.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let parts: Vec<String> = parts.into_iter().map(|(part, _, _)| part.to_owned()).collect();
            assert_eq!(split(pattern, text).unwrap(), parts, "{text:?}");
        }
    }

    #[test]
    fn nested_repetition_without_look_around_is_linear() {
        assert_eq!(split("(a+)+", &("a".repeat(30) + "b")).unwrap(), ["a".repeat(30), "b".to_owned()]);
    }

    #[test]
    fn a_regex_that_backtracks_without_end_is_an_error() {
        let error = split(r"(?:a+)+(?!b)$", &("a".repeat(64) + "b")).unwrap_err();
        assert!(error.to_string().contains("gives up"), "{error}");
    }

    #[test]
    fn a_regex_that_is_slow_at_every_position_is_an_error() {
        // Each position takes two to the power of the run's rest, below the limit of one search.
        let run = "a".repeat(17) + "c";
        let begin = Instant::now();
        let error = split(r"(?:a|a)+(?!c)b", &run.repeat(4000)).unwrap_err();
        assert!(error.to_string().contains("too slow"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_run_of_two_million_spaces_is_split_at_its_last() {
        let text = " ".repeat(2_000_000) + "x";
        let parts = split(r" ?\p{L}+|\s+(?!\S)|\s+", &text).unwrap();
        assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [1_999_999, 2]);
    }
}
