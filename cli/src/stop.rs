//! Stop strings, matched on generated text as it streams: what may still become a stop string is held back, a match is never emitted.
//!
//! The automaton is Aho and Corasick's ("Efficient string matching", CACM 18(6), 1975) over bytes. It is written here because what
//! the hold-back needs, the depth of the current state (the length of the longest suffix of the text that is a prefix of some stop
//! string), is what the crates for it keep to themselves. Not here: EOS ids, which stop on tokens and never reach the text.

use std::collections::HashMap;

use crate::error::Error;

/// A set of stop strings, compiled. Building takes time and memory linear in their total length.
#[derive(Debug)]
pub struct StopStrings {
    stops: Vec<String>,
    // State s reads byte b: edges[(s, b)], else the same from fail[s]; state 0 is the empty text.
    edges: HashMap<(usize, u8), usize>,
    fail: Vec<usize>,
    depth: Vec<usize>,
    // The longest stop string that the text of the state ends with, as an index into `stops`.
    ends: Vec<Option<usize>>,
}

/// The scan of one generated text. See [`StopStrings::scanner`].
#[derive(Debug)]
pub struct StopScanner<'a> {
    stops: &'a StopStrings,
    state: usize,
    // The text not yet given out: the longest suffix that is a prefix of a stop string.
    held: String,
}

impl StopStrings {
    /// Compiles `stops`. An empty stop string would match everywhere and is an input error.
    pub fn new(stops: &[String]) -> Result<StopStrings, Error> {
        if stops.iter().any(String::is_empty) {
            return Err(Error::invalid("stop string", "at least one character", "an empty string"));
        }
        let mut automaton =
            StopStrings { stops: stops.to_vec(), edges: HashMap::new(), fail: vec![0], depth: vec![0], ends: vec![None] };
        let mut into = vec![(0, 0)]; // the edge that leads into each state
        for (index, stop) in stops.iter().enumerate() {
            let mut state = 0;
            for &byte in stop.as_bytes() {
                let next = automaton.fail.len();
                let target = *automaton.edges.entry((state, byte)).or_insert(next);
                if target == next {
                    automaton.fail.push(0);
                    automaton.depth.push(automaton.depth[state] + 1);
                    automaton.ends.push(None);
                    into.push((state, byte));
                }
                state = target;
            }
            automaton.ends[state].get_or_insert(index);
        }
        // Shallow states first: the failure of a state is shallower than the state.
        let mut by_depth: Vec<usize> = (1..into.len()).collect();
        by_depth.sort_by_key(|&state| automaton.depth[state]);
        for state in by_depth {
            let (parent, byte) = into[state];
            if parent != 0 {
                automaton.fail[state] = automaton.step(automaton.fail[parent], byte);
            }
            if automaton.ends[state].is_none() {
                automaton.ends[state] = automaton.ends[automaton.fail[state]];
            }
        }
        Ok(automaton)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stops.is_empty()
    }

    /// The length of the longest, in bytes.
    pub(crate) fn longest(&self) -> usize {
        self.stops.iter().map(String::len).max().unwrap_or_default()
    }

    /// Starts the scan of a text.
    pub fn scanner(&self) -> StopScanner<'_> {
        StopScanner { stops: self, state: 0, held: String::new() }
    }

    fn step(&self, mut state: usize, byte: u8) -> usize {
        loop {
            if let Some(&next) = self.edges.get(&(state, byte)) {
                return next;
            }
            if state == 0 {
                return 0;
            }
            state = self.fail[state];
        }
    }
}

impl<'a> StopScanner<'a> {
    /// How many bytes are held back.
    pub fn n_held(&self) -> usize {
        self.held.len()
    }

