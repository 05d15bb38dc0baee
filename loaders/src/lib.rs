//! Untrusted bytes to named tensors, settings and tokenizers.
//!
//! The one way in is [`open`]. What comes out has been checked: every tensor lies within its file and is as long as its shape says;
//! every setting has the type that was asked for. What does not pass is a [`LoadError`]: one line with the file, the tensor or field,
//! what was expected and what was found.
//!
//! Invariants, stated as absences: this crate knows tensors, never layers; it prints nothing; it starts no threads but those
//! that give a chat template a stack of its own; it never asks for memory by a number from a file that was not first compared with
//! the file's length; and no bytes of a file can make it panic.

mod buffer;
mod charsmap;
mod chat_template;
mod checkpoint;
mod error;
mod extent;
mod file;
mod gguf;
mod growth;
mod guard;
mod location;
mod metadata;
mod mmap;
mod pre_tokenize;
mod safetensors;
mod shards;
mod tensor;
mod tensor_file;
#[cfg(test)]
mod testing;
mod text_stream;
mod tokenizer;
mod tokenizer_file;
mod vocabulary;
mod weight_file;

pub use chat_template::{ChatRequest, ChatTemplate, ChatTemplates, ChatToken, Origin, RenderedChat};
pub use checkpoint::{Checkpoint, open, open_chat_templates, open_tokenizer};
pub use error::{Fault, LoadError};
pub use file::FileIdentity;
pub use gguf::{GGUF_ALIGNMENT, GgufHeader, GgufValue, gguf_in_memory, gguf_row_of_pairs, gguf_tensor_name, open_gguf_tensors};
pub use location::{BuiltIn, Location};
pub use metadata::Metadata;
pub use mmap::{Anonymous, install_map_fault_handler};
pub use safetensors::{OtherType, TensorType};
pub use shards::{Index, parse_index};
pub use tensor::Tensor;
pub use tensor_file::{OpenOptions, TensorFile, open_safetensors, safetensors_in_memory};
pub use text_stream::TextStream;
pub use tokenizer::Tokenizer;
