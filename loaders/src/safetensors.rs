//! A safetensors file: its header, checked, and its tensors (formats.md section 3).
//!
//! Not here: which tensors a model needs, and files split into shards (`shards.rs`). The header is parsed with our own visitor,
//! not by the `safetensors` crate, whose parser lets a repeated name overwrite the first and cannot say which tensor is wrong;
//! that crate gives the list of element types and their widths.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use ::safetensors::Dtype;
use infer_kernels::DType;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::error::LoadError;
use crate::extent::{BadExtent, Extent, Shape};

/// The longest header that the format allows.
pub(crate) const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes of the number at the start of the file that says how long the header is.
pub(crate) const PREFIX_BYTES: usize = 8;
/// The most dimensions a tensor may have. The format sets no limit; no model in use exceeds six.
const MAX_DIMS: usize = 8;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorType {
    /// A type that weights may have.
    Weights(DType),
    /// 64-bit signed integers: token ids in a reference file.
    I64,
    /// A type of the format that this program does not compute with.
    Other(OtherType),
}

/// A safetensors element type that is neither a weight type nor `I64`. It can only be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherType(Dtype);

/// One tensor as the header describes it, checked.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Box<str>,
    pub(crate) dtype: TensorType,
    pub(crate) shape: Box<[usize]>,
    /// Where in the data section, which begins behind the header.
    pub(crate) extent: Extent,
}

impl TensorType {
    /// The alignment in bytes that computing with such elements needs; 1 where this program does not compute with them in place.
    pub(crate) fn alignment(self) -> usize {
        match self {
            TensorType::Weights(dtype) => dtype.alignment(),
            TensorType::I64 | TensorType::Other(_) => 1,
        }
    }

    fn of(dtype: Dtype, name: &str) -> TensorType {
        match (DType::from_safetensors(name), dtype) {
            (Some(weights), _) => TensorType::Weights(weights),
            (None, Dtype::I64) => TensorType::I64,
            (None, other) => TensorType::Other(OtherType(other)),
        }
    }
}

/// The name that the format uses, e.g. `BF16`.
impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Not `Display` of DType, which is this program's spelling.
            TensorType::Weights(dtype) => f.write_str(&dtype.name().to_uppercase()),
            TensorType::I64 => f.write_str("I64"),
            TensorType::Other(OtherType(dtype)) => write!(f, "{dtype}"),
        }
    }
}

/// The length of the header of a file of `file_bytes` bytes that starts with `prefix`.
///
/// # Errors
/// If it exceeds the format's limit or the file.
pub(crate) fn header_bytes(path: &Path, prefix: [u8; PREFIX_BYTES], file_bytes: u64) -> Result<u64, LoadError> {
    let length = u64::from_le_bytes(prefix);
    let rest = file_bytes.saturating_sub(PREFIX_BYTES as u64);
    if length > MAX_HEADER_BYTES {
        let expected = format_args!("a safetensors header of at most {MAX_HEADER_BYTES} bytes");
        return Err(LoadError::file(path, expected, format_args!("a header length of {length}")));
    }
    if length > rest {
        let expected = format_args!("a safetensors header within the file's {file_bytes} bytes");
        return Err(LoadError::file(path, expected, format_args!("a header length of {length}")));
    }
    Ok(length)
}

/// The error for a file that is too short to have a header length.
pub(crate) fn too_short(path: &Path, file_bytes: u64) -> LoadError {
    LoadError::file(path, "a safetensors file of 8 bytes or more", format_args!("{file_bytes} bytes"))
}

/// Parses and checks a header for a data section of `data_bytes` bytes. The entries come back in the order of their names.
///
/// # Errors
/// Whatever the format forbids, naming the tensor where there is one.
pub(crate) fn parse_header(path: &Path, header: &[u8], data_bytes: usize) -> Result<Vec<Entry>, LoadError> {
    if header.first() != Some(&b'{') {
        let found = match header.first() {
            Some(byte) => format!("a first byte of {byte:#04x}"),
            None => "an empty header".to_owned(),
        };
        return Err(LoadError::file(path, "a safetensors header that begins with '{'", found));
    }
    let mut parser = HeaderParser { path, data_bytes, entries: Vec::new(), current: None, failure: None };
    let mut json = serde_json::Deserializer::from_slice(header);
    let parsed = json.deserialize_map(&mut parser).and_then(|()| json.end());
    if let Some(failure) = parser.failure {
        return Err(failure);
    }
    if let Err(error) = parsed {
        return Err(match &parser.current {
            Some(name) => LoadError::tensor(path, name, "a valid description in the safetensors header", error),
            None => LoadError::file(path, "a safetensors header of valid JSON", error),
        });
    }
    let mut entries = parser.entries;
    check_layout(path, &mut entries, data_bytes)?;
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    match entries.iter().zip(entries.iter().skip(1)).find(|(a, b)| a.name == b.name) {
        Some((repeated, _)) => Err(LoadError::tensor(path, &repeated.name, "one tensor of this name", "several")),
        None => Ok(entries),
    }
}

