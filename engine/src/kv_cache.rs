//! `KvCache`: the keys and values of many sequences, in pages that are shared until someone writes to them.
//!
//! A page holds [`PAGE_LEN`] positions of all layers. A fork shares its parent's pages, and copies the last one when either of them appends.
//! Not here: attention (`attention.rs`), and how a head's part of a page is laid out ([`KvLayout`]).

use std::ops::Range;
use std::sync::Arc;

use infer_kernels::{KV_PAGE_LEN, KvLayout};
use infer_loaders::Anonymous;

use crate::buffer::Buffer;
use crate::config::Config;
use crate::error::ModelError;

/// Positions in a page.
pub const PAGE_LEN: usize = KV_PAGE_LEN;

/// Huge pages hold a page of the cache if they leave no more than one part in so many of it empty.
const MAX_WASTE: usize = 8;

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
    layout: KvLayout,
}

/// Keys and values of `PAGE_LEN` positions: for each layer and KV head what [`KvLayout`] describes.
struct Page {
    memory: Memory,
    len: usize,
}

/// The memory of a page, aligned to a cache line.
enum Memory {
    /// Huge pages, where the system gives them: a step of generation jumps from head to head, and addresses are translated anew.
    Huge(Anonymous),
    /// What would leave too much of a huge page empty.
    Small(Buffer<u8>),
}

impl Shape {
    /// Bytes of a layer in one page; `None` if they overflow.
    fn layer_bytes(&self) -> Option<usize> {
        self.layout.bytes().checked_mul(self.n_kv_heads)
    }

    /// Bytes of a page; `None` if they overflow.
    fn page_bytes(&self) -> Option<usize> {
        self.layer_bytes()?.checked_mul(self.n_layers)
    }
}

impl KvCache {
    /// An empty cache for a model of this shape, with heads laid out so.
    pub fn new(config: &Config, layout: KvLayout) -> KvCache {
        KvCache { shape: Shape { n_layers: config.n_layers, n_kv_heads: config.n_kv_heads, layout }, sequences: Vec::new() }
    }

    /// Bytes that a position of a model of this shape takes; saturates where it would overflow.
    pub fn bytes_per_position(config: &Config, layout: KvLayout) -> usize {
        let shape = Shape { n_layers: config.n_layers, n_kv_heads: config.n_kv_heads, layout };
        shape.page_bytes().unwrap_or(usize::MAX) / PAGE_LEN
    }

    /// Bytes of memory that `n` positions of a model of this shape take, in whole pages; saturates where it would overflow.
    pub fn bytes_for(config: &Config, layout: KvLayout, n: usize) -> usize {
        let shape = Shape { n_layers: config.n_layers, n_kv_heads: config.n_kv_heads, layout };
        let page = shape.page_bytes().and_then(|len| Page::huge_len(len).or(Some(len))).unwrap_or(usize::MAX);
        page.saturating_mul(n.div_ceil(PAGE_LEN))
    }

    /// How each head lies in a page.
    pub fn layout(&self) -> KvLayout {
        self.shape.layout
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
        distinct.len() * self.shape.page_bytes().unwrap_or(0)
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
            copy.bytes_mut().copy_from_slice(last.bytes());
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
        let Shape { n_layers, n_kv_heads, layout } = self.shape;
        let (version, dtype, head_dim) = (KvLayout::VERSION, layout.dtype(), layout.head_dim());
        format!("{version} {dtype}, {n_layers} layers of {n_kv_heads} heads of {head_dim}")
    }

    /// The bytes of each page of a sequence, in the order of positions. Those of positions beyond its length mean nothing.
    pub fn pages(&self, id: SequenceId) -> impl ExactSizeIterator<Item = &[u8]> {
        self.sequence(id).pages.iter().map(|page| page.bytes())
    }

    /// Appends `n` positions to a sequence that ends at the end of a page, and fills them with the bytes of a page, as [`KvCache::pages`] of
    /// a cache with the same [`KvCache::page_name`] gave them. Any bytes will do: what is wrong with them, is wrong with the logits.
    pub fn restore(&mut self, id: SequenceId, bytes: &[u8], n: usize) -> Result<(), ModelError> {
        let page_bytes = self.shape.page_bytes().unwrap_or(0);
        if !self.len(id).is_multiple_of(PAGE_LEN) || !(1..=PAGE_LEN).contains(&n) || bytes.len() != page_bytes {
            let found = format!("{} bytes for {n} positions after {}", bytes.len(), self.len(id));
            return Err(ModelError::page(format_args!("a page of {page_bytes} bytes after whole pages"), found));
        }
        self.extend(id, n)?;
        let page = self.sequence_mut(id).pages.last_mut().and_then(Arc::get_mut);
        page.expect("extend made a page of its own").bytes_mut().copy_from_slice(bytes);
        Ok(())
    }

