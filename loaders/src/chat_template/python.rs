//! Values as Python prints them, and those of its methods that templates use and the engine lacks.
//!
//! Source: the Python language reference, `json.dumps`, `float.__repr__`. Not here: the methods that minijinja's own `pycompat` has.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

use super::origin::Marks;

/// How deep lists and objects may be nested in JSON.
const MAX_DEPTH: usize = 100;
/// The most that one level of JSON is indented.
const MAX_INDENT: usize = 64;
/// The widest that a string is filled up to.
const MAX_WIDTH: usize = 10_000;

/// Python's text of a float: the fewest digits that read back the same, an exponent below 1e-4 and from 1e16 on. `None` for others.
pub(super) fn text_of_number(value: &Value) -> Option<String> {
    (value.kind() == ValueKind::Number && !value.is_integer()).then(|| f64::try_from(value.clone()).ok()).flatten().map(float)
}

fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if x != 0.0 && !(1e-4..1e16).contains(&x.abs()) {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = x.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

/// The time in a format of `strftime`.
pub(super) fn strftime(format: &str, now: &jiff::ZonedDateTime) -> Result<String, Error> {
    let mut text = String::new();
    let wrong = |error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {error}"));
    jiff::fmt::strtime::BrokenDownTime::from(now).format(format, &mut text).map_err(wrong)?;
    Ok(text)
}

/// A method that the engine does not have itself.
pub(super) fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match name {
            "strip" | "lstrip" | "rstrip" => {
                let (characters,): (Option<&str>,) = from_args(arguments)?;
                let matches = |c: char| characters.map_or(is_space(c), |characters| characters.contains(c));
                return Ok(Value::from(match name {
                    "strip" => text.trim_matches(matches),
                    "lstrip" => text.trim_start_matches(matches),
                    _ => text.trim_end_matches(matches),
                }));
            }
            "removeprefix" | "removesuffix" => {
                let (part,): (&str,) = from_args(arguments)?;
                let rest = if name == "removeprefix" { text.strip_prefix(part) } else { text.strip_suffix(part) };
                return Ok(Value::from(rest.unwrap_or(text)));
            }
            "partition" | "rpartition" => {
                let (separator,): (&str,) = from_args(arguments)?;
                let parts = if name == "partition" { text.split_once(separator) } else { text.rsplit_once(separator) };
                let (before, between, after) = match (parts, name) {
                    (Some((before, after)), _) => (before, separator, after),
                    (None, "partition") => (text, "", ""),
                    (None, _) => ("", "", text),
                };
                return Ok(Value::from(Tuple::from([before, between, after].map(Value::from))));
            }
            "split" | "rsplit" => {
                let (separator, most, named): (Option<Value>, Option<Value>, Kwargs) = from_args(arguments)?;
                let given =
                    |value: Option<Value>, name| value.map_or_else(|| named.get::<Option<Value>>(name), |value| Ok(Some(value)));
                let separator = given(separator, "sep")?.filter(|separator| !separator.is_none());
                let most = given(most, "maxsplit")?.and_then(|most| most.as_usize());
                named.assert_all_used()?;
                let separator = separator.as_ref().map(|separator| separator.as_str().ok_or_else(|| wrong("split: no string")));
                return Ok(split(text, separator.transpose()?, most, name == "rsplit")?.into_iter().map(Value::from).collect());
            }
            "index" => {
                let (part,): (&str,) = from_args(arguments)?;
                let at = text.find(part).ok_or_else(|| wrong("substring not found"))?;
                return Ok(Value::from(text[..at].chars().count()));
            }
            "swapcase" => {
                let () = from_args(arguments)?;
                let swapped =
                    |c: char| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() };
                return Ok(Value::from(text.chars().map(swapped).collect::<String>()));
            }
            "ljust" | "rjust" | "center" | "zfill" => {
                let (width, fill): (usize, Option<char>) = from_args(arguments)?;
                return Ok(Value::from(padded(text, name, width, fill.unwrap_or(if name == "zfill" { '0' } else { ' ' }))?));
            }
            _ => {}
        }
    }
    if (value.kind(), name) == (ValueKind::Map, "copy") {
        let () = from_args(arguments)?;
        return Ok(value.clone());
    }
    if (value.kind(), name) == (ValueKind::Seq, "index") {
        let (item,): (&Value,) = from_args(arguments)?;
        let position = value.try_iter()?.position(|other| other == *item);
        return position.map(Value::from).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "not in the list"));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
}

/// Python's `x[0]` and `len(x)`, which are what Jinja2 takes for a sequence.
pub(super) fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
}

/// `dict(...)`: of a mapping or pairs, and of names.
pub(super) fn dict(from: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut entries: Vec<(Value, Value)> = Vec::new();
    if let Some(from) = from.filter(|from| !from.is_undefined()) {
        let is_map = from.kind() == ValueKind::Map;
        for item in from.try_iter()? {
            match is_map {
                true => entries.push((item.clone(), from.get_item(&item)?)),
                false => entries.push((item.get_item(&Value::from(0))?, item.get_item(&Value::from(1))?)),
            }
        }
    }
    for name in named.args() {
        entries.push((Value::from(name), named.get(name)?));
    }
    Ok(Value::from_pairs(entries))
}

