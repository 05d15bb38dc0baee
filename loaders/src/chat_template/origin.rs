//! Where the characters of a rendered chat come from: the template, or the strings that were put into it.
//!
//! A template is a program, and may do anything with a string before it writes it. So the strings are marked: two characters of the
//! private use areas, which occur nowhere in the input, are put around what is to be followed, and looked for in the output
//! (the way of transformers' `sanitize_control_tokens`). Not here: rendering, and what becomes of the parts (`encode.rs`).

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Map, Value};

/// Makes a string of a string; it also learns whether that is a role.
pub(super) type StringChange<'a> = dyn Fn(&str, bool) -> String + 'a;

/// The key whose string says who speaks. Templates compare it and build tokens of it.
const ROLE: &str = "role";

/// A pair of characters that occur nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    begin: char,
    end: char,
}

impl Marks {
    /// Two characters that none of the texts has; `None` if they have all there are.
    pub(super) fn absent_in(texts: &[&str]) -> Option<Marks> {
        let is_private = |c: &char| ('\u{f0000}'..='\u{ffffd}').contains(c);
        let used: BTreeSet<char> = texts.iter().flat_map(|text| text.chars()).filter(is_private).collect();
        let mut free = ('\u{f0000}'..='\u{ffffd}').filter(|c| !used.contains(c));
        Some(Marks { begin: free.next()?, end: free.next()? })
    }

    /// Whether a character is one of the two.
    pub(super) fn contains(self, c: char) -> bool {
        c == self.begin || c == self.end
    }

    /// A string with marks around all but the white space at its ends, which templates trim.
    pub(super) fn around(self, text: &str) -> String {
        let core = text.trim();
        if core.is_empty() {
            return text.to_owned();
        }
        let lead = text.len() - text.trim_start().len();
        let (before, after) = (&text[..lead], &text[lead + core.len()..]);
        format!("{before}{}{core}{}{after}", self.begin, self.end)
    }

    /// A string with marks around each control token in it; and, unless it is a role, around what at its ends may become one with
    /// the string before or after it.
    pub(super) fn around_tokens(self, text: &str, tokens: &ControlTokens, is_role: bool) -> String {
        let mut ranges = tokens.find(text);
        if !is_role {
            let core = text.trim();
            let lead = text.len() - text.trim_start().len();
            let (head, tail) = (tokens.longest_end_at_start(core), tokens.longest_start_at_end(core));
            ranges.push(lead..lead + head);
            ranges.push(lead + core.len() - tail..lead + core.len());
        }
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for range in merged(ranges) {
            out.push_str(&text[at..range.start]);
            out.push(self.begin);
            out.push_str(&text[range.clone()]);
            out.push(self.end);
            at = range.end;
        }
        out.push_str(&text[at..]);
        out
    }

    /// Takes the marks out of a text.
    pub(super) fn read(self, marked: &str) -> Unmarked {
        let mut unmarked = Unmarked { text: String::with_capacity(marked.len()), marked: Vec::new(), breaks: Vec::new() };
        let mut open = None;
        for c in marked.chars() {
            let at = unmarked.text.len();
            match (c, open) {
                (c, Some(begin)) if c == self.end => {
                    unmarked.marked.push(begin..at);
                    open = None;
                }
                (c, lone) if c == self.begin => {
                    unmarked.breaks.extend(lone);
                    open = Some(at);
                }
                (c, None) if c == self.end => unmarked.breaks.push(at),
                _ => unmarked.text.push(c),
            }
        }
        unmarked.breaks.extend(open);
        unmarked
    }
}

/// A text whose marks were taken out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unmarked {
    pub(super) text: String,
    /// What stood between two marks.
    pub(super) marked: Vec<Range<usize>>,
    /// Where a mark stood that had lost its partner.
    pub(super) breaks: Vec<usize>,
}

/// The tokens that a user's text must not contain: special ones, and others that the template writes.
#[derive(Clone, Debug, Default)]
pub(super) struct ControlTokens {
    /// The longest first.
    texts: Vec<String>,
    first_bytes: Vec<bool>,
}

