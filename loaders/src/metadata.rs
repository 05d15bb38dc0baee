//! `Metadata`: a JSON object of settings behind typed lookups. A key whose value is null counts as absent, as in Python's `get`.
//!
//! Not here: what the keys mean, their defaults, and how they depend on one another (the engine's `config.rs`).

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{LoadError, one_line};
use crate::file::{MAX_CONFIG_BYTES, read_limited};
use crate::location::Location;

/// The largest integer that a size, count, id or position may be.
const MAX_INTEGER: u64 = i32::MAX as u64;

/// A JSON object from a file, or one nested in it.
#[derive(Clone, Debug)]
pub struct Metadata {
    path: Arc<Path>,
    /// Where in the file, e.g. `rope_scaling.`; empty at the top.
    prefix: String,
    fields: Map<String, Value>,
    /// What messages call a field, where the file's format has other names: the field's path to the name.
    aliases: Arc<HashMap<String, String>>,
}

impl Metadata {
    /// Settings that come from a file which is no JSON; `aliases` are the names that it has for them.
    pub(crate) fn of(path: &Path, fields: Map<String, Value>, aliases: Arc<HashMap<String, String>>) -> Metadata {
        Metadata { path: path.into(), prefix: String::new(), fields, aliases }
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    /// If it cannot be read, is longer than 4 MiB, is malformed or nested deeper than 128, or holds no object.
    pub fn read(path: &Path) -> Result<Metadata, LoadError> {
        Metadata::parse(path, &read_limited(path, MAX_CONFIG_BYTES)?)
    }

    /// Reads a JSON file of a model's folder.
    ///
    /// # Errors
    /// Those of [`Metadata::read`].
    pub(crate) fn of_folder(folder: &Location, name: &str) -> Result<Metadata, LoadError> {
        Metadata::parse(&folder.join(name), &folder.read(name, MAX_CONFIG_BYTES)?)
    }

    /// Reads some keys of a JSON file of a model's folder, of at most `limit` bytes; the values of others are passed over, not kept.
    ///
    /// # Errors
    /// Those of [`Metadata::read`].
    pub(crate) fn read_keys(folder: &Location, name: &str, limit: u64, keys: &[&str]) -> Result<Metadata, LoadError> {
        let (path, json) = (&folder.join(name), folder.read(name, limit)?);
        let mut json = serde_json::Deserializer::from_slice(&json);
        let fields = json.deserialize_map(Keys(keys)).and_then(|fields| json.end().map(|()| fields));
        let fields = fields.map_err(|error| LoadError::file(path, "a JSON object", error))?;
        Ok(Metadata::of(path, fields, Arc::default()))
    }

    /// Parses JSON that is in memory; `path` stands for it in messages.
    ///
    /// # Errors
    /// Those of [`Metadata::read`] that concern the content.
    pub fn parse(path: &Path, json: &[u8]) -> Result<Metadata, LoadError> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(fields)) => Ok(Metadata::of(path, fields, Arc::default())),
            Ok(other) => Err(LoadError::file(path, "a JSON object", shown(&other))),
            Err(error) => Err(LoadError::file(path, "valid JSON", error)),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the key is there with a value other than null.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key, as it is in the file; `None` for null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// The keys, also those with a null value.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// An integer from 1 to 2^31 - 1: a size or a number of things.
    ///
    /// # Errors
    /// If the value is anything else.
    pub fn count(&self, key: &str) -> Result<Option<usize>, LoadError> {
        self.typed(key, "an integer from 1 to 2^31 - 1", |value| integer(value).filter(|&n| n > 0))
    }

    /// An integer from 0 to 2^31 - 1: an index or an id.
    ///
    /// # Errors
    /// If the value is anything else.
    pub fn index(&self, key: &str) -> Result<Option<usize>, LoadError> {
        self.typed(key, "an integer from 0 to 2^31 - 1", integer)
    }

