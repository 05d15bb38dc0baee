//! The attention of a pass: keys and values into the cache, and each row's sum over the positions before it.
//!
//! Not here: the arithmetic (`infer_kernels`), and where keys and values lie (`kv_cache.rs`).

use infer_kernels::{Chunk, MatMut, Running};

use crate::batch::{Batch, Row};
use crate::forward::ROWS_PER_PART;
use crate::kv_cache::{KvCache, PAGE_LEN};
use crate::model::Model;
use crate::state::{AttentionScratch, State};
use crate::team::Crew;

impl Model {
    /// Writes each row's keys and values to the cache.
    pub(crate) fn remember(&self, layer: usize, batch: &Batch, cache: &mut KvCache, s: &State) {
        let kv_dim = self.config.kv_dim();
        for (i, row) in batch.rows().iter().enumerate() {
            let at = i * kv_dim..(i + 1) * kv_dim;
            cache.write(row.sequence, layer, row.position, &s.k[at.clone()], &s.v[at]);
        }
    }

    /// Attention of each row over its sequence's positions up to itself: `s.attended` from `s.q` and the cache.
    pub(crate) fn attend(&self, crew: &Crew<'_>, layer: usize, batch: &Batch, cache: &KvCache, s: &mut State) {
        let State { q, attention, attended, .. } = s;
        let parts = self.attention_parts(batch, attention, attended);
        crew.each(parts, |part: AttentionPart<'_>| self.attend_part(layer, cache, q, part));
    }

    /// Cuts a batch into parts of some rows of one sequence and one KV head.
    fn attention_parts<'a>(
        &self,
        batch: &'a Batch,
        scratch: &'a mut AttentionScratch,
        out: &'a mut [f32],
    ) -> Vec<AttentionPart<'a>> {
        let (c, group) = (&self.config, self.config.group_size());
        let mut parts = Vec::new();
        let AttentionScratch { q, acc, sum, max, scores, visible } = scratch;
        let (mut q, mut acc, mut sum, mut max) = (&mut q[..], &mut acc[..], &mut sum[..], &mut max[..]);
        let (mut scores, mut visible, mut out) = (&mut scores[..], &mut visible[..], out);
        let mut first_row = 0;
        for same_sequence in batch.rows().chunk_by(|a, b| a.sequence == b.sequence) {
            for rows in same_sequence.chunks(ROWS_PER_PART) {
                let (rows_out, rest) = out.split_at_mut(rows.len() * c.q_dim());
                out = rest;
                let mut rows_out = MatMut::new(rows_out, c.q_dim());
                for kv_head in 0..c.n_kv_heads {
                    let n = rows.len() * group;
                    let (heads_out, rest) = rows_out.split_at_col(group * c.head_dim);
                    rows_out = rest;
                    parts.push(AttentionPart {
                        rows,
                        first_row,
                        kv_head,
                        q: q.split_off_mut(..n * c.head_dim).expect("sized for the batch"),
                        acc: acc.split_off_mut(..n * c.head_dim).expect("sized for the batch"),
                        sum: sum.split_off_mut(..n).expect("sized for the batch"),
                        max: max.split_off_mut(..n).expect("sized for the batch"),
                        scores: scores.split_off_mut(..n * PAGE_LEN).expect("sized for the batch"),
                        visible: visible.split_off_mut(..n).expect("sized for the batch"),
                        out: heads_out,
                    });
                }
                first_row += rows.len();
            }
        }
        parts
    }

    /// One part of the attention: all query heads of a KV head, page by page in the order of positions.
    fn attend_part(&self, layer: usize, cache: &KvCache, q: &[f32], part: AttentionPart<'_>) {
        let AttentionPart { rows, first_row, kv_head, q: queries, acc, sum, max, scores, visible, mut out } = part;
        let (d, group, q_dim) = (self.config.head_dim, self.config.group_size(), self.config.q_dim());
        let width = group * d;
        for (i, query) in queries.chunks_exact_mut(width).enumerate() {
            query.copy_from_slice(&q[(first_row + i) * q_dim + kv_head * width..][..width]);
        }
        acc.fill(0.0);
        sum.fill(0.0);
        max.fill(f32::NEG_INFINITY);
        let window = self.config.windows[layer].unwrap_or(usize::MAX);
        let first_seen = |row: &Row| (row.position + 1).saturating_sub(window);
        let scale = (d as f32).powf(-0.5);
        // Rows come in the order of their positions, so the first sees the earliest and the last the latest.
        let (first, last) = (first_seen(&rows[0]) / PAGE_LEN, rows[rows.len() - 1].position / PAGE_LEN);
        for page in first..=last {
            let page_start = page * PAGE_LEN;
            let n = (rows[rows.len() - 1].position + 1 - page_start).min(PAGE_LEN);
            for (row, visible) in rows.iter().zip(visible.chunks_exact_mut(group)) {
                let end = (row.position + 1).saturating_sub(page_start).min(n);
                visible.fill((first_seen(row).saturating_sub(page_start).min(end), end));
            }
            let (k, v) = cache.read(rows[0].sequence, layer, kv_head, page, n);
            let chunk = Chunk { q: queries, k, v, visible, scale, head_dim: d };
            self.kernels.attend(&chunk, &mut scores[..n * visible.len()], &mut Running { max, sum, acc });
        }
        for i in 0..rows.len() {
            for (g, head) in out.row_mut(i).chunks_exact_mut(d).enumerate() {
                let query = i * group + g;
                let inverse = 1.0 / sum[query];
                head.iter_mut().zip(&acc[query * d..][..d]).for_each(|(out, acc)| *out = acc * inverse);
            }
        }
    }
}

/// Some rows of one sequence and the query heads of one KV head. Queries are counted row by row, and by head within a row.
struct AttentionPart<'a> {
    rows: &'a [Row],
    /// The first row's place in the batch.
    first_row: usize,
    kv_head: usize,
    // (queries, head_dim)
    q: &'a mut [f32],
    // (queries, head_dim)
    acc: &'a mut [f32],
    // (queries,)
    sum: &'a mut [f32],
    // (queries,)
    max: &'a mut [f32],
    // (queries, PAGE_LEN)
    scores: &'a mut [f32],
    // (queries,)
    visible: &'a mut [(usize, usize)],
    // (rows, group_size · head_dim)
    out: MatMut<'a>,
}
