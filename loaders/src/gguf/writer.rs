//! The beginning of a GGUF file, version 3, as bytes: keys with values, and descriptions of tensors (the GGUF specification, "File
//! structure").
//!
//! Not here: what keys a model has (`export.rs` and who calls it), the tensors' data, and files: whoever writes these bytes writes the data
//! of each tensor after them, padded to [`GGUF_ALIGNMENT`].

use infer_kernels::DType;

use super::header::{ARRAY, DEFAULT_ALIGNMENT, MAGIC, type_number};

/// Where data begins, and each tensor in it.
pub const GGUF_ALIGNMENT: u64 = DEFAULT_ALIGNMENT;

/// The version that is written.
const VERSION: u32 = 3;

/// A value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// An unsigned number of 32 bits, the type of counts and ids.
    U32(u32),
    /// A number of single precision.
    F32(f32),
    /// True or false.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array of signed numbers of 32 bits.
    I32s(Vec<i32>),
    /// An array of numbers of single precision.
    F32s(Vec<f32>),
    /// An array of strings.
    Texts(Vec<String>),
}

/// What a file says before its data.
#[derive(Clone, Debug, Default)]
pub struct GgufHeader {
    keys: Vec<(String, GgufValue)>,
    tensors: Vec<Described>,
}

#[derive(Clone, Debug)]
struct Described {
    name: String,
    shape: Vec<usize>,
    dtype: DType,
    n_bytes: u64,
}

impl GgufHeader {
    /// Adds a key after the others. A key that is there already keeps its value.
    pub fn key(&mut self, key: impl Into<String>, value: GgufValue) {
        let key = key.into();
        if !self.keys.iter().any(|(other, _)| *other == key) {
            self.keys.push((key, value));
        }
    }

    /// Adds a tensor after the others; `shape` is slowest first. Returns the bytes of its data; none if a row is no whole number of
    /// blocks, or the bytes are more than a file can have.
    pub fn tensor(&mut self, name: &str, shape: &[usize], dtype: DType) -> Option<u64> {
        let row = shape.last().copied().unwrap_or(1);
        let n_rows = shape.iter().rev().skip(1).try_fold(1_usize, |n, &dim| n.checked_mul(dim))?;
        let n_bytes = u64::try_from(dtype.row_bytes(row)?.checked_mul(n_rows)?).ok()?;
        self.tensors.push(Described { name: name.to_owned(), shape: shape.to_vec(), dtype, n_bytes });
        Some(n_bytes)
    }

    /// The bytes before the first tensor's data, padded.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            text(&mut bytes, key);
            value.append_to(&mut bytes);
        }
        let mut offset = 0_u64;
        for Described { name, shape, dtype, n_bytes } in &self.tensors {
            text(&mut bytes, name);
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&dim| bytes.extend((dim as u64).to_le_bytes()));
            bytes.extend(dtype.ggml_id().to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset += n_bytes.next_multiple_of(GGUF_ALIGNMENT);
        }
        let padding = (bytes.len() as u64).next_multiple_of(GGUF_ALIGNMENT) - bytes.len() as u64;
        bytes.extend((0..padding).map(|_| 0));
        bytes
    }

    /// Bytes of the data of all tensors, padded.
    pub fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.n_bytes.next_multiple_of(GGUF_ALIGNMENT)).sum()
    }
}

impl GgufValue {
    /// The value with its type before it.
    fn append_to(&self, bytes: &mut Vec<u8>) {
        fn array(bytes: &mut Vec<u8>, kind: &str, n: usize) {
            bytes.extend(ARRAY.to_le_bytes());
            bytes.extend(type_number(kind).to_le_bytes());
            bytes.extend((n as u64).to_le_bytes());
        }
        let mut of = |kind: &str, value: &[u8]| {
            bytes.extend(type_number(kind).to_le_bytes());
            bytes.extend(value);
        };
        match self {
            GgufValue::U32(n) => of("u32", &n.to_le_bytes()),
            GgufValue::F32(x) => of("f32", &x.to_le_bytes()),
            GgufValue::Bool(flag) => of("bool", &[u8::from(*flag)]),
            GgufValue::Text(value) => {
                of("string", &[]);
                text(bytes, value);
            }
            GgufValue::I32s(items) => {
                array(bytes, "i32", items.len());
                items.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
            }
            GgufValue::F32s(items) => {
                array(bytes, "f32", items.len());
                items.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
            }
            GgufValue::Texts(items) => {
                array(bytes, "string", items.len());
                items.iter().for_each(|item| text(bytes, item));
            }
        }
    }
}

/// A string with its length before it.
fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::header::{Value, parse};
    use super::*;

    /// What is written is read back, by the reader that checks everything.
    #[test]
    fn headers_come_back_as_they_were() {
        let mut header = GgufHeader::default();
        header.key("a.u32", GgufValue::U32(7));
        header.key("a.f32", GgufValue::F32(0.1));
        header.key("a.bool", GgufValue::Bool(true));
        header.key("a.text", GgufValue::Text("é\n".into()));
        header.key("a.i32s", GgufValue::I32s(vec![-1, 2]));
        header.key("a.f32s", GgufValue::F32s(vec![]));
        header.key("a.texts", GgufValue::Texts(vec!["".into(), "x".into()]));
        header.key("a.u32", GgufValue::U32(8));
        assert_eq!(header.tensor("t", &[3, 64], DType::Q4_0), Some(3 * 36));
        assert_eq!(header.tensor("u", &[5], DType::F32), Some(20));
        assert_eq!(header.tensor("bad", &[2, 33], DType::Q4_0), None);
        assert_eq!(header.tensor("large", &[usize::MAX, 64], DType::Q4_0), None);
        let bytes = header.to_bytes();
        assert_eq!((bytes.len() % 32, header.data_bytes()), (0, 128 + 32));
        let length = bytes.len() as u64 + header.data_bytes();
        let parsed = parse(Path::new("m.gguf"), &bytes[..], length).unwrap();
        assert_eq!(parsed.data_begin, bytes.len() as u64);
        let expected = [
            ("a.bool", Value::Bool(true)),
            ("a.f32", Value::Float(f64::from(0.1_f32))),
            ("a.f32s", Value::Floats(vec![])),
            ("a.i32s", Value::Integers(vec![-1, 2])),
            ("a.text", Value::Text("é\n".into())),
            ("a.texts", Value::Texts(vec!["".into(), "x".into()])),
            ("a.u32", Value::Unsigned(7)),
        ];
        assert!(parsed.values.iter().map(|(key, value)| (&key[..], value.clone())).eq(expected), "{:?}", parsed.values);
        let described: Vec<_> = parsed.tensors.iter().map(|t| (&*t.name, &t.shape[..], t.extent.range())).collect();
        assert_eq!(described, [("t", &[3, 64][..], 0..108), ("u", &[5][..], 128..148)]);
        assert!(parse(Path::new("m.gguf"), &bytes[..], length - 13).unwrap_err().to_string().contains("tensor 'u'"));
    }
}