    /// A finite number.
    ///
    /// # Errors
    /// If the value is anything else.
    pub fn number(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.typed(key, "a finite number", |value| value.as_f64().filter(|x| x.is_finite()))
    }

    /// A finite number greater than 0.
    ///
    /// # Errors
    /// If the value is anything else.
    pub fn positive(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.typed(key, "a finite number greater than 0", |value| value.as_f64().filter(|x| x.is_finite() && *x > 0.0))
    }

    /// True or false.
    ///
    /// # Errors
    /// If the value is anything else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A string.
    ///
    /// # Errors
    /// If the value is anything else.
    pub fn text(&self, key: &str) -> Result<Option<&str>, LoadError> {
        self.typed(key, "a string", Value::as_str)
    }

    /// An array of strings.
    ///
    /// # Errors
    /// If the value is anything else.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>, LoadError> {
        self.typed(key, "an array of strings", |value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    /// A token id or an array of token ids, such as `eos_token_id`.
    ///
    /// # Errors
    /// If the value is anything else.
    pub fn ids(&self, key: &str) -> Result<Option<Vec<u32>>, LoadError> {
        let id = |value: &Value| integer(value).and_then(|id| u32::try_from(id).ok());
        self.typed(key, "a token id or an array of token ids", |value| match value {
            Value::Array(items) => items.iter().map(id).collect(),
            single => Some(vec![id(single)?]),
        })
    }

    /// An array of finite numbers.
    ///
    /// # Errors
    /// If the value is anything else.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, LoadError> {
        self.typed(key, "an array of finite numbers", |value| {
            value.as_array()?.iter().map(|item| item.as_f64().filter(|x| x.is_finite())).collect()
        })
    }

    /// A nested object. Its errors name fields as `key.field`.
    ///
    /// # Errors
    /// If the value is no object.
    pub fn object(&self, key: &str) -> Result<Option<Metadata>, LoadError> {
        let fields = self.typed(key, "an object", Value::as_object)?;
        Ok(fields.map(|fields| Metadata {
            path: Arc::clone(&self.path),
            prefix: format!("{}{key}.", self.prefix),
            fields: fields.clone(),
            aliases: Arc::clone(&self.aliases),
        }))
    }

    /// The error that says that the value of `key` is not what was expected; a missing key was found to be "nothing".
    pub fn error(&self, key: &str, expected: impl fmt::Display) -> LoadError {
        self.mismatch(key, expected, self.get(key).map_or_else(|| "nothing".to_owned(), shown))
    }

    /// An error about the value of `key`, of which `found` is the part that matters.
    pub fn mismatch(&self, key: &str, expected: impl fmt::Display, found: impl fmt::Display) -> LoadError {
        let name = format!("{}{key}", self.prefix);
        LoadError::field(&self.path, self.aliases.get(&name).unwrap_or(&name), expected, found)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.error(key, expected)),
        }
    }
}

/// The visitor of an object of which only these keys are wanted.
struct Keys<'k>(&'k [&'k str]);

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if self.0.contains(&key.as_str()) {
                let value = map.next_value()?;
                fields.insert(key, value);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(fields)
    }
}

fn integer(value: &Value) -> Option<usize> {
    value.as_u64().filter(|&n| n <= MAX_INTEGER).and_then(|n| usize::try_from(n).ok())
}

