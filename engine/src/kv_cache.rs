//! `KvCache`: the keys and values of many sequences, in pages that are shared until someone writes to them.
//!
//! A page holds [`PAGE_LEN`] positions of all layers. A fork shares its parent's pages, and copies the last one when either of them appends.
//! Not here: attention, which reads a page as one chunk of positions (`forward.rs`).

use std::sync::Arc;

use crate::config::Config;
use crate::error::ModelError;

/// Positions in a page. It is also the chunk in which attention is summed, so it is part of the determinism contract.
pub const PAGE_LEN: usize = 64;

/// Names a sequence of one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(usize);

/// Keys and values of the sequences that a model works on.
pub struct KvCache {
    shape: Shape,
    sequences: Vec<Option<Sequence>>,
}

#[derive(Clone)]
struct Sequence {
    len: usize,
    pages: Vec<Arc<Page>>,
}

/// Sizes of a page.
#[derive(Clone, Copy)]
struct Shape {
    n_layers: usize,
    n_kv_heads: usize,
    head_dim: usize,
}

/// Keys and values of `PAGE_LEN` positions: for each layer and KV head the keys (PAGE_LEN, head_dim), then the values alike.
#[derive(Clone)]
pub(crate) struct Page {
    data: Vec<f32>,
}

impl Shape {
    /// Elements of the keys, or of the values, of one head in one page.
    fn head_len(&self) -> usize {
        PAGE_LEN * self.head_dim
    }

    /// Elements of a page; `None` if they overflow.
    fn page_len(&self) -> Option<usize> {
        self.head_len().checked_mul(2 * self.n_kv_heads)?.checked_mul(self.n_layers)
    }

    /// Where the keys of a head begin; the values follow them.
    fn head_start(&self, layer: usize, kv_head: usize) -> usize {
        (layer * self.n_kv_heads + kv_head) * 2 * self.head_len()
    }
}

impl KvCache {
    /// An empty cache for a model of this shape.
    pub fn new(config: &Config) -> KvCache {
        let shape = Shape { n_layers: config.n_layers, n_kv_heads: config.n_kv_heads, head_dim: config.head_dim };
        KvCache { shape, sequences: Vec::new() }
    }

    /// Bytes that a position of a model of this shape takes.
    pub fn bytes_per_position(config: &Config) -> usize {
        2 * config.n_layers * config.kv_dim() * size_of::<f32>()
    }

    /// A new, empty sequence.
    pub fn create(&mut self) -> SequenceId {
        self.insert(Sequence { len: 0, pages: Vec::new() })
    }

    /// A new sequence with the same positions as `id`. Costs no memory until one of the two appends.
    pub fn fork(&mut self, id: SequenceId) -> SequenceId {
        let copy = self.sequence(id).clone();
        self.insert(copy)
    }

    /// Frees a sequence. Its id may be given to a later one.
    pub fn remove(&mut self, id: SequenceId) {
        self.sequences[id.0] = None;
    }

    /// Number of positions of a sequence. Panics if it was removed, as all methods do.
    pub fn len(&self, id: SequenceId) -> usize {
        self.sequence(id).len
    }

    /// Whether a sequence has no positions.
    pub fn is_empty(&self, id: SequenceId) -> bool {
        self.len(id) == 0
    }

    /// Forgets the positions from `len` on, and frees their pages.
    pub fn truncate(&mut self, id: SequenceId, len: usize) {
        let sequence = self.sequence_mut(id);
        sequence.len = sequence.len.min(len);
        sequence.pages.truncate(sequence.len.div_ceil(PAGE_LEN));
    }

    /// Bytes of all pages; shared ones count once.
    pub fn bytes(&self) -> usize {
        let pages = self.sequences.iter().flatten().flat_map(|s| &s.pages);
        let distinct: std::collections::HashSet<*const Page> = pages.map(Arc::as_ptr).collect();
        distinct.len() * self.shape.page_len().unwrap_or(0) * size_of::<f32>()
    }

    /// Whether `id` names a sequence of this cache.
    pub(crate) fn contains(&self, id: SequenceId) -> bool {
        matches!(self.sequences.get(id.0), Some(Some(_)))
    }

