//! The header of a GGUF file, version 2 or 3: keys with values, and descriptions of tensors, all checked (the GGUF specification, "File
//! structure").
//!
//! Not here: what keys and tensors mean (`config.rs`, `names.rs`, `vocabulary.rs`), and the data. Nothing is allocated by a number in the
//! file that was not first compared with the bytes that are left of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use infer_kernels::DType;

use crate::error::LoadError;
use crate::extent::Extent;
use crate::safetensors::{Entry, TensorType};

/// What a GGUF file begins with.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// The longest header that is read; those in use have some 20 MB, nearly all of it vocabulary.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The most keys; files in use have some 50.
const MAX_KEYS: u64 = 1 << 16;
/// The most tensors; files in use have up to some thousands.
const MAX_TENSORS: u64 = 1 << 20;
/// The longest key and the longest name of a tensor that the specification allows.
const MAX_KEY_BYTES: u64 = 65_535;
const MAX_NAME_BYTES: u64 = 64;
/// The most dimensions of a tensor that the specification allows.
const MAX_DIMS: u32 = 4;
/// Where data begins, and each tensor in it, unless [`ALIGNMENT_KEY`] says otherwise.
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 16;
const ALIGNMENT_KEY: &str = "general.alignment";

/// The least bytes of a key with its value (a length, one letter, a type, one byte), and of a description of a tensor.
const LEAST_KEY_BYTES: u64 = 8 + 1 + 4 + 1;
const LEAST_TENSOR_BYTES: u64 = 8 + 1 + 4 + 4 + 8;

/// A value of a key. Numbers of all widths are one kind each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

/// Keys and their values.
pub(crate) type Values = BTreeMap<String, Value>;

/// A checked header.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) values: Values,
    /// In the order of the file, extents being relative to `data_begin`.
    pub(crate) tensors: Vec<Entry>,
    pub(crate) data_begin: u64,
}

/// The types of values, by their number.
const TYPES: [(&str, u64); 13] = [
    ("u8", 1),
    ("i8", 1),
    ("u16", 2),
    ("i16", 2),
    ("u32", 4),
    ("i32", 4),
    ("f32", 4),
    ("bool", 1),
    ("string", 8),
    ("array", 12),
    ("u64", 8),
    ("i64", 8),
    ("f64", 8),
];
const U32: u32 = 4;
pub(super) const ARRAY: u32 = 9;

/// Types of tensors that the format has and this program does not compute with, for messages (`ggml_type`).
const OTHER_TENSOR_TYPES: [(u32, &str); 19] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (40, "NVFP4"),
    (4, "Q4_2, which was removed"),
    (5, "Q4_3, which was removed"),
];

