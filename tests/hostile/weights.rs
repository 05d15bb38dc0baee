//! A safetensors file taken apart and put together wrong.
//!
//! Not here: which wrongs there are.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;

/// The parts of a safetensors file. After a change of `header`, `length` still is that of the old one unless [`Parts::fit`] is called.
#[derive(Clone)]
pub struct Parts {
    /// What the first eight bytes say.
    pub length: u64,
    /// The JSON text, or what is in its place.
    pub header: Vec<u8>,
    /// What comes behind it.
    pub data: Vec<u8>,
    /// Where given, the length that the file is cut or extended to, with zeros that take no disk.
    pub file_length: Option<u64>,
}

impl Parts {
    /// Takes a good file apart.
    pub fn read(path: &Path) -> Parts {
        let file = fs::read(path).unwrap();
        let (prefix, rest) = file.split_first_chunk().unwrap();
        let length = u64::from_le_bytes(*prefix);
        let (header, data) = rest.split_at(usize::try_from(length).unwrap());
        Parts { length, header: header.to_vec(), data: data.to_vec(), file_length: None }
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) {
        fs::write(path, self.bytes()).unwrap();
        if let Some(length) = self.file_length {
            File::options().write(true).open(path).unwrap().set_len(length).unwrap();
        }
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.length.to_le_bytes()[..], &self.header, &self.data].concat()
    }

    /// Makes the length that of the header.
    pub fn fit(&mut self) {
        self.length = self.header.len() as u64;
    }

    /// Puts another text in the header's place.
    pub fn set_header(&mut self, text: impl AsRef<[u8]>) {
        self.header = text.as_ref().to_vec();
        self.fit();
    }

    /// Replaces the one place where the header says `from`.
    pub fn replace(&mut self, from: &str, to: &str) {
        let text = String::from_utf8(self.header.clone()).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from}");
        self.set_header(text.replace(from, to));
    }

    /// Adds text in front of the last brace.
    pub fn append(&mut self, text: &str) {
        let header = String::from_utf8(self.header.clone()).unwrap();
        let (entries, _) = header.rsplit_once('}').unwrap();
        self.set_header(format!("{entries}{text}}}"));
    }

    /// Pads the header so that the data is aligned for every element.
    pub fn align(&mut self) {
        let padding = self.header.len().next_multiple_of(8) - self.header.len();
        self.set_header([&self.header[..], &b" ".repeat(padding)].concat());
    }

    /// Changes the description of one tensor.
    pub fn edit(&mut self, tensor: &str, change: impl FnOnce(&mut Value)) {
        let mut header: Value = serde_json::from_slice(&self.header).unwrap();
        change(header.get_mut(tensor).unwrap());
        self.set_header(header.to_string());
    }

    /// Where the bytes of a tensor begin in `data`.
    pub fn offset(&self, tensor: &str) -> usize {
        let header: Value = serde_json::from_slice(&self.header).unwrap();
        usize::try_from(header[tensor]["data_offsets"][0].as_u64().unwrap()).unwrap()
    }
}
