//! The decoder: a batch of tokens to logits.
//!
//! ```text
//! x = embed_tokens[token]
//! for each layer:
//!     x += o_proj · attention(rope(q_proj · n), rope(k_proj · n), v_proj · n)     where n = rmsnorm(x)
//!     x += down_proj · (silu(gate_proj · n) ⊙ up_proj · n)                        where n = rmsnorm(x)
//! logits = lm_head · rmsnorm(x)
//! ```
//!
//! This is Llama's decoder (Touvron et al., 2023); what other architectures vary is in `Config`. One row or many, prefill or decode, one
//! sequence or several: the code is the same, and each row's numbers do not depend on the rows beside it. Not here: arithmetic
//! (`infer_kernels`) and threads (`team.rs`).

use infer_kernels::{Activations, Chunk, MatMut, Running};

use crate::batch::{Batch, Row};
use crate::buffer::Buffer;
use crate::error::ModelError;
use crate::kv_cache::{KvCache, PAGE_LEN};
use crate::matrix::Matrix;
use crate::model::Model;
use crate::rope::Rope;
use crate::state::{AttentionScratch, Rounded, State};
use crate::team::Crew;
use crate::weights::{LayerWeights, Linear};

/// Rows that a part of an operation on rows takes.
const ROWS_PER_PART: usize = 16;

/// Parts of a matrix product for each thread: enough that a thread which is held up leaves work to the others.
const PARTS_PER_THREAD: usize = 4;

/// The least that a part of a matrix product reads, so that handing it out costs little beside it.
const MIN_PART_BYTES: usize = 64 << 10;

/// Weight rows that a part of a matrix product is a multiple of: a cache line of outputs, so that threads do not share any.
const PART_ROWS: usize = 16;

impl Model {
    /// Runs the rows of `batch`: their keys and values are appended to `cache`, and `state` holds the logits of the rows that want them.
    ///
    /// An error (a row that does not continue its sequence, a token out of range, memory) leaves the cache as it was.
    pub fn forward(&self, batch: &Batch, cache: &mut KvCache, state: &mut State) -> Result<(), ModelError> {
        self.check(batch, cache)?;
        state.prepare(&self.config, batch.len(), batch.n_logits())?;
        reserve(batch, cache)?;
        self.team.run(|crew| self.decode(crew, batch, cache, state));
        Ok(())
    }

    /// The pass itself; see the top of this file.
    fn decode(&self, crew: &Crew<'_>, batch: &Batch, cache: &mut KvCache, s: &mut State) {
        for (row, x) in batch.rows().iter().zip(s.x.chunks_exact_mut(self.config.dim)) {
            self.weights.embed_tokens.decode_row(row.token as usize, x);
        }
        self.angles(batch, s);
        for (layer, w) in self.weights.layers.iter().enumerate() {
            self.norm(crew, &s.x, &w.input_layernorm, &mut s.normed);
            self.project(crew, &s.normed, &mut s.rounded, [(&w.q_proj, &mut s.q), (&w.k_proj, &mut s.k), (&w.v_proj, &mut s.v)]);
            self.rotate(crew, w, s);
            self.remember(layer, batch, cache, s);
            self.attend(crew, layer, batch, cache, s);
            self.project(crew, &s.attended, &mut s.rounded, [(&w.o_proj, &mut s.delta)]);
            self.kernels.add(&mut s.x, &s.delta);

            self.norm(crew, &s.x, &w.post_attention_layernorm, &mut s.normed);
            self.project(crew, &s.normed, &mut s.rounded, [(&w.gate_proj, &mut s.gate), (&w.up_proj, &mut s.up)]);
            self.gate(crew, &mut s.gate, &s.up);
            self.project(crew, &s.gate, &mut s.rounded, [(&w.down_proj, &mut s.delta)]);
            self.kernels.add(&mut s.x, &s.delta);
        }
        self.head(crew, batch, s);
    }

    /// Logits of the rows that want them.
    fn head(&self, crew: &Crew<'_>, batch: &Batch, s: &mut State) {
        let dim = self.config.dim;
        let wanted = batch.rows().iter().zip(s.x.chunks_exact(dim)).filter(|(row, _)| row.wants_logits);
        let n_logits = batch.n_logits();
        let (x, normed) = (&mut s.delta[..n_logits * dim], &mut s.normed[..n_logits * dim]);
        for ((_, from), to) in wanted.zip(x.chunks_exact_mut(dim)) {
            to.copy_from_slice(from);
        }
        self.norm(crew, x, &self.weights.norm, normed);
        self.products(
            crew,
            normed,
            &mut s.rounded,
            vec![Product { matrix: &self.weights.lm_head, bias: None, out: &mut s.logits }],
        );
    }