/// What an error is about.
#[derive(Clone, Copy)]
enum At<'a> {
    File,
    Key(&'a str),
    Tensor(&'a str),
}

/// Reads and checks a header from the beginning of a file of `length` bytes; `path` stands for the file in messages.
///
/// # Errors
/// Whatever the format forbids, naming key or tensor where there is one.
pub(crate) fn parse(path: &Path, source: impl Read, length: u64) -> Result<Header, LoadError> {
    let mut reader = Reader { path, source, position: 0, length };
    let magic: [u8; 4] = reader.array(At::File)?;
    if magic != MAGIC {
        return Err(LoadError::file(
            path,
            "a file that begins with \"GGUF\"",
            format_args!("{:?}", magic.escape_ascii().to_string()),
        ));
    }
    let version = reader.u32(At::File)?;
    if !matches!(version, 2 | 3) {
        let hint = if matches!(version.swap_bytes(), 1..=3) { " (a big-endian file?)" } else { "" };
        return Err(LoadError::file(path, "GGUF version 2 or 3", format_args!("{version}{hint}")));
    }
    let n_tensors = reader.u64(At::File)?;
    let n_keys = reader.u64(At::File)?;
    reader.check_count("keys", n_keys, LEAST_KEY_BYTES, MAX_KEYS)?;
    reader.check_count("tensors", n_tensors, LEAST_TENSOR_BYTES, MAX_TENSORS)?;
    let values = reader.values(n_keys)?;
    let alignment = alignment(path, &values)?;
    let mut descriptions = Vec::new();
    for _ in 0..n_tensors {
        descriptions.push(reader.description()?);
    }
    let data_begin = reader.position.next_multiple_of(alignment);
    // A file without tensors may end with its header.
    let data_bytes = usize::try_from(length.saturating_sub(data_begin)).map_err(|_| LoadError::memory(path, length))?;
    let tensors = lay_out(path, descriptions, alignment, data_bytes)?;
    Ok(Header { values, tensors, data_begin })
}

/// A tensor as the header describes it, unchecked but for its type.
struct Description {
    name: String,
    dtype: DType,
    /// Slowest first, as everywhere but in the file.
    shape: Vec<u64>,
    offset: u64,
}

/// Checks that each tensor begins where the one before it ended, aligned, and lies within the data.
fn lay_out(path: &Path, descriptions: Vec<Description>, alignment: u64, data_bytes: usize) -> Result<Vec<Entry>, LoadError> {
    let mut entries = Vec::new();
    let mut expected = 0_u64;
    for Description { name, dtype, shape, offset } in descriptions {
        let wrong = |expected: &dyn fmt::Display, found: &dyn fmt::Display| LoadError::tensor(path, &name, expected, found);
        if !offset.is_multiple_of(alignment) {
            return Err(wrong(&format_args!("an offset that is a multiple of {alignment}"), &offset));
        }
        if offset != expected {
            return Err(wrong(&format_args!("offset {expected}, where the tensor before ends"), &offset));
        }
        let extent = Extent::of_blocks(offset, data_bytes, &shape, dtype.block_len(), dtype.block_bytes());
        let extent = extent.map_err(|bad| wrong(&bad.expected, &bad.found))?;
        // The end is within the file, so this does not overflow.
        expected = (extent.end() as u64).next_multiple_of(alignment);
        let shape = shape.iter().map(|&dim| usize::try_from(dim)).collect::<Result<_, _>>();
        let shape = shape.map_err(|_| wrong(&"dimensions that this machine can count", &"larger ones"))?;
        entries.push(Entry { name: name.into(), dtype: TensorType::Weights(dtype), shape, extent });
    }
    Ok(entries)
}

/// The alignment of the data, checked.
fn alignment(path: &Path, values: &Values) -> Result<u64, LoadError> {
    match values.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(n)) if n.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(n) => Ok(*n),
        Some(other) => {
            let expected = format_args!("a power of two from 8 to {MAX_ALIGNMENT}");
            Err(LoadError::field(path, ALIGNMENT_KEY, expected, other))
        }
    }
}

struct Reader<'p, R> {
    path: &'p Path,
    source: R,
    position: u64,
    length: u64,
}

