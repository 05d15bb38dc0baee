//! The attention of a pass: keys and values into the cache, and each row's sum over the positions before it, shared out among threads.
//!
//! Not here: the arithmetic (`infer_kernels`), and where keys and values lie (`kv_cache.rs`).
//!
//! A block is some rows of one sequence and the query heads of one KV head. It goes through its positions a chunk (a page) at a time, whose
//! sums are merged into those of the chunks before it. Where blocks are too few for the threads, as in a step of generation, their chunks
//! are worked on in parts, whose sums wait to be merged by the same additions in the same order.

use std::cmp::Reverse;
use std::ops::Range;

use infer_kernels::{Attention, Chunk, KvLayout, MatMut, Rows, Sums};

use crate::batch::{Batch, Row};
use crate::config::Config;
use crate::kv_cache::{KvCache, PAGE_LEN, SequenceId};
use crate::model::Model;
use crate::state::State;
use crate::team::Crew;

/// Query rows that a block takes, if it has no more for one position: enough that keys and values come from the caches.
const BLOCK_ROWS: usize = 64;

/// Parts for each thread from which on a thread that is held up leaves enough to the others.
const PARTS_PER_THREAD: usize = 8;

/// The longest batch whose blocks are cut along positions. A longer one has blocks enough, or work enough.
const MAX_CUT_ROWS: usize = 16;

/// Chunks of a block whose sums wait to be merged at a time.
const MAX_WAITING_CHUNKS: usize = 64;

/// Rows from which on writing keys and values is worth sharing out.
const MIN_SHARED_ROWS: usize = 16;

/// Some rows of one sequence and the query heads of one KV head.
#[derive(Clone, Copy)]
struct Block<'a> {
    rows: &'a [Row],
    /// The first row's place in the batch.
    first_row: usize,
    kv_head: usize,
}

/// A layer of a pass.
#[derive(Clone, Copy)]
struct Pass<'a> {
    layer: usize,
    cache: &'a KvCache,
    // Of the batch. (rows, n_heads · head_dim)
    q: &'a [f32],
}

/// A block and where its result goes. (rows, group_size · head_dim)
type BlockOut<'a> = (Block<'a>, MatMut<'a>);

/// Keys and values of a chunk: the sequence, the KV head and the chunk's number.
type Place = (SequenceId, usize, usize);

/// Some chunks of a block, each with a place for its sums.
struct Part<'a> {
    block: Block<'a>,
    chunks: Range<usize>,
    next: Option<Place>,
    // (chunks, Sums::len)
    sums: &'a mut [f32],
}

/// A block's chunks that wait to be merged.
struct Merge<'a> {
    n_rows: usize,
    running: &'a mut [f32],
    // (chunks, Sums::len)
    sums: &'a [f32],
    out: MatMut<'a>,
}

/// The positions of one head in one page that a pass writes.
struct Written<'a> {
    head: &'a mut [u8],
    kv_head: usize,
    /// In the batch.
    rows: Range<usize>,
    /// The first row's, in the page.
    position: usize,
}

impl Block<'_> {
    /// Where the keys and values of one of its chunks are.
    fn place(&self, chunk: usize) -> Place {
        (self.rows[0].sequence, self.kv_head, chunk)
    }
}

/// What the thread that takes part `i` will most likely read after it: threads take parts in turn.
fn next(places: &[Place], i: usize, crew: &Crew<'_>) -> Option<Place> {
    places.get(i + crew.n_threads()).copied()
}

/// f32 of scratch memory that a thread needs.
pub(crate) fn scratch_len(config: &Config) -> usize {
    let n_rows = config.group_size().max(BLOCK_ROWS);
    let lens = Scratch::lens(config.head_dim, n_rows);
    lens.into_iter().fold(0, usize::saturating_add)
}

/// f32 that sums need which wait to be merged, in passes of `n_rows` rows.
pub(crate) fn waiting_len(config: &Config, n_rows: usize) -> usize {
    // Rows of a block are fewer sums together than each by itself.
    let one = Sums::len(KvLayout::width_of(config.head_dim), config.group_size());
    let blocks = n_rows.min(MAX_CUT_ROWS) * config.n_kv_heads;
    one.saturating_mul(blocks).saturating_mul(1 + waiting_chunks(config))
}

