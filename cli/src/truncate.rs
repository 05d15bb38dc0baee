//! `Truncate`: which tokens of a prompt are left out where it does not fit the context, as `--truncate` says.
//!
//! Not here: how large the context is.

use std::fmt;
use std::str::FromStr;

/// Where a prompt is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncate {
    /// The beginning goes.
    Left,
    /// The end goes.
    Right,
    /// The middle goes: beginning and end keep half each.
    Middle,
}

impl Truncate {
    /// Every choice.
    const ALL: [Truncate; 3] = [Truncate::Left, Truncate::Right, Truncate::Middle];

    /// The tokens of a prompt that are kept where the context holds `ctx_size`: all of them, or as many as leave room for a text of
    /// `max_tokens`, at most half of the context, by default a quarter. `bos`, where the prompt begins with it, always stays: it is no part
    /// of the text.
    pub fn apply(self, prompt: &[u32], bos: Option<u32>, ctx_size: usize, max_tokens: Option<usize>) -> Vec<u32> {
        let room = max_tokens.unwrap_or(ctx_size / 4).clamp(1, (ctx_size / 2).max(1));
        let n_kept = ctx_size.saturating_sub(room).max(1);
        if prompt.len() <= n_kept {
            return prompt.to_vec();
        }
        let n_first = usize::from(prompt.first().is_some_and(|&first| Some(first) == bos));
        let n_text = n_kept - n_first.min(n_kept);
        let n_head = n_first
            + match self {
                Truncate::Left => 0,
                Truncate::Right => n_text,
                Truncate::Middle => n_text / 2,
            };
        let tail = prompt.len() - (n_kept - n_head);
        [prompt.get(..n_head).unwrap_or_default(), prompt.get(tail..).unwrap_or_default()].concat()
    }
}

/// As the flag spells it.
impl fmt::Display for Truncate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Truncate::Left => "left",
            Truncate::Right => "right",
            Truncate::Middle => "middle",
        })
    }
}

impl FromStr for Truncate {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Truncate, &'static str> {
        Truncate::ALL.into_iter().find(|side| side.to_string() == s).ok_or("expected left, right or middle")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: [u32; 12] = [99, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

    fn cut(side: Truncate, ctx_size: usize, max_tokens: Option<usize>) -> Vec<u32> {
        side.apply(&PROMPT, Some(99), ctx_size, max_tokens)
    }

    #[test]
    fn the_beginning_of_text_stays_and_the_sides_are_kept_as_named() {
        assert_eq!(cut(Truncate::Left, 8, Some(2)), [99, 7, 8, 9, 10, 11]);
        assert_eq!(cut(Truncate::Right, 8, Some(2)), [99, 1, 2, 3, 4, 5]);
        assert_eq!(cut(Truncate::Middle, 8, Some(2)), [99, 1, 2, 9, 10, 11]);
        assert_eq!(Truncate::Left.apply(&PROMPT, None, 8, Some(2)), [6, 7, 8, 9, 10, 11]);
        assert_eq!(Truncate::Middle.apply(&PROMPT, None, 8, Some(3)), [99, 1, 9, 10, 11]);
    }

    #[test]
    fn room_is_left_for_the_text() {
        assert_eq!(cut(Truncate::Left, 16, None), PROMPT);
        assert_eq!(cut(Truncate::Left, 14, Some(2)), PROMPT);
        assert_eq!(cut(Truncate::Left, 14, None).len(), 11);
        assert_eq!(cut(Truncate::Left, 14, Some(1000)).len(), 7);
        assert_eq!(cut(Truncate::Left, 14, Some(0)).len(), 12);
        for (side, ctx_size) in Truncate::ALL.into_iter().flat_map(|side| (1..20).map(move |n| (side, n))) {
            for max_tokens in [None, Some(0), Some(1), Some(5), Some(usize::MAX)] {
                let kept = cut(side, ctx_size, max_tokens);
                assert!(!kept.is_empty() && kept.first() == Some(&99) && kept.len() < ctx_size.max(2), "{ctx_size}");
            }
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for side in Truncate::ALL {
            assert_eq!(side.to_string().parse(), Ok(side));
        }
        assert!("up".parse::<Truncate>().is_err());
    }
}