impl<R: Read> Reader<'_, R> {
    /// Bytes that a header may still have.
    fn left(&self) -> u64 {
        self.length.min(MAX_HEADER_BYTES).saturating_sub(self.position)
    }

    fn error(&self, at: At<'_>, expected: impl fmt::Display, found: impl fmt::Display) -> LoadError {
        match at {
            At::File => LoadError::file(self.path, expected, found),
            At::Key(key) => LoadError::field(self.path, key, expected, found),
            At::Tensor(name) => LoadError::tensor(self.path, name, expected, found),
        }
    }

    /// Refuses a number of things that there is no room for, before anything is done so many times.
    fn check_count(&self, what: &str, n: u64, least_bytes: u64, most: u64) -> Result<(), LoadError> {
        if n > most || n > self.left() / least_bytes {
            let expected = format_args!("a number of {what} that the file's {} bytes hold, at most {most}", self.length);
            return Err(LoadError::file(self.path, expected, n));
        }
        Ok(())
    }

    fn fill(&mut self, at: At<'_>, bytes: &mut [u8]) -> Result<(), LoadError> {
        if bytes.len() as u64 > self.left() {
            let limit = self.length.min(MAX_HEADER_BYTES);
            return Err(self.error(at, format_args!("a GGUF header within {limit} bytes"), "one that goes on"));
        }
        self.source.read_exact(bytes).map_err(|error| LoadError::os(self.path, "read the file", error))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self, at: At<'_>) -> Result<[u8; N], LoadError> {
        let mut bytes = [0; N];
        self.fill(at, &mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self, at: At<'_>) -> Result<u32, LoadError> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    fn u64(&mut self, at: At<'_>) -> Result<u64, LoadError> {
        Ok(u64::from_le_bytes(self.array(at)?))
    }

    /// A string of at most `most` bytes; `what` is what it is, for messages.
    fn text(&mut self, at: At<'_>, what: &str, most: u64) -> Result<String, LoadError> {
        let length = self.u64(at)?;
        if length > most || length > self.left() {
            let most = most.min(self.left());
            return Err(self.error(at, format_args!("{what} of at most {most} bytes"), format_args!("a length of {length}")));
        }
        let mut bytes = Vec::new();
        let wanted = usize::try_from(length).map_err(|_| LoadError::memory(self.path, length))?;
        bytes.try_reserve_exact(wanted).map_err(|_| LoadError::memory(self.path, length))?;
        bytes.resize(wanted, 0);
        self.fill(at, &mut bytes)?;
        String::from_utf8(bytes).map_err(|error| self.error(at, format_args!("{what} in UTF-8"), error.utf8_error()))
    }

    fn values(&mut self, n: u64) -> Result<Values, LoadError> {
        let mut values = Values::new();
        for _ in 0..n {
            let key = self.text(At::File, "a key", MAX_KEY_BYTES)?;
            if key.is_empty() {
                return Err(LoadError::file(self.path, "a key", "an empty string"));
            }
            let at = At::Key(&key);
            let kind = self.u32(at)?;
            if key == ALIGNMENT_KEY && kind != U32 {
                return Err(self.error(at, "a value of type u32", type_name(kind)));
            }
            let value = if kind == ARRAY { self.values_of_array(at)? } else { self.value(at, kind)? };
            if values.contains_key(&key) {
                return Err(self.error(at, "the key once", "a second value"));
            }
            values.insert(key, value);
        }
        Ok(values)
    }

    fn value(&mut self, at: At<'_>, kind: u32) -> Result<Value, LoadError> {
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>(at)?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array(at)?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array(at)?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array(at)?).into()),
            4 => Value::Unsigned(self.u32(at)?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array(at)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(at)?).into()),
            7 => Value::Bool(match self.array::<1>(at)?[0] {
                0 => false,
                1 => true,
                other => return Err(self.error(at, "a bool of 0 or 1", other)),
            }),
            8 => Value::Text(self.text(at, "a string", u64::MAX)?),
            10 => Value::Unsigned(self.u64(at)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(at)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(at)?)),
            other => return Err(self.error(at, "a value of type 0 to 12", type_name(other))),
        })
    }

    /// An array; of plain values, as no key in use has any other.
    fn values_of_array(&mut self, at: At<'_>) -> Result<Value, LoadError> {
        let kind = self.u32(at)?;
        let n = self.u64(at)?;
        let width = usize::try_from(kind).ok().and_then(|kind| TYPES.get(kind)).filter(|_| kind != ARRAY);
        let Some((_, width)) = width else {
            return Err(self.error(at, "an array of numbers, bools or strings", format_args!("one of {}", type_name(kind))));
        };
        if n > self.left() / width {
            let expected = format_args!("an array within the {} bytes of header left", self.left());
            return Err(self.error(at, expected, format_args!("{n} items of {}", type_name(kind))));
        }
        let n = usize::try_from(n).map_err(|_| LoadError::memory(self.path, n))?;
        match kind {
            6 | 12 => Ok(Value::Floats(self.items(at, kind, n, |value| match value {
                Value::Float(x) => Some(x as f32),
                _ => None,
            })?)),
            7 => Ok(Value::Bools(self.items(at, kind, n, |value| match value {
                Value::Bool(x) => Some(x),
                _ => None,
            })?)),
            8 => Ok(Value::Texts(self.items(at, kind, n, |value| match value {
                Value::Text(text) => Some(text),
                _ => None,
            })?)),
            _ => Ok(Value::Integers(self.items(at, kind, n, |value| value.integer())?)),
        }
    }

    /// The items of an array that was compared with the bytes left.
    fn items<T>(&mut self, at: At<'_>, kind: u32, n: usize, of: impl Fn(Value) -> Option<T>) -> Result<Vec<T>, LoadError> {
        let mut items = Vec::new();
        let bytes = (n as u64).saturating_mul(size_of::<T>() as u64);
        items.try_reserve_exact(n).map_err(|_| LoadError::memory(self.path, bytes))?;
        for _ in 0..n {
            let item = of(self.value(at, kind)?);
            items.push(item.ok_or_else(|| self.error(at, "integers below 2^63", "a larger one"))?);
        }
        Ok(items)
    }

    fn description(&mut self) -> Result<Description, LoadError> {
        let name = self.text(At::File, "a tensor's name", MAX_NAME_BYTES)?;
        let at = At::Tensor(&name);
        let n_dims = self.u32(at)?;
        if n_dims > MAX_DIMS {
            return Err(self.error(at, format_args!("at most {MAX_DIMS} dimensions"), n_dims));
        }
        let mut shape = Vec::new();
        for _ in 0..n_dims {
            match self.u64(at)? {
                0 => return Err(self.error(at, "dimensions of 1 or more", 0)),
                dim => shape.push(dim),
            }
        }
        shape.reverse();
        let id = self.u32(at)?;
        let Some(dtype) = DType::from_ggml(id) else {
            let known = OTHER_TENSOR_TYPES.iter().find(|(other, _)| *other == id);
            let found = known.map_or_else(|| format!("type {id}, which is unknown"), |(_, name)| format!("type {id}, {name}"));
            return Err(self.error(at, "a type of weights that is supported", found));
        };
        let offset = self.u64(at)?;
        Ok(Description { name, dtype, shape, offset })
    }
}