    /// Cosines and sines of each row's position. Most schemes have the same frequencies for all rows.
    fn angles(&self, batch: &Batch, s: &mut State) {
        let half = self.config.head_dim / 2;
        let mut known: Option<(usize, f32)> = None;
        for (i, row) in batch.rows().iter().enumerate() {
            let factor = match known {
                Some((rope_len, factor)) if rope_len == row.rope_len => factor,
                _ => self.config.rope.frequencies(row.rope_len, &mut s.frequencies),
            };
            known = Some((row.rope_len, factor));
            let at = i * half..(i + 1) * half;
            Rope::angles(&s.frequencies, factor, row.position, &mut s.cos[at.clone()], &mut s.sin[at]);
        }
    }

    /// Root mean square norm of each row. x, out: (rows, dim)
    fn norm(&self, crew: &Crew<'_>, x: &[f32], w: &[f32], out: &mut [f32]) {
        let dim = w.len();
        let part = ROWS_PER_PART * dim;
        crew.each(x.chunks(part).zip(out.chunks_mut(part)).collect(), |(x, out): (&[f32], &mut [f32])| {
            for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
                out.copy_from_slice(x);
                self.kernels.rmsnorm(out, w, self.config.norm_eps);
            }
        });
    }

    /// `gate = silu(gate) ⊙ up`. gate, up: (rows, hidden_dim)
    fn gate(&self, crew: &Crew<'_>, gate: &mut [f32], up: &[f32]) {
        let part = ROWS_PER_PART * self.config.hidden_dim;
        crew.each(gate.chunks_mut(part).zip(up.chunks(part)).collect(), |(gate, up): (&mut [f32], &[f32])| {
            self.kernels.swiglu(gate, up);
        });
    }

    /// Several linear maps of the same input, as one piece of work. x: (rows, k); each output: (rows, n)
    fn project<'a, const N: usize>(
        &self,
        crew: &Crew<'_>,
        x: &[f32],
        rounded: &mut Rounded,
        maps: [(&'a Linear, &'a mut Buffer<f32>); N],
    ) {
        let product = |(linear, out): (&'a Linear, &'a mut Buffer<f32>)| Product {
            matrix: &linear.weight,
            bias: linear.bias.as_deref(),
            out,
        };
        self.products(crew, x, rounded, maps.map(product).into());
    }

    /// Matrix products of the same input. x: (rows, k)
    fn products(&self, crew: &Crew<'_>, x: &[f32], rounded: &mut Rounded, products: Vec<Product<'_>>) {
        if products.iter().any(|p| self.rounds(p.matrix.dtype())) {
            rounded.set(x);
        }
        let bytes: usize = products.iter().map(|p| p.matrix.n() * p.matrix.row_bytes()).sum();
        let part_bytes = (bytes / (crew.n_threads() * PARTS_PER_THREAD)).max(MIN_PART_BYTES);
        let parts = products.into_iter().flat_map(|p| p.split(part_bytes)).collect();
        crew.each_with_scratch(parts, |part: ProductPart<'_>, scratch| {
            let ProductPart { matrix, first_row, bias, mut out } = part;
            let (rows, dtype) = (first_row..first_row + out.cols(), matrix.dtype());
            let x = match self.rounds(dtype) {
                false => Activations::F32(x),
                true if self.kernels.has_bf16_dot(dtype) => Activations::Bf16(rounded.bf16(x.len())),
                true => Activations::F32(rounded.f32(x.len())),
            };
            self.kernels.matmul(dtype, matrix.rows(rows), x, matrix.k(), out.reborrow(), scratch);
            if let Some(bias) = bias {
                (0..out.rows()).for_each(|i| self.kernels.add(out.row_mut(i), bias));
            }
        });
    }

    /// Norms, where the architecture has them, and rotates the heads of queries and keys.
    fn rotate(&self, crew: &Crew<'_>, w: &LayerWeights, s: &mut State) {
        let (d, half) = (self.config.head_dim, self.config.head_dim / 2);
        let (q_part, k_part) = (ROWS_PER_PART * self.config.q_dim(), ROWS_PER_PART * self.config.kv_dim());
        let angles = s.cos.chunks(ROWS_PER_PART * half).zip(s.sin.chunks(ROWS_PER_PART * half));
        let parts = s.q.chunks_mut(q_part).zip(s.k.chunks_mut(k_part)).zip(angles).collect();
        type Part<'a> = ((&'a mut [f32], &'a mut [f32]), (&'a [f32], &'a [f32]));
        crew.each(parts, |((q, k), (cos, sin)): Part<'_>| {
            for (heads, width, norm) in [(q, self.config.q_dim(), &w.q_norm), (k, self.config.kv_dim(), &w.k_norm)] {
                let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
                for (row, (cos, sin)) in heads.chunks_exact_mut(width).zip(angles) {
                    for head in row.chunks_exact_mut(d) {
                        if let Some(norm) = norm {
                            self.kernels.rmsnorm(head, norm, self.config.norm_eps);
                        }
                        self.kernels.rope(head, cos, sin);
                    }
                }
            }
        });
    }

    /// Writes each row's keys and values to the cache.
    fn remember(&self, layer: usize, batch: &Batch, cache: &mut KvCache, s: &State) {
        let kv_dim = self.config.kv_dim();
        for (i, row) in batch.rows().iter().enumerate() {
            let at = i * kv_dim..(i + 1) * kv_dim;
            cache.write(row.sequence, layer, row.position, &s.k[at.clone()], &s.v[at]);
        }
    }

    /// Attention of each row over its sequence's positions up to itself: `s.attended` from `s.q` and the cache.
    fn attend(&self, crew: &Crew<'_>, layer: usize, batch: &Batch, cache: &KvCache, s: &mut State) {
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
            let (k, v) = cache.read(row_sequence(rows), layer, kv_head, page, n);
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

    /// Whether each row continues its sequence with a token that the model has.
    fn check(&self, batch: &Batch, cache: &KvCache) -> Result<(), ModelError> {
        let mut previous: Option<&Row> = None;
        for row in batch.rows() {
            if !cache.contains(row.sequence) {
                return Err(ModelError::row("a sequence of the cache", format_args!("{:?}", row.sequence)));
            }
            if row.token as usize >= self.config.vocab_size {
                return Err(ModelError::row(format_args!("a token id below {}", self.config.vocab_size), row.token));
            }
            let next = match previous.filter(|p| p.sequence == row.sequence) {
                Some(previous) => previous.position + 1,
                // A sequence's rows stand together, since its positions are counted from here.
                None if batch.rows().iter().find(|r| r.sequence == row.sequence) == Some(row) => cache.len(row.sequence),
                None => return Err(ModelError::row("the rows of a sequence side by side", format_args!("{row:?}"))),
            };
            if row.position != next {
                return Err(ModelError::row(format_args!("position {next}"), row.position));
            }
            previous = Some(row);
        }
        Ok(())
    }
}