/// A value for a message: in full if it is simple, by its size if it is a collection.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("an array of {} items", items.len()),
        Value::Object(fields) => format!("an object of {} fields", fields.len()),
        Value::String(text) => format!("\"{}\"", one_line(text, 60)),
        simple => simple.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    fn of(json: &str) -> Metadata {
        Metadata::parse(Path::new("config.json"), json.as_bytes()).unwrap()
    }

    fn message<T: fmt::Debug>(result: Result<T, LoadError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn values_of_the_right_type_are_returned() {
        let m = of(
            r#"{"n": 3, "zero": 0, "x": 1e-5, "yes": true, "s": "silu", "list": ["a", "b"], "eos": [1, 2], "o": {"factor": 8}, "z": null}"#,
        );
        assert_eq!((m.count("n").unwrap(), m.index("zero").unwrap()), (Some(3), Some(0)));
        assert_eq!((m.number("x").unwrap(), m.positive("n").unwrap()), (Some(1e-5), Some(3.0)));
        assert_eq!((m.flag("yes").unwrap(), m.text("s").unwrap()), (Some(true), Some("silu")));
        assert_eq!(m.texts("list").unwrap().unwrap(), ["a", "b"]);
        assert_eq!((m.ids("eos").unwrap(), m.ids("n").unwrap()), (Some(vec![1, 2]), Some(vec![3])));
        assert_eq!(m.object("o").unwrap().unwrap().count("factor").unwrap(), Some(8));
        assert!(m.has("n") && !m.has("z") && !m.has("other"));
        assert_eq!((m.count("z").unwrap(), m.flag("other").unwrap()), (None, None));
    }

    #[test]
    fn sizes_reject_everything_else() {
        for value in ["0", "-1", "1.5", "8.0", "1e308", "\"8\"", "9223372036854775808", "2147483648", "[1]", "{}", "true"] {
            let m = of(&format!(r#"{{"hidden_size": {value}}}"#));
            let message = message(m.count("hidden_size"));
            assert!(
                message.starts_with("config.json: field 'hidden_size': expected an integer from 1 to 2^31 - 1, found "),
                "{message}"
            );
        }
        assert_eq!(of(r#"{"n": 2147483647}"#).count("n").unwrap(), Some(2_147_483_647));
    }

    #[test]
    fn other_types_reject_everything_else() {
        let m = of(r#"{"s": "x", "n": -3, "zero": 0, "list": [1, -1], "mixed": ["a", 1], "b": true}"#);
        assert_eq!(message(m.flag("s")), "config.json: field 's': expected true or false, found \"x\"");
        assert_eq!(message(m.index("n")), "config.json: field 'n': expected an integer from 0 to 2^31 - 1, found -3");
        assert_eq!(message(m.positive("zero")), "config.json: field 'zero': expected a finite number greater than 0, found 0");
        assert_eq!(
            message(m.ids("list")),
            "config.json: field 'list': expected a token id or an array of token ids, found an array of 2 items"
        );
        assert!(
            m.texts("mixed").is_err()
                && m.text("n").is_err()
                && m.object("n").is_err()
                && m.number("b").is_err()
                && m.numbers("s").is_err()
        );
    }

    #[test]
    fn nested_fields_are_named_by_their_path() {
        let m = of(r#"{"rope_scaling": {"factor": 0, "inner": {"x": 1}}}"#);
        let scaling = m.object("rope_scaling").unwrap().unwrap();
        assert!(message(scaling.positive("factor")).contains("field 'rope_scaling.factor'"));
        assert!(message(scaling.object("inner").unwrap().unwrap().flag("x")).contains("field 'rope_scaling.inner.x'"));
        assert_eq!(
            m.error("vocab_size", "a size").to_string(),
            "config.json: field 'vocab_size': expected a size, found nothing"
        );
    }

    #[test]
    fn files_that_are_no_object_are_refused_by_name() {
        let nested = "[".repeat(100_000);
        for json in [
            "",
            "{",
            "{} {}",
            "[]",
            "7",
            "\"x\"",
            r#"{"x": 1e999}"#,
            r#"{"x": NaN}"#,
            "{\"x\": \"\\ud800\"}",
            &nested,
            "\u{feff}{}",
        ] {
            let error = Metadata::parse(Path::new("config.json"), json.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("config.json: expected "), "{error}");
            assert_eq!(error.fault(), Fault::Input);
        }
        assert!(Metadata::parse(Path::new("config.json"), b"{\"\xff\": 1}").is_err());
    }

    #[test]
    fn long_values_are_cut() {
        let m = of(&format!(r#"{{"x": "{}"}}"#, "y".repeat(1 << 20)));
        assert!(message(m.flag("x")).len() < 300);
    }
}