/// Sorts by position and checks that the tensors fill the data section: no hole, no overlap, nothing behind the last.
fn check_layout(path: &Path, entries: &mut [Entry], data_bytes: usize) -> Result<(), LoadError> {
    entries.sort_unstable_by_key(|entry| entry.extent);
    let mut end = 0;
    for entry in entries.iter() {
        let begin = entry.extent.begin();
        if begin != end {
            let what = if begin > end { "a hole" } else { "an overlap" };
            let expected = format_args!("offset {end}, where the tensor before ends");
            return Err(LoadError::tensor(path, &entry.name, expected, format_args!("offset {begin}: {what}")));
        }
        end = entry.extent.end();
    }
    if end == data_bytes {
        return Ok(());
    }
    let found = format!("{data_bytes} bytes: {} behind the last tensor", data_bytes - end);
    Err(match entries.last() {
        Some(last) => LoadError::tensor(path, &last.name, format_args!("the data to end with it, after {end} bytes"), found),
        None => LoadError::file(path, "no data behind a header without tensors", found),
    })
}

/// The visitor of the header's object. An error about a tensor's content goes to `failure`, because serde's would name no tensor;
/// for errors of syntax and shape, `current` says which tensor was being read.
struct HeaderParser<'p> {
    path: &'p Path,
    data_bytes: usize,
    entries: Vec<Entry>,
    current: Option<String>,
    failure: Option<LoadError>,
}

