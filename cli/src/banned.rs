//! Banned strings: a text is held back, token by token, while it may become one, and a token that began one is taken back.
//!
//! Where a banned string comes up, the token in which it begins is rejected at that place, all tokens from there on are forgotten, and another is
//! chosen in its place. Where that happens right after text that was shown already, and the other token makes that text the beginning of a banned string
//! after all, this token is rejected, too. So no banned string is ever shown, and no part of one that was taken back. Not here: stop strings,
//! which end the text.

use infer_engine::Choice;

use crate::error::Error;
use crate::stop::{StopScanner, StopStrings};

/// How often a text may be taken back in all: a model that wants nothing but banned strings would be taken back for ever.
const MAX_REWINDS: usize = 10_000;

/// The tokens of one text that cannot be shown yet. `S` is what the caller must have again to go on from before a token.
pub(crate) struct HoldBack<'a, S> {
    banned: &'a StopStrings,
    scanner: StopScanner<'a>,
    held: Vec<Held<S>>,
    n_released: usize,
    /// The end of the text that was released, as long as a banned string may reach back.
    context: String,
    /// By place, ascending: the tokens that began a banned string there.
    rejected: Vec<(usize, Vec<u32>)>,
    n_rewinds: usize,
}

/// A token and its text.
struct Held<S> {
    choice: Choice,
    text: String,
    before: Option<S>,
}

/// What is to be done after a token.
pub(crate) enum Verdict<S> {
    /// These tokens are part of the text, whatever comes.
    Release(Vec<(Choice, String)>),
    /// The last `n_tokens` are to be taken back, and none of `rejected` may come next.
    Rewind {
        n_tokens: usize,
        rejected: Vec<u32>,
        /// The state before the first of them.
        state: S,
    },
}

