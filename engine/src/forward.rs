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

use infer_kernels::{Activations, DType, Int8Rounding, MatMut};

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

/// The most rows that a part of an operation on rows takes.
const MAX_ROWS_PER_PART: usize = 16;

/// The fewest elements in such a part where a pass has few rows, so that handing it out costs little beside it.
const MIN_PART_LEN: usize = 4096;

/// A part of a matrix product is what is left of it, divided by the number of threads and by this: parts shrink to the end, so that threads
/// finish together, and one that is held up leaves work to the others.
const SHARES_PER_THREAD: usize = 2;

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
        state.prepare(&self.config, &self.kernels, batch.len(), batch.n_logits())?;
        reserve(batch, cache)?;
        self.team.run(|crew| self.decode(crew, batch, cache, state));
        Ok(())
    }

    /// The pass itself; see the top of this file.
    fn decode(&self, crew: &Crew<'_>, batch: &Batch, cache: &mut KvCache, s: &mut State) {
        self.embed(crew, batch, &mut s.x);
        self.angles(batch, s);
        for (layer, w) in self.weights.layers.iter().enumerate() {
            self.norm(crew, &s.x, &w.input_layernorm, &mut s.normed);
            self.project(
                crew,
                &mut s.normed,
                &mut s.rounded,
                [(&w.q_proj, &mut s.q), (&w.k_proj, &mut s.k), (&w.v_proj, &mut s.v)],
            );
            self.rotate(crew, w, s);
            self.remember(crew, layer, batch, cache, s);
            self.attend(crew, layer, batch, cache, s);
            self.add_projection(crew, &mut s.x, &w.o_proj, &mut s.attended, &mut s.rounded, &mut s.delta);

            self.norm(crew, &s.x, &w.post_attention_layernorm, &mut s.normed);
            self.project(crew, &mut s.normed, &mut s.rounded, [(&w.gate_proj, &mut s.gate), (&w.up_proj, &mut s.up)]);
            self.gate(crew, &mut s.gate, &s.up);
            self.add_projection(crew, &mut s.x, &w.down_proj, &mut s.gate, &mut s.rounded, &mut s.delta);
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
            vec![Product { matrix: &self.weights.lm_head, bias: None, out: &mut s.logits, sum: None }],
        );
    }

    /// The embedding of each row's token. x: (rows, dim)
    fn embed(&self, crew: &Crew<'_>, batch: &Batch, x: &mut [f32]) {
        let dim = self.config.dim;
        let rows = rows_per_part(crew, batch.len(), dim);
        let parts = batch.rows().chunks(rows).zip(x.chunks_mut(rows * dim)).collect();
        crew.each(parts, |(rows, x): (&[Row], &mut [f32])| {
            for (row, x) in rows.iter().zip(x.chunks_exact_mut(dim)) {
                self.weights.embed_tokens.decode_row(&self.kernels, row.token as usize, x);
            }
        });
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
        let part = rows_per_part(crew, x.len() / dim, dim) * dim;
        crew.each(x.chunks(part).zip(out.chunks_mut(part)).collect(), |(x, out): (&[f32], &mut [f32])| {
            for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
                out.copy_from_slice(x);
                self.kernels.rmsnorm(out, w, self.config.norm_eps);
            }
        });
    }

    /// `gate = silu(gate) ⊙ up`. gate, up: (rows, hidden_dim)
    fn gate(&self, crew: &Crew<'_>, gate: &mut [f32], up: &[f32]) {
        let width = self.config.hidden_dim;
        let part = rows_per_part(crew, up.len() / width, width) * width;
        crew.each(gate.chunks_mut(part).zip(up.chunks(part)).collect(), |(gate, up): (&mut [f32], &[f32])| {
            self.kernels.swiglu(gate, up);
        });
    }

    /// Several linear maps of the same input, as one piece of work. x: (rows, k), changed if the maps want it; each output: (rows, n)
    fn project<'a, const N: usize>(
        &self,
        crew: &Crew<'_>,
        x: &mut [f32],
        rounded: &mut Rounded,
        maps: [(&'a Linear, &'a mut Buffer<f32>); N],
    ) {
        let product = |(linear, out): (&'a Linear, &'a mut Buffer<f32>)| Product {
            matrix: &linear.weight,
            bias: linear.bias.as_deref(),
            out,
            sum: None,
        };
        self.products(crew, x, rounded, maps.map(product).into());
    }

    /// Adds a linear map of `input` to the residual stream. x, delta (scratch): (rows, dim); input: (rows, k), changed if the map wants it
    fn add_projection(
        &self,
        crew: &Crew<'_>,
        x: &mut [f32],
        linear: &Linear,
        input: &mut [f32],
        rounded: &mut Rounded,
        delta: &mut [f32],
    ) {
        let product = Product { matrix: &linear.weight, bias: linear.bias.as_deref(), out: delta, sum: Some(x) };
        self.products(crew, input, rounded, vec![product]);
    }

    /// Matrix products of the same input, which is changed if the matrices are kept multiplied by a Hadamard matrix. x: (rows, k)
    fn products(&self, crew: &Crew<'_>, x: &mut [f32], rounded: &mut Rounded, products: Vec<Product<'_>>) {
        let (k, hadamard) = (products[0].matrix.k(), products[0].matrix.hadamard());
        assert!(products.iter().all(|p| p.matrix.hadamard() == hadamard), "matrices of the same input are kept alike");
        let part = rows_per_part(crew, x.len() / k, k) * k;
        if hadamard > 1 {
            crew.each(x.chunks_mut(part).collect(), |x: &mut [f32]| self.kernels.hadamard(x, hadamard));
        }
        let x = &*x;
        let needs = |form| products.iter().any(|p| self.form(p.matrix.dtype()) == form);
        if needs(Form::Bf16) {
            rounded.set_bf16(crew, &self.kernels, x, part);
            rounded.set_bf16_tiles(crew, &self.kernels, x.len(), k);
        }
        if needs(Form::Widened) {
            rounded.set_f32(crew, &self.kernels, x, part);
        }
        if needs(Form::Exact) || needs(Form::Widened) {
            rounded.set_f32_tiles(crew, &self.kernels, x, k, needs(Form::Widened));
        }
        if needs(Form::Int8) {
            // Weights of 8 bits lose no more than activations do.
            let is_fine = products.iter().any(|p| p.matrix.dtype() == DType::Q8_0);
            let rounding = if is_fine { Int8Rounding::Fitted } else { Int8Rounding::Plain };
            rounded.set_int8(crew, &self.kernels, x, rounding, part);
            rounded.set_int8_tiles(crew, &self.kernels, x.len(), k);
        }
        crew.each_with_scratch(split(products, crew.n_threads()), |part: ProductPart<'_>, scratch| {
            let ProductPart { matrix, first_row, bias, mut out, sum } = part;
            let (rows, dtype) = (first_row..first_row + out.cols(), matrix.dtype());
            let x = match self.form(dtype) {
                Form::Exact => self.f32(x, rounded, k),
                Form::Bf16 => Activations::Bf16(rounded.bf16(x.len())),
                Form::Widened => self.f32(rounded.f32(x.len()), rounded, k),
                Form::Int8 => Activations::Int8(rounded.int8(x.len())),
            };
            self.kernels.matmul(dtype, matrix.rows(rows), x, k, out.reborrow(), scratch);
            if let Some(bias) = bias {
                (0..out.rows()).for_each(|i| self.kernels.add(out.row_mut(i), bias));
            }
            if let Some(mut sum) = sum {
                (0..out.rows()).for_each(|i| self.kernels.add(sum.row_mut(i), out.row_mut(i)));
            }
        });
    }

    /// Rows of `k` activations in f32, by tiles too where products are faster from them.
    fn f32<'a>(&self, x: &'a [f32], rounded: &'a Rounded, k: usize) -> Activations<'a> {
        match rounded.f32_tiles(&self.kernels, x.len() / k, k) {
            [] => Activations::F32(x),
            tiles => Activations::F32Tiles(x, tiles),
        }
    }

    /// The form in which activations meet weights of this format.
    fn form(&self, dtype: DType) -> Form {
        match self.compute_of(dtype) {
            Compute::Int8 => Form::Int8,
            Compute::Bf16 if self.kernels.has_bf16_dot(dtype) => Form::Bf16,
            Compute::Bf16 => Form::Widened,
            Compute::F32 | Compute::Auto => Form::Exact,
        }
    }

    /// Norms, where the architecture has them, and rotates the heads of queries and keys.
    fn rotate(&self, crew: &Crew<'_>, w: &LayerWeights, s: &mut State) {
        let (d, half) = (self.config.head_dim, self.config.head_dim / 2);
        let rows = rows_per_part(crew, s.cos.len() / half, self.config.q_dim());
        let (q_part, k_part) = (rows * self.config.q_dim(), rows * self.config.kv_dim());
        let angles = s.cos.chunks(rows * half).zip(s.sin.chunks(rows * half));
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

/// Rows of `width` elements that a part of an operation on `rows` of them takes.
fn rows_per_part(crew: &Crew<'_>, rows: usize, width: usize) -> usize {
    rows.div_ceil(crew.n_threads()).clamp(MIN_PART_LEN.div_ceil(width).min(MAX_ROWS_PER_PART), MAX_ROWS_PER_PART)
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

/// How activations enter a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As they are.
    Exact,
    /// Rounded to bf16, for instructions that multiply those.
    Bf16,
    /// Rounded to bf16 and widened again, for instructions that do not.
    Widened,
    /// Rounded to bytes.
    Int8,
}

/// A matrix product to be done: `out = x · matrixᵀ + bias`, and then `sum += out`.
struct Product<'a> {
    matrix: &'a Matrix,
    bias: Option<&'a [f32]>,
    // (rows, n)
    out: &'a mut [f32],
    // (rows, n)
    sum: Option<&'a mut [f32]>,
}

