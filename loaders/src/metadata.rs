//! `Metadata`: a JSON object of settings behind typed lookups. A key whose value is null counts as absent, as in Python's `get`.
//!
//! Not here: what the keys mean, their defaults, and how they depend on one another (the engine's `config.rs`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{LoadError, one_line};
use crate::file::{MAX_CONFIG_BYTES, read_limited};

/// The largest integer that a size, count, id or position may be.
const MAX_INTEGER: u64 = i32::MAX as u64;

/// A JSON object from a file, or one nested in it.
#[derive(Clone, Debug)]
pub struct Metadata {
    path: Arc<Path>,
    /// Where in the file, e.g. `rope_scaling.`; empty at the top.
    prefix: String,
    fields: Map<String, Value>,
}

impl Metadata {
    /// Reads a JSON file.
    ///
    /// # Errors
    /// If it cannot be read, is longer than 4 MiB, is malformed or nested deeper than 128, or holds no object.
    pub fn read(path: &Path) -> Result<Metadata, LoadError> {
        Metadata::parse(path, &read_limited(path, MAX_CONFIG_BYTES)?)
    }

    /// Parses JSON that is in memory; `path` stands for it in messages.
    ///
    /// # Errors
    /// Those of [`Metadata::read`] that concern the content.
    pub fn parse(path: &Path, json: &[u8]) -> Result<Metadata, LoadError> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(fields)) => Ok(Metadata { path: path.into(), prefix: String::new(), fields }),
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
        }))
    }

    /// The error that says that the value of `key` is not what was expected; a missing key was found to be "nothing".
    pub fn error(&self, key: &str, expected: impl fmt::Display) -> LoadError {
        let found = self.get(key).map_or_else(|| "nothing".to_owned(), shown);
        LoadError::field(&self.path, &format!("{}{key}", self.prefix), expected, found)
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