impl<'a, S> HoldBack<'a, S> {
    /// Nothing held yet.
    pub(crate) fn new(banned: &'a StopStrings) -> HoldBack<'a, S> {
        let scanner = banned.scanner();
        HoldBack { banned, scanner, held: Vec::new(), n_released: 0, context: String::new(), rejected: Vec::new(), n_rewinds: 0 }
    }

    /// Takes the next token with its text. `before` is asked for the state before it only where something may be held back.
    pub(crate) fn push(&mut self, choice: Choice, text: String, before: impl FnOnce() -> S) -> Result<Verdict<S>, Error> {
        let before = (!self.banned.is_empty()).then(before);
        let (_, found) = self.scanner.push(&text);
        self.held.push(Held { choice, text, before });
        match found {
            Some(found) => self.rewind(found),
            None => Ok(Verdict::Release(self.release(self.scanner.n_held()))),
        }
    }

    /// All that is held: no more tokens will come.
    pub(crate) fn finish(&mut self) -> Vec<(Choice, String)> {
        self.release(0)
    }

    /// The tokens all of whose text is before the last `n_kept` bytes.
    fn release(&mut self, n_kept: usize) -> Vec<(Choice, String)> {
        let mut n_left: usize = self.held.iter().map(|held| held.text.len()).sum();
        let mut is_out = |held: &Held<S>| {
            n_left -= held.text.len();
            n_left >= n_kept
        };
        let n_out = self.held.iter().take_while(|held| is_out(held)).count();
        self.n_released += n_out;
        // A token without text of its own may be the beginning of a character of the next one.
        self.rejected.retain(|(place, _)| *place >= self.n_released);
        let out: Vec<(Choice, String)> = self.held.drain(..n_out).map(|held| (held.choice, held.text)).collect();
        self.context.extend(out.iter().map(|(_, text)| text.as_str()));
        let surplus = self.context.len().saturating_sub(self.banned.longest());
        let cut = (surplus..=self.context.len()).find(|&at| self.context.is_char_boundary(at)).unwrap_or_default();
        self.context.drain(..cut);
        out
    }

    fn rewind(&mut self, found: &str) -> Result<Verdict<S>, Error> {
        self.n_rewinds += 1;
        let texts = self.held.iter().map(|held| held.text.as_str());
        let text: String = [self.context.as_str()].into_iter().chain(texts).collect();
        let begin = text.find(found).unwrap_or_default();
        let mut end = self.context.len();
        let ends_after = |held: &Held<S>| {
            end += held.text.len();
            end > begin
        };
        let first = self.held.iter().position(ends_after).unwrap_or_default();
        let gone: Vec<Held<S>> = self.held.drain(first..).collect();
        let n_tokens = gone.len();
        let Some((token, state)) = gone.into_iter().next().and_then(|held| Some((held.choice.token, held.before?))) else {
            return Ok(Verdict::Release(Vec::new())); // Unreachable: a string that was found begins in a token that is held.
        };
        if self.n_rewinds > MAX_REWINDS {
            return Err(Error::invalid("banned strings", "a text without them", format_args!("none in {MAX_REWINDS} attempts")));
        }
        let place = self.n_released + first;
        self.rejected.retain(|(at, _)| *at <= place);
        match self.rejected.last_mut().filter(|(at, _)| *at == place) {
            Some((_, tokens)) => tokens.push(token),
            None => self.rejected.push((place, vec![token])),
        }
        self.scanner = self.banned.scanner();
        let n_kept = self.context.len() + self.held.iter().map(|held| held.text.len()).sum::<usize>();
        self.scanner.push(&text[..n_kept]);
        let rejected = self.rejected.last().map(|(_, tokens)| tokens.clone()).unwrap_or_default();
        Ok(Verdict::Rewind { n_tokens, rejected, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model whose tokens are the texts of `vocabulary`, and which at each place prefers them in an order of its own.
    fn generate(vocabulary: &[&str], banned: &[&str], length: usize, seed: u64) -> Result<(String, String), Error> {
        let banned = StopStrings::new(&banned.iter().map(|s| s.to_string()).collect::<Vec<_>>())?;
        let mut hold_back = HoldBack::new(&banned);
        let (mut tokens, mut shown, mut rejected) = (Vec::<u32>::new(), String::new(), Vec::new());
        while tokens.len() < length {
            let mixed = |id: u32| (u64::from(id) + 31 * tokens.len() as u64 + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            let open = (0..vocabulary.len() as u32).filter(|id| !rejected.contains(id));
            let token = open.min_by_key(|&id| mixed(id)).expect("a token that is not rejected");
            tokens.push(token);
            rejected.clear();
            let text = vocabulary[token as usize].to_string();
            match hold_back.push(Choice { token, logprobs: None }, text, || tokens.len() - 1)? {
                Verdict::Release(out) => shown.extend(out.into_iter().map(|(_, text)| text)),
                Verdict::Rewind { n_tokens, rejected: not, state } => {
                    tokens.truncate(tokens.len() - n_tokens);
                    assert_eq!(tokens.len(), state);
                    rejected = not;
                }
            }
            let all: String = tokens.iter().map(|&id| vocabulary[id as usize]).collect();
            assert!(all.starts_with(&shown), "{shown:?} was shown of {all:?}");
        }
        shown.extend(hold_back.finish().into_iter().map(|(_, text)| text));
        Ok((shown, tokens.iter().map(|&id| vocabulary[id as usize]).collect()))
    }

    #[test]
    fn no_banned_string_and_no_part_of_one_that_was_taken_back_is_shown() {
        let vocabulary = ["a", "b", "ab", "ba", "é", "aé", "", "bab"];
        for banned in [&["ab"][..], &["aba", "bb"], &["éa", "abab", "aa"], &["b"], &["babbab", "aaa"], &[]] {
            for seed in 0..60 {
                let (shown, all) = generate(&vocabulary, banned, 40, seed).unwrap();
                assert_eq!(shown, all);
                assert!(banned.iter().all(|string| !shown.contains(string)), "{banned:?}: {shown}");
            }
        }
    }

    #[test]
    fn a_model_that_wants_nothing_else_is_stopped() {
        // Without text of its own a token can be put in front of a banned string for ever.
        let banned = StopStrings::new(&["x".to_string()]).unwrap();
        let mut hold_back = HoldBack::new(&banned);
        let n = (0..).find(|&n| hold_back.push(Choice { token: n, logprobs: None }, "x".to_string(), || ()).is_err()).unwrap();
        assert_eq!(n as usize, MAX_REWINDS);
    }
}
