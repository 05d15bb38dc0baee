//! Files for the tests of this crate: folders that vanish, and small safetensors files.
//!
//! Not here: anything that a build without tests contains.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A folder that is removed when the value goes.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Dir {
        Dir(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("a file in the temporary folder");
        path
    }
}

/// A safetensors file of a header as it is given and `data` bytes 0, 1, 2, ...
pub(crate) fn file_of(header: &[u8], data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend((0..data).map(|n| n as u8));
    bytes
}

/// A header for tensors (name, dtype, shape), one behind the other, and the length of their data.
pub(crate) fn header_of(tensors: &[(&str, &str, &[usize])]) -> (String, usize) {
    let mut header = String::from("{");
    let mut begin = 0;
    for (name, dtype, shape) in tensors {
        let width = match *dtype {
            "F32" | "I32" => 4,
            "BF16" | "F16" => 2,
            "I64" => 8,
            _ => 1,
        };
        let end = begin + shape.iter().product::<usize>() * width;
        let comma = if begin == 0 && header.len() == 1 { "" } else { "," };
        write!(header, r#"{comma}"{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
            .expect("a string");
        begin = end;
    }
    header.push('}');
    (header, begin)
}

/// A safetensors file of tensors, with a header padded as the usual writer does. All bytes are zero.
pub(crate) fn safetensors(tensors: &[(&str, &str, &[usize])]) -> Vec<u8> {
    let (mut header, data) = header_of(tensors);
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut bytes = file_of(header.as_bytes(), 0);
    bytes.resize(bytes.len() + data, 0);
    bytes
}
