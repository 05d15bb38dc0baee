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
//! (`infer_kernels`), how attention is shared out (`attention.rs`) and threads (`team.rs`).

use infer_kernels::{Activations, MatMut};

use crate::batch::{Batch, Row};
use crate::buffer::Buffer;
use crate::error::ModelError;
use crate::kv_cache::KvCache;
use crate::matrix::Matrix;
use crate::model::{Compute, Model};
use crate::rope::Rope;
use crate::state::{Rounded, State};
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
            self.remember(crew, layer, batch, cache, s);
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
        let rounds_to = |compute| products.iter().find(|p| self.compute_of(p.matrix.dtype()) == compute);
        if rounds_to(Compute::Bf16).is_some() {
            rounded.set_bf16(x);
        }
        if let Some(product) = rounds_to(Compute::Int8) {
            rounded.set_int8(crew, x, ROWS_PER_PART * product.matrix.k());
        }
        let bytes: usize = products.iter().map(|p| p.matrix.n() * p.matrix.row_bytes()).sum();
        let part_bytes = (bytes / (crew.n_threads() * PARTS_PER_THREAD)).max(MIN_PART_BYTES);
        let parts = products.into_iter().flat_map(|p| p.split(part_bytes)).collect();
        crew.each_with_scratch(parts, |part: ProductPart<'_>, scratch| {
            let ProductPart { matrix, first_row, bias, mut out } = part;
            let (rows, dtype) = (first_row..first_row + out.cols(), matrix.dtype());
            let x = match self.compute_of(dtype) {
                Compute::Int8 => Activations::Int8(rounded.int8(x.len())),
                Compute::Bf16 if self.kernels.has_bf16_dot(dtype) => Activations::Bf16(rounded.bf16(x.len())),
                Compute::Bf16 => Activations::F32(rounded.f32(x.len())),
                Compute::F32 | Compute::Auto => Activations::F32(x),
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

/// Makes room for the batch's positions in the cache; on an error takes back what it made.
fn reserve(batch: &Batch, cache: &mut KvCache) -> Result<(), ModelError> {
    let mut done = Vec::new();
    for rows in batch.rows().chunk_by(|a, b| a.sequence == b.sequence) {
        let (sequence, len) = (rows[0].sequence, cache.len(rows[0].sequence));
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