    /// Makes room for `n` more positions of a sequence, which then count as there; [`KvCache::write`] fills them. On an error the sequence is
    /// as it was.
    pub(crate) fn extend(&mut self, id: SequenceId, n: usize) -> Result<(), ModelError> {
        let shape = self.shape;
        let sequence = self.sequence_mut(id);
        let old_pages = sequence.pages.len();
        // The last page may be shared with a fork: whoever writes first takes a copy.
        if n > 0
            && !sequence.len.is_multiple_of(PAGE_LEN)
            && let Some(last) = sequence.pages.last_mut()
            && Arc::get_mut(last).is_none()
        {
            let mut copy = Page::new(&shape)?;
            copy.data.copy_from_slice(&last.data);
            *last = Arc::new(copy);
        }
        while sequence.pages.len() < (sequence.len + n).div_ceil(PAGE_LEN) {
            match Page::new(&shape) {
                Ok(page) => sequence.pages.push(Arc::new(page)),
                Err(e) => {
                    sequence.pages.truncate(old_pages);
                    return Err(e);
                }
            }
        }
        sequence.len += n;
        Ok(())
    }

    /// What the bytes of a page mean: two caches whose pages go by the same name can take each other's.
    pub fn page_name(&self) -> String {
        let Shape { n_layers, n_kv_heads, head_dim } = self.shape;
        format!("1 f32, {n_layers} layers of {n_kv_heads} heads of {head_dim}")
    }

    /// The bytes of each page of a sequence, in the order of positions. Those of positions beyond its length mean nothing.
    pub fn pages(&self, id: SequenceId) -> impl ExactSizeIterator<Item = Vec<u8>> {
        self.sequence(id).pages.iter().map(|page| page.data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// Appends `n` positions to a sequence that ends at the end of a page, and fills them with the bytes of a page, as [`KvCache::pages`] of
    /// a cache with the same [`KvCache::page_name`] gave them. Any bytes will do: what is wrong with them, is wrong with the logits.
    pub fn restore(&mut self, id: SequenceId, bytes: &[u8], n: usize) -> Result<(), ModelError> {
        let page_bytes = self.shape.page_len().unwrap_or(0) * size_of::<f32>();
        if !self.len(id).is_multiple_of(PAGE_LEN) || !(1..=PAGE_LEN).contains(&n) || bytes.len() != page_bytes {
            let found = format!("{} bytes for {n} positions after {}", bytes.len(), self.len(id));
            return Err(ModelError::page(format_args!("a page of {page_bytes} bytes after whole pages"), found));
        }
        self.extend(id, n)?;
        let page = self.sequence_mut(id).pages.last_mut().and_then(Arc::get_mut).expect("extend made a page of its own");
        let (elements, _) = bytes.as_chunks::<4>();
        page.data.iter_mut().zip(elements).for_each(|(x, &bytes)| *x = f32::from_le_bytes(bytes));
        Ok(())
    }

    /// Writes one position of one layer. k, v: (n_kv_heads, head_dim)
    pub(crate) fn write(&mut self, id: SequenceId, layer: usize, position: usize, k: &[f32], v: &[f32]) {
        let shape = self.shape;
        let page = &mut self.sequence_mut(id).pages[position / PAGE_LEN];
        let page = Arc::get_mut(page).expect("extend made the page unique");
        let d = shape.head_dim;
        let at = position % PAGE_LEN * d;
        for (kv_head, (k, v)) in k.chunks_exact(d).zip(v.chunks_exact(d)).enumerate() {
            let keys = shape.head_start(layer, kv_head);
            page.data[keys + at..][..d].copy_from_slice(k);
            page.data[keys + shape.head_len() + at..][..d].copy_from_slice(v);
        }
    }

    /// The keys and values of the first `n` positions of page `page`, of one head. Both (n, head_dim).
    pub(crate) fn read(&self, id: SequenceId, layer: usize, kv_head: usize, page: usize, n: usize) -> (&[f32], &[f32]) {
        let page = &self.sequence(id).pages[page];
        let keys = self.shape.head_start(layer, kv_head);
        let values = keys + self.shape.head_len();
        (&page.data[keys..][..n * self.shape.head_dim], &page.data[values..][..n * self.shape.head_dim])
    }

    fn insert(&mut self, sequence: Sequence) -> SequenceId {
        let free = self.sequences.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.sequences.push(None);
            self.sequences.len() - 1
        });
        self.sequences[slot] = Some(sequence);
        SequenceId(slot)
    }

    fn sequence(&self, id: SequenceId) -> &Sequence {
        self.sequences[id.0].as_ref().expect("a sequence that was not removed")
    }

    fn sequence_mut(&mut self, id: SequenceId) -> &mut Sequence {
        self.sequences[id.0].as_mut().expect("a sequence that was not removed")
    }
}

impl Page {
    /// A page of zeros, or an error where memory is short.
    fn new(shape: &Shape) -> Result<Page, ModelError> {
        let Some(len) = shape.page_len() else { return Err(ModelError::memory("KV cache", None)) };
        let mut data = Vec::new();
        data.try_reserve_exact(len).map_err(|_| ModelError::memory("KV cache", len.checked_mul(size_of::<f32>())))?;
        data.resize(len, 0.0);
        Ok(Page { data })
    }
}