impl<'de> Visitor<'de> for &mut HeaderParser<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(A::Error::custom("a second `__metadata__`"));
                }
                map.next_value_seed(StringMap)?;
                continue;
            }
            match map.next_value_seed(AsObject) {
                Ok(description) => match description.check(self.path, &name, self.data_bytes) {
                    Ok(entry) => self.entries.push(entry),
                    Err(failure) => {
                        self.failure = Some(failure);
                        return Err(A::Error::custom("a wrong tensor"));
                    }
                },
                Err(error) => {
                    self.current = Some(name);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Reads a [`Description`]. serde's own reader would take a list of its fields, too.
struct AsObject;

impl<'de> DeserializeSeed<'de> for AsObject {
    type Value = Description<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AsObject {
    type Value = Description<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Description::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A tensor as the header describes it, unchecked. Unknown fields are passed over, as the reference implementation does.
#[derive(Deserialize)]
struct Description<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Dims,
    data_offsets: (u64, u64),
}

impl Description<'_> {
    fn check(&self, path: &Path, name: &str, data_bytes: usize) -> Result<Entry, LoadError> {
        let wrong = |bad: BadExtent| LoadError::tensor(path, name, bad.expected, bad.found);
        let dtype = Dtype::deserialize(StrDeserializer::<serde::de::value::Error>::new(&self.dtype))
            .map_err(|_| LoadError::tensor(path, name, "a dtype of the safetensors format", format_args!("'{}'", self.dtype)))?;
        let dims = self.shape.dims();
        let (begin, end) = self.data_offsets;
        let extent = Extent::of_tensor(begin, end, data_bytes, dims, dtype.bitsize()).map_err(wrong)?;
        let shape = dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<_, _>>();
        // Reached on 32-bit machines only, by an empty tensor such as [0, 2^40].
        let shape = shape.map_err(|_| LoadError::tensor(path, name, "dimensions that this machine can count", Shape(dims)))?;
        Ok(Entry { name: name.into(), dtype: TensorType::of(dtype, &self.dtype), shape, extent })
    }
}

/// A shape, on the stack: a hostile header may hold fifty million dimensions.
struct Dims {
    all: [u64; MAX_DIMS],
    n: usize,
}

impl Dims {
    fn dims(&self) -> &[u64] {
        self.all.get(..self.n).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Dims, D::Error> {
        struct DimsVisitor;
        impl<'de> Visitor<'de> for DimsVisitor {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MAX_DIMS} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dims, A::Error> {
                let mut dims = Dims { all: [0; MAX_DIMS], n: 0 };
                while let Some(dim) = seq.next_element()? {
                    let n = dims.n;
                    *dims.all.get_mut(n).ok_or_else(|| A::Error::invalid_length(n + 1, &self))? = dim;
                    dims.n = n + 1;
                }
                Ok(dims)
            }
        }
        deserializer.deserialize_seq(DimsVisitor)
    }
}

/// Checks that `__metadata__` is null or an object of strings with distinct keys. Its content means nothing to this program.
struct StringMap;

impl<'de> DeserializeSeed<'de> for StringMap {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StringMap {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings as `__metadata__`")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some((key, _)) = map.next_entry::<String, Cow<'de, str>>()? {
            if !keys.insert(key) {
                return Err(A::Error::custom("a repeated key in `__metadata__`"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::testing::{file_of, safetensors};
    use crate::{TensorFile, safetensors_in_memory};

    fn load(bytes: &[u8]) -> Result<TensorFile, LoadError> {
        safetensors_in_memory(Path::new("m.safetensors"), Cow::Owned(bytes.to_vec()))
    }

    /// Checks that a header over `data` bytes is refused with a message that contains `message`.
    fn check_refused(header: &str, data: usize, message: &str) {
        check_bytes_refused(&file_of(header.as_bytes(), data), message);
    }

    fn check_bytes_refused(bytes: &[u8], message: &str) {
        let error = load(bytes).unwrap_err().to_string();
        assert!(error.starts_with("m.safetensors: ") && error.contains(message), "{error}");
        assert!(error.chars().count() <= 300 && !error.contains('\n'), "{error}");
    }

    fn one(dtype: &str, shape: &str, begin: &str, end: &str) -> String {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
    }

    #[test]
    fn a_valid_file_gives_its_tensors_in_the_order_of_names() {
        let file =
            load(&safetensors(&[("b", "F32", &[2, 3]), ("a", "BF16", &[4]), ("c", "I64", &[]), ("d", "F8_E4M3", &[3])])).unwrap();
        let seen: Vec<String> =
            file.tensors().map(|t| format!("{} {} {:?} {}", t.name(), t.dtype(), t.shape(), t.bytes().len())).collect();
        assert_eq!(seen, ["a BF16 [4] 8", "b F32 [2, 3] 24", "c I64 [] 8", "d F8_E4M3 [3] 3"]);
        assert_eq!(file.tensor("b").unwrap().bytes()[..4], 0_u32.to_le_bytes());
        assert!(file.tensor("e").is_none());
    }

    #[test]
    fn empty_tensors_and_scalars_are_valid() {
        let header = r#"{"__metadata__":{"format":"pt"},"e":{"dtype":"F32","shape":[2,0],"data_offsets":[0,0]},
            "f":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
            "z":{"dtype":"F16","shape":[0],"data_offsets":[4,4]}}   "#;
        assert_eq!(load(&file_of(header.as_bytes(), 4)).unwrap().tensors().count(), 4);
        assert_eq!(load(&file_of(b"{}", 0)).unwrap().tensors().count(), 0);
        assert_eq!(load(&file_of(br#"{"__metadata__":null}"#, 0)).unwrap().tensors().count(), 0);
    }

    #[test]
    fn lengths_are_checked_before_anything_is_read() {
        check_bytes_refused(b"", "8 bytes or more, found 0 bytes");
        check_bytes_refused(&[1; 7], "found 7 bytes");
        check_bytes_refused(&u64::MAX.to_le_bytes(), "at most 100000000 bytes, found a header length of 18446744073709551615");
        check_bytes_refused(&100_000_001_u64.to_le_bytes(), "at most 100000000 bytes");
        check_bytes_refused(&[3, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'], "within the file's 10 bytes, found a header length of 3");
    }

    #[test]
    fn headers_that_are_no_header_are_refused() {
        check_refused("", 0, "an empty header");
        check_bytes_refused(&file_of(b"\xff", 0), "begins with '{', found a first byte of 0xff");
        check_refused(" {}", 0, "begins with '{'");
        check_refused("{", 0, "valid JSON");
        check_refused("{} x", 0, "valid JSON");
        check_bytes_refused(&file_of(b"{\"\xff\":1}", 0), "valid JSON");
        check_refused(&format!(r#"{{"w":{}"#, "[".repeat(100_000)), 0, "tensor 'w'");
        check_refused(&format!(r#"{{"w":{{"dtype":{}"#, "[".repeat(100_000)), 0, "tensor 'w'");
        check_refused(r#"{"__metadata__":{"a":1}}"#, 0, "valid JSON");
        check_refused(r#"{"__metadata__":"a"}"#, 0, "`__metadata__`");
        check_refused(r#"{"__metadata__":{},"__metadata__":{}}"#, 0, "second");
        check_refused(r#"{"__metadata__":{"a":"b","a":"b"}}"#, 0, "repeated");
    }

    #[test]
    fn wrong_descriptions_name_the_tensor() {
        check_refused(r#"{"w":7}"#, 0, "tensor 'w': expected a valid description");
        check_refused(r#"{"w":{"dtype":"F32","shape":[1]}}"#, 4, "tensor 'w'");
        check_refused(&one("Q4_0", "[1]", "0", "4"), 4, "tensor 'w': expected a dtype of the safetensors format, found 'Q4_0'");
        check_refused(&one("f32", "[1]", "0", "4"), 4, "found 'f32'");
        for shape in ["[-1]", "[1.5]", "[\"1\"]", "null", "[18446744073709551616]", "7"] {
            check_refused(&one("F32", shape, "0", "4"), 4, "tensor 'w': expected a valid description");
        }
        check_refused(&one("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4"), 4, "at most 8 dimensions");
        check_refused(&one("F32", "[1]", "-1", "4"), 4, "tensor 'w'");
    }

    #[test]
    fn extents_are_checked() {
        check_refused(&one("F32", "[1]", "4", "0"), 4, "tensor 'w': expected offsets in order");
        check_refused(&one("F32", "[2]", "0", "8"), 4, "within the 4 bytes of data, found end 8");
        check_refused(&one("F32", "[2]", "0", "4"), 4, "8 bytes for shape [2], found 4 bytes");
        check_refused(&one("U8", "[2,18446744073709551614]", "0", "4"), 4, "below 2^63");
        check_refused(&one("U8", "[2,9223372036854775807]", "0", "4"), 4, "below 2^63");
        check_refused(&one("F4", "[7]", "0", "4"), 4, "whole number of bytes");
        check_refused(&one("F32", "[1]", "0", "4"), 5, "tensor 'w': expected the data to end with it, after 4 bytes");
        check_refused(&one("F32", "[1]", "4", "8"), 8, "offset 0, where the tensor before ends, found offset 4: a hole");
        check_refused("{}", 1, "no data behind a header without tensors");
    }

    #[test]
    fn overlaps_holes_and_repeated_names_are_refused() {
        let two = |first: &str, second: &str, a: (usize, usize), b: (usize, usize)| {
            let entry = |(begin, end): (usize, usize)| {
                format!(r#"{{"dtype":"U8","shape":[{}],"data_offsets":[{begin},{end}]}}"#, end - begin)
            };
            format!(r#"{{"{first}":{},"{second}":{}}}"#, entry(a), entry(b))
        };
        assert!(load(&file_of(two("a", "b", (4, 8), (0, 4)).as_bytes(), 8)).is_ok());
        check_refused(
            &two("a", "b", (0, 4), (3, 8)),
            8,
            "tensor 'b': expected offset 4, where the tensor before ends, found offset 3: an overlap",
        );
        check_refused(&two("a", "b", (0, 4), (0, 4)), 4, "an overlap");
        check_refused(
            &two("a", "b", (0, 4), (5, 8)),
            8,
            "tensor 'b': expected offset 4, where the tensor before ends, found offset 5: a hole",
        );
        check_refused(&two("a", "a", (0, 4), (4, 8)), 8, "tensor 'a': expected one tensor of this name, found several");
        check_refused(&two("a", "a", (0, 0), (0, 0)), 0, "tensor 'a': expected one tensor of this name");
        check_refused(&two("a", "\\u0061", (0, 0), (0, 0)), 0, "tensor 'a': expected one tensor of this name");
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_a_clean_error_or_a_valid_file() {
        let bytes = safetensors(&[("model.norm.weight", "F32", &[3]), ("model.embed_tokens.weight", "BF16", &[2, 3])]);
        for end in 0..bytes.len() {
            assert!(load(&bytes[..end]).is_err(), "cut to {end} bytes");
        }
        let header_end = bytes.len() - 24;
        for at in 0..header_end {
            for flip in 1..=255_u8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= flip;
                match load(&flipped) {
                    Ok(file) => assert_eq!(file.tensors().map(|t| t.bytes().len()).sum::<usize>(), 24),
                    Err(error) => assert!(!error.to_string().contains('\n')),
                }
            }
        }
    }

    #[test]
    fn the_reference_parser_accepts_what_we_accept() {
        // Ours is stricter in what it says in its documentation only: repeated names, and more than eight dimensions.
        let bytes = safetensors(&[("w", "F32", &[3]), ("v", "BF16", &[2, 3])]);
        let header_end = bytes.len() - 24;
        for at in 0..header_end {
            for flip in [1, 2, 4, 8, 16, 32, 64] {
                let mut flipped = bytes.clone();
                flipped[at] ^= flip;
                let reference = ::safetensors::SafeTensors::deserialize(&flipped);
                let ours = load(&flipped);
                assert_eq!(reference.is_ok(), ours.is_ok(), "byte {at}, flip {flip}: {reference:?}, {ours:?}");
            }
        }
    }
}