impl Value {
    /// The value as an integer below 2^63.
    pub(crate) fn integer(self) -> Option<i64> {
        match self {
            Value::Unsigned(n) => i64::try_from(n).ok(),
            Value::Signed(n) => Some(n),
            _ => None,
        }
    }
}

/// The value, or what kind of array it is, for messages.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unsigned(n) => n.fmt(f),
            Value::Signed(n) => n.fmt(f),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Bool(x) => x.fmt(f),
            Value::Text(text) => write!(f, "\"{text}\""),
            Value::Integers(items) => write!(f, "an array of {} integers", items.len()),
            Value::Floats(items) => write!(f, "an array of {} floats", items.len()),
            Value::Bools(items) => write!(f, "an array of {} bools", items.len()),
            Value::Texts(items) => write!(f, "an array of {} strings", items.len()),
        }
    }
}

/// The number of a type of values by its name in [`TYPES`].
pub(super) fn type_number(name: &str) -> u32 {
    (0..).zip(TYPES).find(|(_, (other, _))| *other == name).map_or(u32::MAX, |(number, _)| number)
}

fn type_name(kind: u32) -> String {
    let known = usize::try_from(kind).ok().and_then(|kind| TYPES.get(kind));
    known.map_or_else(|| format!("type {kind}"), |(name, _)| format!("type {name}"))
}