    /// The pages of one layer that hold some positions, to be written: the number of each and its heads. [`KvCache::extend`] must have made
    /// room for them.
    pub(crate) fn heads_mut(
        &mut self,
        id: SequenceId,
        layer: usize,
        positions: Range<usize>,
    ) -> impl Iterator<Item = (usize, impl Iterator<Item = &mut [u8]>)> {
        let (head_bytes, layer_bytes) = (self.shape.layout.bytes(), self.shape.layer_bytes().unwrap_or(0));
        let first = positions.start / PAGE_LEN;
        let pages = &mut self.sequence_mut(id).pages[first..positions.end.div_ceil(PAGE_LEN)];
        pages.iter_mut().enumerate().map(move |(i, page)| {
            let page = Arc::get_mut(page).expect("extend made the page unique");
            (first + i, page.bytes_mut()[layer * layer_bytes..][..layer_bytes].chunks_exact_mut(head_bytes))
        })
    }

    /// One head of one layer in a page.
    pub(crate) fn head(&self, id: SequenceId, layer: usize, kv_head: usize, page: usize) -> &[u8] {
        let head_bytes = self.shape.layout.bytes();
        &self.sequence(id).pages[page].bytes()[(layer * self.shape.n_kv_heads + kv_head) * head_bytes..][..head_bytes]
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
        let error = || ModelError::memory("KV cache", shape.page_bytes());
        let len = shape.page_bytes().ok_or_else(error)?;
        let memory = match Page::huge_len(len) {
            Some(whole) => Memory::Huge(Anonymous::new(whole).map_err(|_| error())?),
            None => {
                let mut buffer = Buffer::default();
                if !buffer.resize(len) {
                    return Err(error());
                }
                Memory::Small(buffer)
            }
        };
        Ok(Page { memory, len })
    }

    /// The length of the huge pages that a page of `len` bytes is held in, a whole number of them, since the system aligns no others; `None`
    /// where it is not.
    fn huge_len(len: usize) -> Option<usize> {
        len.checked_next_multiple_of(Anonymous::HUGE_PAGE).filter(|whole| whole - len <= len / MAX_WASTE)
    }

    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Huge(memory) => &memory.bytes()[..self.len],
            Memory::Small(buffer) => buffer,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Huge(memory) => &mut memory.bytes_mut()[..self.len],
            Memory::Small(buffer) => buffer,
        }
    }
}

#[cfg(test)]
mod tests {
    use infer_kernels::KvDType;

    use super::*;

    /// Pages of 4 MiB, in huge pages, and of 3.5 MiB, which would leave a seventh of them empty.
    #[test]
    fn a_fork_writes_to_pages_of_its_own_whatever_holds_them() {
        for n_layers in [7, 8] {
            let shape = Shape { n_layers, n_kv_heads: 8, layout: KvLayout::new(KvDType::BF16, 64) };
            let mut cache = KvCache { shape, sequences: Vec::new() };
            assert_eq!(Page::huge_len(shape.page_bytes().unwrap()), (n_layers == 8).then_some(4 << 20));
            let trunk = cache.create();
            cache.extend(trunk, PAGE_LEN + 1).unwrap();
            assert!(cache.pages(trunk).flatten().all(|&byte| byte == 0));
            let last_bytes = |cache: &KvCache, id| cache.pages(id).map(|page| page[page.len() - 1]).collect::<Vec<u8>>();
            let fill = |cache: &mut KvCache, id, byte: u8| {
                let range = cache.len(id) - 1..cache.len(id);
                for (_, heads) in cache.heads_mut(id, n_layers - 1, range) {
                    heads.for_each(|head| head.fill(byte));
                }
            };
            fill(&mut cache, trunk, 1);
            let fork = cache.fork(trunk);
            assert_eq!(cache.bytes(), 2 * shape.page_bytes().unwrap());
            cache.extend(fork, 1).unwrap();
            assert_eq!(last_bytes(&cache, fork), [0, 1]);
            fill(&mut cache, fork, 2);
            assert_eq!((last_bytes(&cache, trunk), last_bytes(&cache, fork)), (vec![0, 1], vec![0, 2]));
            assert_eq!(cache.bytes(), 3 * shape.page_bytes().unwrap());
        }
    }
}
