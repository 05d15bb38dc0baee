//! `Batch`: the rows of one forward pass. Prefill chunks, single decode steps and many sequences at once are all the same thing here.
//!
//! Not here: how rows are chosen (`generate.rs`), or where keys and values lie (`kv_cache.rs`).

use crate::kv_cache::SequenceId;

/// One token at one position of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sequence that the token belongs to.
    pub sequence: SequenceId,
    /// Its position, counted from 0; the cache must hold all positions before it, or the batch must.
    pub position: usize,
    /// The token's id.
    pub token: u32,
    /// Length of the sequence that dynamic rope takes its base from: the larger of the prompt's length and position + 1. A prompt's rows
    /// all carry the whole prompt's length, so that they do not depend on how it is cut into chunks.
    pub rope_len: usize,
    /// Whether logits are computed for this row.
    pub wants_logits: bool,
}

/// The rows of one forward pass. Rows of a sequence come in the order of their positions.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    rows: Vec<Row>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Takes all rows out, keeping the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of rows that want logits.
    pub fn n_logits(&self) -> usize {
        self.rows.iter().filter(|row| row.wants_logits).count()
    }
}
