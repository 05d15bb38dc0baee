//! Writing GGUF files, good ones and ones that lie: every number of the header can be set.
//!
//! Not here: what is written, and what is expected of it.

use infer_kernels::DType;

/// Numbers of the types of values.
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const F32: u32 = 6;
pub const BOOL: u32 = 7;
pub const TEXT: u32 = 8;
pub const ARRAY: u32 = 9;

/// Alignment of the data.
pub const ALIGNMENT: usize = 32;

/// A file to be written.
#[derive(Clone)]
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    /// What the file says instead of the number of keys, and of tensors.
    pub n_keys: Option<u64>,
    pub n_tensors: Option<u64>,
    /// Name, type and bytes.
    pub keys: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub tensors: Vec<TensorPart>,
}

/// A tensor of it.
#[derive(Clone)]
pub struct TensorPart {
    pub name: Vec<u8>,
    /// Fastest first, as in the file.
    pub dims: Vec<u64>,
    pub n_dims: Option<u32>,
    pub kind: u32,
    /// What the file says instead of where the tensor is.
    pub offset: Option<u64>,
    pub bytes: Vec<u8>,
}

impl GgufFile {
    /// A file of one architecture without tensors.
    pub fn new(architecture: &str) -> GgufFile {
        let mut file = GgufFile::empty();
        file.text("general.architecture", architecture);
        file
    }

    /// A file of nothing.
    pub fn empty() -> GgufFile {
        GgufFile { magic: *b"GGUF", version: 3, n_keys: None, n_tensors: None, keys: Vec::new(), tensors: Vec::new() }
    }

    /// Adds a key, or replaces its value.
    pub fn raw(&mut self, key: &str, kind: u32, bytes: Vec<u8>) {
        self.remove(key);
        self.keys.push((key.as_bytes().to_vec(), kind, bytes));
    }

    pub fn remove(&mut self, key: &str) {
        self.keys.retain(|(other, ..)| other != key.as_bytes());
    }

    pub fn u32(&mut self, key: &str, n: u32) {
        self.raw(key, U32, n.to_le_bytes().to_vec());
    }

    pub fn f32(&mut self, key: &str, x: f32) {
        self.raw(key, F32, x.to_le_bytes().to_vec());
    }

    pub fn flag(&mut self, key: &str, flag: bool) {
        self.raw(key, BOOL, vec![flag.into()]);
    }

    pub fn text(&mut self, key: &str, text: &str) {
        self.raw(key, TEXT, string(text.as_bytes()));
    }

    pub fn texts<T: AsRef<str>>(&mut self, key: &str, texts: &[T]) {
        self.array(key, TEXT, texts.len(), texts.iter().flat_map(|text| string(text.as_ref().as_bytes())).collect());
    }

    pub fn f32s(&mut self, key: &str, xs: &[f32]) {
        self.array(key, F32, xs.len(), xs.iter().flat_map(|x| x.to_le_bytes()).collect());
    }

    pub fn i32s(&mut self, key: &str, xs: &[i32]) {
        self.array(key, I32, xs.len(), xs.iter().flat_map(|x| x.to_le_bytes()).collect());
    }

    /// An array of so many items of a type.
    pub fn array(&mut self, key: &str, kind: u32, n: usize, items: Vec<u8>) {
        let bytes = [&kind.to_le_bytes()[..], &(n as u64).to_le_bytes(), &items].concat();
        self.raw(key, ARRAY, bytes);
    }

    /// Adds a tensor; shape: slowest first.
    pub fn tensor(&mut self, name: &str, shape: &[usize], dtype: DType, bytes: Vec<u8>) {
        let dims = shape.iter().rev().map(|&dim| dim as u64).collect();
        let kind = (0..100).find(|&id| DType::from_ggml(id) == Some(dtype)).unwrap();
        self.tensors.push(TensorPart { name: name.as_bytes().to_vec(), dims, n_dims: None, kind, offset: None, bytes });
    }

    /// The header alone, padded.
    pub fn header(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.n_keys.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.keys {
            bytes.extend(string(key));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        let mut offset = 0;
        for part in &self.tensors {
            bytes.extend(string(&part.name));
            bytes.extend(part.n_dims.unwrap_or(part.dims.len() as u32).to_le_bytes());
            bytes.extend(part.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            bytes.extend(part.kind.to_le_bytes());
            bytes.extend(part.offset.unwrap_or(offset).to_le_bytes());
            offset += part.bytes.len().next_multiple_of(ALIGNMENT) as u64;
        }
        padded(bytes)
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        for part in &self.tensors {
            bytes.extend(&part.bytes);
            bytes = padded(bytes);
        }
        bytes
    }
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes
}

/// A string with its length before it.
pub fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}