/// The sequence that the rows of a part belong to.
fn row_sequence(rows: &[Row]) -> crate::kv_cache::SequenceId {
    rows[0].sequence
}

/// Makes room for the batch's positions in the cache; on an error takes back what it made.
fn reserve(batch: &Batch, cache: &mut KvCache) -> Result<(), ModelError> {
    let mut done = Vec::new();
    for rows in batch.rows().chunk_by(|a, b| a.sequence == b.sequence) {
        let (sequence, len) = (row_sequence(rows), cache.len(row_sequence(rows)));
        if let Err(e) = cache.extend(sequence, rows.len()) {
            done.into_iter().for_each(|(sequence, len)| cache.truncate(sequence, len));
            return Err(e);
        }
        done.push((sequence, len));
    }
    Ok(())
}

/// A matrix product to be done: `out = x · matrixᵀ + bias`.
struct Product<'a> {
    matrix: &'a Matrix,
    bias: Option<&'a [f32]>,
    // (rows, n)
    out: &'a mut [f32],
}

/// Some columns of a product's output, and so some rows of its matrix.
struct ProductPart<'a> {
    matrix: &'a Matrix,
    first_row: usize,
    bias: Option<&'a [f32]>,
    out: MatMut<'a>,
}

impl<'a> Product<'a> {
    /// Cuts the product into parts that read about `part_bytes` each.
    fn split(self, part_bytes: usize) -> Vec<ProductPart<'a>> {
        let Product { matrix, bias, out } = self;
        let rows = (part_bytes / matrix.row_bytes()).max(1).next_multiple_of(PART_ROWS);
        let mut rest = MatMut::new(out, matrix.n());
        let mut parts = Vec::new();
        let mut first_row = 0;
        while first_row < matrix.n() {
            let n = rows.min(matrix.n() - first_row);
            let (part, others) = rest.split_at_col(n);
            let bias = bias.map(|bias| &bias[first_row..first_row + n]);
            parts.push(ProductPart { matrix, first_row, bias, out: part });
            rest = others;
            first_row += n;
        }
        parts
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