fn waiting_chunks(config: &Config) -> usize {
    config.max_seq_len.div_ceil(PAGE_LEN).clamp(1, MAX_WAITING_CHUNKS)
}

/// A thread's scratch memory, cut up.
struct Scratch<'a> {
    // (rows, head_dim)
    q: &'a mut [f32],
    scores: &'a mut [f32],
    /// Of one chunk.
    sums: &'a mut [f32],
    running: &'a mut [f32],
}

impl Scratch<'_> {
    /// The lengths of the parts, multiples of a cache line.
    fn lens(head_dim: usize, n_rows: usize) -> [usize; 4] {
        let sums = Sums::len(KvLayout::width_of(head_dim), n_rows);
        [n_rows.saturating_mul(head_dim), Attention::scores_len(n_rows), sums, sums].map(|len| len.saturating_add(15) / 16 * 16)
    }

    fn new(memory: &mut [f32], head_dim: usize, n_rows: usize) -> Scratch<'_> {
        let [q_len, scores_len, sums_len, running_len] = Scratch::lens(head_dim, n_rows);
        let (q, rest) = memory.split_at_mut(q_len);
        let (scores, rest) = rest.split_at_mut(scores_len);
        let (sums, rest) = rest.split_at_mut(sums_len);
        let len = Sums::len(KvLayout::width_of(head_dim), n_rows);
        Scratch { q: &mut q[..n_rows * head_dim], scores, sums: &mut sums[..len], running: &mut rest[..running_len][..len] }
    }
}