/// `str.split` and `str.rsplit`.
fn split<'t>(text: &'t str, separator: Option<&str>, most: Option<usize>, from_right: bool) -> Result<Vec<&'t str>, Error> {
    let most = most.unwrap_or(usize::MAX - 1).saturating_add(1);
    let mut parts: Vec<&str> = match (separator, from_right) {
        (Some(""), _) => return Err(wrong("empty separator")),
        (Some(separator), false) => text.splitn(most, separator).collect(),
        (Some(separator), true) => text.rsplitn(most, separator).collect(),
        (None, _) => {
            let (mut words, mut rest) = (Vec::new(), text.trim_matches(is_space));
            while !rest.is_empty() {
                let gap = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
                let Some(at) = gap.filter(|_| words.len() + 1 < most) else {
                    words.push(rest);
                    break;
                };
                let (left, right) = rest.split_at(at);
                let right_word = right.trim_start_matches(is_space);
                words.push(if from_right { right_word } else { left });
                rest = if from_right { left.trim_end_matches(is_space) } else { right_word };
            }
            words
        }
    };
    if from_right {
        parts.reverse();
    }
    Ok(parts)
}

/// `str.ljust` and its like.
fn padded(text: &str, method: &str, width: usize, fill: char) -> Result<String, Error> {
    if width > MAX_WIDTH {
        return Err(wrong(&format!("{method}: a width above {MAX_WIDTH}")));
    }
    let missing = width.saturating_sub(text.chars().count());
    let fill = |n: usize| fill.to_string().repeat(n);
    // Python's `center` puts the odd one to the left where the width is odd.
    let left = match method {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    Ok(match (method, text.chars().next()) {
        ("zfill", Some(sign @ ('+' | '-'))) => format!("{sign}{}{}", fill(missing), &text[1..]),
        _ => format!("{}{text}{}", fill(left), fill(missing - left)),
    })
}

/// What `str.strip` takes for white space: Unicode's, and four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `json.dumps(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`, which is transformers' `tojson`.
pub(super) fn tojson(value: &Value, positional: &[Value], named: &Kwargs, marks: Option<Marks>) -> Result<String, Error> {
    let argument = |position: usize, name: &str| -> Result<Option<Value>, Error> {
        let given: Option<Value> = positional.get(position).cloned().map_or_else(|| named.get(name), |value| Ok(Some(value)))?;
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let is_set = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let ensure_ascii = is_set(argument(0, "ensure_ascii")?);
    let indent = match argument(1, "indent")? {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) if text.len() <= MAX_INDENT => text.to_owned(),
            None if indent.is_integer() || indent.kind() == ValueKind::Bool => {
                let n = i64::try_from(indent.clone()).ok().filter(|&n| n <= MAX_INDENT as i64);
                let n = n.ok_or_else(|| wrong(&format!("tojson: indent above {MAX_INDENT}")))?;
                " ".repeat(usize::try_from(n).unwrap_or(0))
            }
            _ => return Err(wrong("tojson: an indent that is no short text or number")),
        }),
    };
    let (item_separator, key_separator) = match argument(2, "separators")? {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => {
            let pair: Vec<Value> = pair.try_iter()?.collect();
            match &pair[..] {
                [item, key] => (item.to_string(), key.to_string()),
                _ => return Err(wrong("tojson: separators that are not two")),
            }
        }
    };
    let sort_keys = is_set(argument(3, "sort_keys")?);
    named.assert_all_used()?;
    let mut json = Json { text: String::new(), ensure_ascii, indent, item_separator, key_separator, sort_keys, marks };
    json.value(value, 0)?;
    Ok(json.text)
}

fn wrong(detail: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail.to_owned())
}

struct Json {
    text: String,
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
    marks: Option<Marks>,
}

impl Json {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(wrong("tojson: nesting deeper than 100"));
        }
        match value.kind() {
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.text.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.group('[', ']', items.len(), depth, |json, n| json.value(&items[n], depth + 1))?;
            }
            ValueKind::Map => {
                let mut entries = Vec::new();
                for key in value.try_iter()? {
                    entries.push((text_of_key(&key)?, value.get_item(&key)?));
                }
                if self.sort_keys {
                    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.group('{', '}', entries.len(), depth, |json, n| {
                    let (key, item) = &entries[n];
                    json.string(key);
                    json.text.push_str(&json.key_separator.clone());
                    json.value(item, depth + 1)
                })?;
            }
            kind => return Err(wrong(&format!("tojson: a value of type {kind}"))),
        }
        Ok(())
    }

    fn group(
        &mut self,
        open: char,
        close: char,
        len: usize,
        depth: usize,
        mut item: impl FnMut(&mut Json, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.text.push(open);
        for n in 0..len {
            if n > 0 {
                self.text.push_str(&self.item_separator.clone());
            }
            self.new_line(depth + 1);
            item(self, n)?;
        }
        if len > 0 {
            self.new_line(depth);
        }
        self.text.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.text.push('\n');
            self.text.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            let is_mark = self.marks.is_some_and(|marks| marks.contains(c));
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && c >= '\u{7f}' && !is_mark) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string does not fail.
                        let _ = write!(self.text, "\\u{unit:04x}");
                    }
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

/// A number as `json.dumps` prints it.
fn number(value: &Value) -> String {
    match text_of_number(value).as_deref() {
        None => value.to_string(),
        Some("nan") => "NaN".to_owned(),
        Some("inf") => "Infinity".to_owned(),
        Some("-inf") => "-Infinity".to_owned(),
        Some(text) => text.to_owned(),
    }
}

/// A key as `json.dumps` writes it: as a string, whatever it is.
fn text_of_key(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => Ok(number(key)),
        kind => Err(wrong(&format!("tojson: a key of type {kind}"))),
    }
}