impl ControlTokens {
    pub(super) fn new(mut texts: Vec<String>) -> ControlTokens {
        texts.retain(|text| !text.is_empty());
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let mut first_bytes = vec![false; 256];
        for text in &texts {
            first_bytes[usize::from(text.as_bytes()[0])] = true;
        }
        ControlTokens { texts, first_bytes }
    }

    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Where tokens stand in a text, the first and longest before others.
    pub(super) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(&byte) = text.as_bytes().get(at) {
            let token = match self.first_bytes.get(usize::from(byte)) {
                Some(true) => self.texts.iter().find(|token| text.as_bytes()[at..].starts_with(token.as_bytes())),
                _ => None,
            };
            match token {
                Some(token) => {
                    found.push(at..at + token.len());
                    at += token.len();
                }
                None => at += 1,
            }
        }
        found
    }

    /// The length of the longest end of a text that begins a token.
    fn longest_start_at_end(&self, text: &str) -> usize {
        let lengths = |token: &String| {
            let starts = token.char_indices().map(|(n, _)| n).filter(|&n| n > 0 && text.ends_with(&token[..n]));
            starts.max().unwrap_or(0)
        };
        self.texts.iter().map(lengths).max().unwrap_or(0)
    }

    /// The length of the longest beginning of a text that ends a token.
    fn longest_end_at_start(&self, text: &str) -> usize {
        let lengths = |token: &String| {
            let ends = token.char_indices().map(|(n, _)| n).filter(|&n| n > 0 && text.starts_with(&token[n..]));
            ends.map(|n| token.len() - n).max().unwrap_or(0)
        };
        self.texts.iter().map(lengths).max().unwrap_or(0)
    }
}

/// Every string in a value changed by `change`, and every key by `keys`.
pub(super) fn mapped(value: &Value, keys: &dyn Fn(&str) -> String, change: &StringChange) -> Value {
    match value {
        Value::String(text) => Value::String(change(text, false)),
        Value::Array(items) => items.iter().map(|item| mapped(item, keys, change)).collect(),
        Value::Object(fields) => {
            let changed: Map<_, _> =
                fields.iter().map(|(key, item)| (keys(key), mapped_field(key, item, keys, change))).collect();
            Value::Object(changed)
        }
        other => other.clone(),
    }
}

/// The value of a field, changed alike.
pub(super) fn mapped_field(key: &str, item: &Value, keys: &dyn Fn(&str) -> String, change: &StringChange) -> Value {
    match item {
        Value::String(text) => Value::String(change(text, key == ROLE)),
        item => mapped(item, keys, change),
    }
}

/// Ranges in order, with those that touch or overlap as one, and without empty ones.
pub(super) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks { begin: '[', end: ']' };

    #[test]
    fn tokens_and_the_ends_that_may_become_one_are_marked() {
        let tokens = ControlTokens::new(vec!["<s>".into(), "<|eot|>".into(), "<s>s>".into()]);
        let check = |text: &str, marked: &str| {
            assert_eq!(MARKS.around_tokens(text, &tokens, false), marked);
            assert_eq!(MARKS.read(marked).text, text);
        };
        check("a <s> b <|eot|>", "a [<s>] b [<|eot|>]");
        check("<s>s>", "[<s>s>]");
        check(" |> and <|e ", " [|>] and [<|e] ");
        check("plain", "plain");
        check("", "");
        assert_eq!(MARKS.around_tokens("eot|>", &tokens, true), "eot|>");
        assert_eq!(MARKS.around(" a b\n"), " [a b]\n");
        assert_eq!(MARKS.around(" \n"), " \n");
    }

    #[test]
    fn marks_that_lost_their_partner_are_breaks() {
        let unmarked = MARKS.read("a]b[c[d]e[");
        assert_eq!((unmarked.text.as_str(), &unmarked.breaks[..]), ("abcde", &[1, 2, 5][..]));
        assert!(unmarked.marked.iter().eq([&(3..4)]));
    }

    #[test]
    fn marks_are_characters_that_are_not_there() {
        let marks = Marks::absent_in(&["a\u{f0000}", "\u{f0002}"]).unwrap();
        assert_eq!(marks, Marks { begin: '\u{f0001}', end: '\u{f0003}' });
        let all: String = ('\u{f0000}'..='\u{ffffd}').collect();
        assert_eq!(Marks::absent_in(&[&all]), None);
    }
}