impl Model {
    /// Writes each row's keys and values to the cache.
    pub(crate) fn remember(&self, crew: &Crew<'_>, layer: usize, batch: &Batch, cache: &mut KvCache, s: &State) {
        let (d, kv_dim, layout) = (self.config.head_dim, self.config.kv_dim(), cache.layout());
        let write = |written: Written<'_>| {
            let Written { head, kv_head, rows, position } = written;
            for (i, row) in rows.enumerate() {
                let at = row * kv_dim + kv_head * d..row * kv_dim + (kv_head + 1) * d;
                layout.write(head, position + i, &s.k[at.clone()], &s.v[at]);
            }
        };
        let mut first_row = 0;
        for rows in batch.rows().chunk_by(|a, b| a.sequence == b.sequence) {
            let (start, end) = (rows[0].position, rows[rows.len() - 1].position + 1);
            let mut parts = Vec::new();
            for (page, heads) in cache.heads_mut(rows[0].sequence, layer, start..end) {
                let from = start.max(page * PAGE_LEN);
                let rows = first_row + from - start..first_row + end.min((page + 1) * PAGE_LEN) - start;
                let of_head = |(kv_head, head)| Written { head, kv_head, rows: rows.clone(), position: from % PAGE_LEN };
                parts.extend(heads.enumerate().map(of_head));
            }
            match rows.len() < MIN_SHARED_ROWS {
                true => parts.into_iter().for_each(write),
                false => crew.each(parts, write),
            }
            first_row += rows.len();
        }
    }

    /// Attention of each row over its sequence's positions up to itself: `s.attended` from `s.q` and the cache.
    pub(crate) fn attend(&self, crew: &Crew<'_>, layer: usize, batch: &Batch, cache: &KvCache, s: &mut State) {
        let State { q, waiting, attended, .. } = s;
        let pass = Pass { layer, cache, q };
        let mut blocks = self.blocks(batch, attended);
        let n_chunks = blocks.iter().map(|(block, _)| self.chunks(layer, block.rows).len()).max().unwrap_or(0);
        let wanted = crew.n_threads() * PARTS_PER_THREAD;
        if crew.n_threads() == 1 || n_chunks <= 1 || blocks.len() >= wanted || batch.len() > MAX_CUT_ROWS {
            // A head's keys and values stay in the caches from block to block; long blocks come first, to leave no thread alone with one.
            blocks.sort_by_key(|(block, _)| (block.kv_head, Reverse(block.rows[0].position)));
            let places: Vec<Place> = blocks.iter().map(|(block, _)| block.place(self.chunks(layer, block.rows).start)).collect();
            let blocks = blocks.into_iter().enumerate().map(|(i, block)| (block, next(&places, i, crew))).collect();
            crew.each_with_scratch(blocks, |(block, next), scratch: &mut [f32]| self.attend_block(pass, block, next, scratch));
        } else {
            self.attend_in_parts(crew, pass, blocks, waiting);
        }
    }

    /// Cuts a batch into blocks.
    fn blocks<'a>(&self, batch: &'a Batch, out: &'a mut [f32]) -> Vec<BlockOut<'a>> {
        let (c, group) = (&self.config, self.config.group_size());
        let (mut blocks, mut out, mut first_row) = (Vec::new(), out, 0);
        for same_sequence in batch.rows().chunk_by(|a, b| a.sequence == b.sequence) {
            for rows in same_sequence.chunks((BLOCK_ROWS / group).max(1)) {
                let (rows_out, rest) = out.split_at_mut(rows.len() * c.q_dim());
                out = rest;
                let mut rows_out = MatMut::new(rows_out, c.q_dim());
                for kv_head in 0..c.n_kv_heads {
                    let (heads_out, rest) = rows_out.split_at_col(group * c.head_dim);
                    rows_out = rest;
                    blocks.push((Block { rows, first_row, kv_head }, heads_out));
                }
                first_row += rows.len();
            }
        }
        blocks
    }

    /// The chunks that rows see. Rows come in the order of their positions, so the first sees the earliest and the last the latest.
    fn chunks(&self, layer: usize, rows: &[Row]) -> Range<usize> {
        let first_seen = (rows[0].position + 1).saturating_sub(self.window(layer));
        first_seen / PAGE_LEN..rows[rows.len() - 1].position / PAGE_LEN + 1
    }

    fn window(&self, layer: usize) -> usize {
        self.config.windows[layer].unwrap_or(usize::MAX)
    }

    /// A whole block.
    fn attend_block(&self, pass: Pass<'_>, (block, out): BlockOut<'_>, next: Option<Place>, scratch: &mut [f32]) {
        let (width, n_rows) = (pass.cache.layout().width(), block.rows.len() * self.config.group_size());
        let Scratch { q: queries, scores, sums, running } = Scratch::new(scratch, self.config.head_dim, n_rows);
        self.queries(pass.q, block, queries);
        let mut running = Sums::new(running, width, n_rows);
        running.clear();
        let chunks = self.chunks(pass.layer, block.rows);
        for chunk in chunks.clone() {
            let out = &mut Sums::new(sums, width, n_rows);
            let next = if chunk + 1 < chunks.end { Some(block.place(chunk + 1)) } else { next };
            self.attend_chunk(pass, block, chunk, next, queries, scores, out);
            self.attention.merge(sums, &mut running);
        }
        self.finish(&running, out);
    }

    /// All blocks, cut along positions.
    fn attend_in_parts(&self, crew: &Crew<'_>, pass: Pass<'_>, mut blocks: Vec<BlockOut<'_>>, waiting: &mut [f32]) {
        let (width, group) = (pass.cache.layout().width(), self.config.group_size());
        let sums_len = |block: &Block<'_>| Sums::len(width, block.rows.len() * group);
        let (running, sums) = waiting.split_at_mut(blocks.iter().map(|(block, _)| sums_len(block)).sum());
        let at_a_time = waiting_chunks(&self.config);
        let n_chunks = blocks.iter().map(|(block, _)| self.chunks(pass.layer, block.rows).len()).max().unwrap_or(0);
        let parts_per_block = (crew.n_threads() * PARTS_PER_THREAD).div_ceil(blocks.len());
        for first in (0..n_chunks).step_by(at_a_time) {
            let chunks = |block: &Block<'_>| {
                let all = self.chunks(pass.layer, block.rows);
                (all.start + first).min(all.end)..(all.start + first + at_a_time).min(all.end)
            };
            let (mut parts, mut rest) = (Vec::new(), &mut sums[..]);
            for &(block, _) in &blocks {
                let (chunks, len) = (chunks(&block), sums_len(&block));
                let step = chunks.len().div_ceil(parts_per_block).max(1);
                let sums = rest.split_off_mut(..chunks.len() * len).expect("sized for the batch");
                let starts = chunks.clone().step_by(step).zip(sums.chunks_mut(step * len));
                parts.extend(starts.map(|(start, sums)| Part {
                    block,
                    chunks: start..chunks.end.min(start + step),
                    next: None,
                    sums,
                }));
            }
            let places: Vec<Place> = parts.iter().map(|part: &Part<'_>| part.block.place(part.chunks.start)).collect();
            parts.iter_mut().enumerate().for_each(|(i, part)| part.next = next(&places, i, crew));
            crew.each_with_scratch(parts, |part: Part<'_>, scratch| self.attend_part(pass, part, scratch));
            let (mut merges, mut rest, mut running) = (Vec::new(), &sums[..], &mut running[..]);
            for (block, out) in &mut blocks {
                let len = sums_len(block);
                let running = running.split_off_mut(..len).expect("sized for the batch");
                let sums = rest.split_off(..chunks(block).len() * len).expect("sized for the batch");
                merges.push(Merge { n_rows: block.rows.len() * group, running, sums, out: out.reborrow() });
            }
            let (is_first, is_last) = (first == 0, first + at_a_time >= n_chunks);
            crew.each(merges, |merge: Merge<'_>| self.merge(width, merge, is_first, is_last));
        }
    }

    /// The sums of some chunks of a block, each by itself.
    fn attend_part(&self, pass: Pass<'_>, part: Part<'_>, scratch: &mut [f32]) {
        let Part { block, chunks, next, sums } = part;
        let (width, n_rows) = (pass.cache.layout().width(), block.rows.len() * self.config.group_size());
        let Scratch { q: queries, scores, .. } = Scratch::new(scratch, self.config.head_dim, n_rows);
        self.queries(pass.q, block, queries);
        for (chunk, sums) in chunks.clone().zip(sums.chunks_exact_mut(Sums::len(width, n_rows))) {
            let mut sums = Sums::new(sums, width, n_rows);
            let next = if chunk + 1 < chunks.end { Some(block.place(chunk + 1)) } else { next };
            self.attend_chunk(pass, block, chunk, next, queries, scores, &mut sums);
        }
    }

    /// Merges the chunks of a block that wait, in the order of their positions.
    fn merge(&self, width: usize, merge: Merge<'_>, is_first: bool, is_last: bool) {
        let Merge { n_rows, running, sums, out } = merge;
        let mut running = Sums::new(running, width, n_rows);
        if is_first {
            running.clear();
        }
        for sums in sums.chunks_exact(Sums::len(width, n_rows)) {
            self.attention.merge(sums, &mut running);
        }
        if is_last {
            self.finish(&running, out);
        }
    }

    /// The queries of a block, packed. q: of the batch
    fn queries(&self, q: &[f32], block: Block<'_>, queries: &mut [f32]) {
        let (q_dim, len) = (self.config.q_dim(), self.config.group_size() * self.config.head_dim);
        for (i, queries) in queries.chunks_exact_mut(len).enumerate() {
            queries.copy_from_slice(&q[(block.first_row + i) * q_dim + block.kv_head * len..][..len]);
        }
        self.attention.pack(queries);
    }

    /// The sums of a chunk, while what is read after it is asked for.
    #[allow(clippy::too_many_arguments, reason = "a chunk, and the three parts of a thread's scratch")]
    fn attend_chunk(
        &self,
        pass: Pass<'_>,
        block: Block<'_>,
        chunk: usize,
        next: Option<Place>,
        queries: &[f32],
        scores: &mut [f32],
        sums: &mut Sums<'_>,
    ) {
        let head = |(sequence, kv_head, chunk): Place| pass.cache.head(sequence, pass.layer, kv_head, chunk);
        let chunk = Chunk { start: chunk * PAGE_LEN, page: head(block.place(chunk)), next: next.map_or(&[], head) };
        let rows = Rows { position: block.rows[0].position, group: self.config.group_size(), window: self.window(pass.layer) };
        self.attention.attend(&chunk, rows, queries, scores, sums);
    }

    /// Divides a block's sums. out: (rows, group_size · head_dim)
    fn finish(&self, sums: &Sums<'_>, mut out: MatMut<'_>) {
        let (d, group) = (self.config.head_dim, self.config.group_size());
        let width = KvLayout::width_of(d);
        for i in 0..out.rows() {
            for (g, head) in out.row_mut(i).chunks_exact_mut(d).enumerate() {
                let query = i * group + g;
                let inverse = 1.0 / sums.sum[query];
                head.iter_mut().zip(&sums.acc[query * width..][..d]).for_each(|(out, acc)| *out = acc * inverse);
            }
        }
    }
}