    /// Takes the next piece of text; returns what can be shown now and the stop string that ended the text, if one did.
    ///
    /// The text ends before the stop string that is complete first; of several that end at the same byte, before the longest.
    /// After a match the scan is over: nothing is held any more.
    pub fn push(&mut self, text: &str) -> (String, Option<&'a str>) {
        let start = self.held.len();
        self.held.push_str(text);
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            self.state = self.stops.step(self.state, byte);
            if let Some(index) = self.stops.ends[self.state] {
                let stop = &self.stops.stops[index];
                // The stop string lies in `held`: all of a state's text is held back.
                self.held.truncate(start + at + 1 - stop.len());
                self.state = 0;
                return (std::mem::take(&mut self.held), Some(stop));
            }
        }
        // A suffix that is a prefix of valid UTF-8 starts at a character's first byte, so both halves are valid.
        let held = self.held.split_off(self.held.len() - self.stops.depth[self.state]);
        (std::mem::replace(&mut self.held, held), None)
    }

    /// The text ended without a stop string: returns what was held back.
    pub fn finish(&mut self) -> String {
        self.state = 0;
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(stops: &[&str]) -> StopStrings {
        StopStrings::new(&stops.iter().map(|s| s.to_string()).collect::<Vec<_>>()).unwrap()
    }

    /// The definition: the first stop string to be complete ends the text, the longest where several end together.
    fn naive<'a>(stops: &[&'a str], text: &'a str) -> (&'a str, Option<&'a str>) {
        for end in 0..=text.len() {
            if let Some(stop) = stops.iter().filter(|s| text.as_bytes()[..end].ends_with(s.as_bytes())).max_by_key(|s| s.len()) {
                return (&text[..end - stop.len()], Some(stop));
            }
        }
        (text, None)
    }

    /// The definition of the hold-back.
    fn longest_prefix_suffix(stops: &[&str], text: &str) -> usize {
        let is_prefix = |tail: &str| stops.iter().any(|s| s.starts_with(tail));
        text.char_indices().map(|(i, _)| i).find(|&i| is_prefix(&text[i..])).map_or(0, |i| text.len() - i)
    }

    #[test]
    fn agrees_with_the_definition_on_every_short_text() {
        // Every text of up to 7 characters over an alphabet with a two-byte character, in pieces of every size.
        let sets: [&[&str]; 6] =
            [&["ab"], &["aba", "b"], &["aab", "abé", "éa"], &["éé", "aéb"], &["abab", "baba", "bb"], &["aaaa", "aaab", "é"]];
        let alphabet = ['a', 'b', 'é'];
        for stops in sets {
            let compiled = compile(stops);
            for length in 0..=7u32 {
                for mut code in 0..3usize.pow(length) {
                    let mut text = String::new();
                    for _ in 0..length {
                        text.push(alphabet[code % 3]);
                        code /= 3;
                    }
                    for piece in 1..=3 {
                        let mut scanner = compiled.scanner();
                        let (mut shown, mut read, mut found) = (String::new(), String::new(), None);
                        for chunk in text.chars().collect::<Vec<_>>().chunks(piece) {
                            let chunk: String = chunk.iter().collect();
                            read.push_str(&chunk);
                            let (out, stop) = scanner.push(&chunk);
                            shown.push_str(&out);
                            if stop.is_some() {
                                found = stop;
                                break;
                            }
                            assert_eq!(shown.len() + longest_prefix_suffix(stops, &read), read.len(), "{stops:?} {read:?}");
                        }
                        shown.push_str(&scanner.finish());
                        assert_eq!((shown.as_str(), found), naive(stops, &text), "{stops:?} {text:?} in pieces of {piece}");
                    }
                }
            }
        }
    }

    #[test]
    fn ten_thousand_stop_strings_cost_little() {
        let stops: Vec<String> = (0..10_000).map(|i| format!("{}x{i:05}", "a".repeat(50))).collect();
        let compiled = StopStrings::new(&stops).unwrap();
        let mut scanner = compiled.scanner();
        let mut shown = 0;
        for _ in 0..20_000 {
            let (out, stop) = scanner.push("aaaaaaaaaa");
            assert_eq!(stop, None);
            shown += out.len();
        }
        assert_eq!(shown, 20_000 * 10 - 50, "50 characters may still start a stop string");
        assert_eq!(scanner.push("x00042!"), (String::new(), Some(stops[42].as_str())));
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        let error = StopStrings::new(&["a".into(), String::new()]).unwrap_err();
        assert_eq!(error.to_string(), "stop string: expected at least one character, found an empty string");
    }
}