/// Some columns of a product's output, and so some rows of its matrix.
struct ProductPart<'a> {
    matrix: &'a Matrix,
    first_row: usize,
    bias: Option<&'a [f32]>,
    out: MatMut<'a>,
    sum: Option<MatMut<'a>>,
}

/// Cuts products into parts for this many threads.
fn split(products: Vec<Product<'_>>, n_threads: usize) -> Vec<ProductPart<'_>> {
    let mut bytes_left: usize = products.iter().map(|p| p.matrix.n() * p.matrix.row_bytes()).sum();
    let mut parts = Vec::with_capacity(products.len() + n_threads * 8);
    for Product { matrix, bias, out, sum } in products {
        let (n, row_bytes) = (matrix.n(), matrix.row_bytes());
        let (mut out, mut sum) = (MatMut::new(out, n), sum.map(|sum| MatMut::new(sum, n)));
        let mut first_row = 0;
        while first_row < n {
            let rows_left = n - first_row;
            let share = (bytes_left / (n_threads * SHARES_PER_THREAD)).max(MIN_PART_BYTES) / row_bytes;
            let rows = if n_threads == 1 { rows_left } else { share.max(1).next_multiple_of(PART_ROWS).min(rows_left) };
            let (part_out, other_out) = out.split_at_col(rows);
            let (part_sum, other_sum) = sum.map(|sum| sum.split_at_col(rows)).unzip();
            let bias = bias.map(|bias| &bias[first_row..first_row + rows]);
            parts.push(ProductPart { matrix, first_row, bias, out: part_out, sum: part_sum });
            (out, sum) = (other_out, other_sum);
            first_row += rows;
            bytes_left -= rows * row_bytes;
        }
    }
    parts
}
