//! `Lookup`: where the end of a text stood before, and so what may come next ("prompt lookup", Saxena, 2023).
//!
//! An index of pairs of tokens, each with the places where it ends, chained from the last to the first as in LZ77 with hash chains. Not
//! here: how many of the tokens that follow are worth trying (`mod.rs`).

use std::collections::HashMap;

/// The longest match that is told apart from longer ones.
const MAX_MATCH: usize = 32;

/// Earlier places that are looked at, the last ones first: bounds the time for a text of one pair over and over.
const MAX_CANDIDATES: usize = 32;

/// The end of a chain.
const NONE: u32 = u32::MAX;

/// The tokens of a text and the index of their pairs.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    tokens: Vec<u32>,
    /// The last place where each pair ends.
    last: HashMap<(u32, u32), u32>,
    /// For each place, the place before where the same pair ends, or [`NONE`].
    before: Vec<u32>,
}

/// An earlier place that ends as the text does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// The place after it.
    pub next: usize,
    /// How many tokens are the same there, at least 2 and at most [`MAX_MATCH`].
    pub len: usize,
}

impl Lookup {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Adds a token at the end.
    pub fn push(&mut self, token: u32) {
        let before = match (self.tokens.last(), u32::try_from(self.tokens.len())) {
            // A text beyond 2^32 tokens is looked up in its beginning.
            (Some(&previous), Ok(place)) => self.last.insert((previous, token), place).unwrap_or(NONE),
            _ => NONE,
        };
        self.tokens.push(token);
        self.before.push(before);
    }

    /// Forgets the tokens from `len` on.
    pub fn truncate(&mut self, len: usize) {
        while self.tokens.len() > len {
            let (token, before) = (self.tokens.pop(), self.before.pop());
            if let (Some(&previous), Some(token), Some(before)) = (self.tokens.last(), token, before) {
                match before {
                    NONE => self.last.remove(&(previous, token)),
                    place => self.last.insert((previous, token), place),
                };
            }
        }
    }

    /// The longest match of the text's end, of equal ones the last.
    pub fn find(&self) -> Option<Match> {
        let mut best: Option<Match> = None;
        let mut place = *self.before.last()?;
        for _ in 0..MAX_CANDIDATES {
            if place == NONE {
                break;
            }
            let end = place as usize + 1;
            let pairs = self.tokens[..end].iter().rev().zip(self.tokens.iter().rev());
            let len = pairs.take(MAX_MATCH).take_while(|(a, b)| a == b).count();
            if best.is_none_or(|best| len > best.len) {
                best = Some(Match { next: end, len });
            }
            if len == MAX_MATCH {
                break;
            }
            place = self.before[place as usize];
        }
        best
    }

    /// The `n` tokens that follow a match, added to `out`. Where the text ends before that, it is taken to go on as it did from there.
    pub fn follow(&self, found: Match, n: usize, out: &mut Vec<u32>) {
        let period = self.tokens.len() - found.next;
        out.extend((0..n).map(|i| self.tokens[found.next + i % period]));
    }
}

#[cfg(test)]
mod tests {
    use infer_kernels::testing::Seeded;

    use super::*;

    fn lookup(tokens: &[u32]) -> Lookup {
        let mut lookup = Lookup::default();
        tokens.iter().for_each(|&token| lookup.push(token));
        lookup
    }

    /// The definition: every earlier place, the longest first, then the last.
    fn naive(tokens: &[u32]) -> Option<Match> {
        let len =
            |end: usize| (0..end).take(MAX_MATCH).take_while(|i| tokens[end - 1 - i] == tokens[tokens.len() - 1 - i]).count();
        let all = (1..tokens.len()).map(|end| Match { next: end, len: len(end) }).filter(|found| found.len >= 2);
        all.max_by_key(|found| (found.len, found.next))
    }

    #[test]
    fn agrees_with_the_definition_while_a_text_grows_and_shrinks() {
        let mut seeded = Seeded(3);
        for n_kinds in [1, 2, 5, 20] {
            let (mut tokens, mut index) = (Vec::new(), Lookup::default());
            let mut n_found = 0;
            for _ in 0..2000 {
                if seeded.below(40) == 0 && !tokens.is_empty() {
                    let len = tokens.len() - seeded.below(tokens.len().min(20));
                    tokens.truncate(len);
                    index.truncate(len);
                } else {
                    tokens.push(seeded.below(n_kinds) as u32);
                    index.push(tokens[tokens.len() - 1]);
                }
                assert_eq!(index.len(), tokens.len());
                // With so few candidates nothing is left out.
                if tokens.len() < MAX_CANDIDATES || n_kinds == 20 {
                    assert_eq!(index.find(), naive(&tokens), "{tokens:?}");
                }
                if let Some(found) = index.find() {
                    n_found += 1;
                    let start = |end: usize| &tokens[end - found.len..end];
                    assert_eq!(start(found.next), start(tokens.len()));
                }
            }
            assert!(n_found > 100, "{n_found} matches of {n_kinds} tokens");
        }
    }

    #[test]
    fn what_follows_goes_on_over_the_end() {
        let follow = |tokens: &[u32], n| {
            let (lookup, mut out) = (lookup(tokens), Vec::new());
            lookup.follow(lookup.find().unwrap(), n, &mut out);
            out
        };
        assert_eq!(follow(&[1, 2, 3, 4, 5, 1, 2], 3), [3, 4, 5]);
        assert_eq!(follow(&[1, 2, 3, 4, 5, 1, 2], 7), [3, 4, 5, 1, 2, 3, 4]);
        assert_eq!(follow(&[7, 7, 7], 4), [7; 4]);
        assert_eq!(lookup(&[1, 2, 3, 2]).find(), None);
        assert_eq!(lookup(&[]).find(), None);
    }
}
