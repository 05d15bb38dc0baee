//! int8 activations: their rounding, and products with weights in blocks, against exact sums; one row against many, bit for bit.

use std::ops::Range;

use infer_kernels::testing::{Guarded, Seeded};
use infer_kernels::{
    Activations, DType, INT8_BLOCK, Int8Rounding, Int8Rows, Int8RowsMut, Isa, Kernels, MATMUL_SCRATCH, MatMut, decode,
};

use crate::{TINY, UNIT, assert_close, assert_intact};

/// Rounded rows that own their numbers.
struct Rounded {
    q: Vec<i8>,
    scales: Vec<f32>,
    starts: Vec<i32>,
    half_starts: Vec<i32>,
    offsets: Vec<f32>,
    half_offsets: Vec<f32>,
}

const ROUNDINGS: [Int8Rounding; 2] = [Int8Rounding::Plain, Int8Rounding::Fitted];

fn rounded(kernels: &Kernels, x: &[f32]) -> Rounded {
    rounded_so(kernels, x, Int8Rounding::Plain)
}

fn rounded_so(kernels: &Kernels, x: &[f32], rounding: Int8Rounding) -> Rounded {
    let n = x.len() / INT8_BLOCK;
    let mut r = Rounded {
        q: vec![0; x.len()],
        scales: vec![0.0; n],
        starts: vec![0; n],
        half_starts: vec![0; 2 * n],
        offsets: vec![0.0; n],
        half_offsets: vec![0.0; 2 * n],
    };
    let Rounded { q, scales, starts, half_starts, offsets, half_offsets } = &mut r;
    kernels.round_to_int8(x, rounding, Int8RowsMut { q, scales, starts, half_starts, offsets, half_offsets });
    r
}

impl Rounded {
    /// Some of the rows, each of `n_blocks` blocks.
    fn rows(&self, rows: Range<usize>, n_blocks: usize) -> Int8Rows<'_> {
        let at = |width: usize| rows.start * width..rows.end * width;
        Int8Rows {
            q: &self.q[at(n_blocks * INT8_BLOCK)],
            scales: &self.scales[at(n_blocks)],
            starts: &self.starts[at(n_blocks)],
            half_starts: &self.half_starts[at(2 * n_blocks)],
            offsets: &self.offsets[at(n_blocks)],
            half_offsets: &self.half_offsets[at(2 * n_blocks)],
            tiles: &[],
        }
    }
}

#[test]
fn rounding_is_to_the_nearest_of_127_steps() {
    let mut seeded = Seeded(1);
    let x: Vec<f32> = (0..1000 * INT8_BLOCK).map(|_| seeded.awkward()).collect();
    for (kernels, rounding) in Kernels::available().flat_map(|kernels| ROUNDINGS.map(|rounding| (kernels, rounding))) {
        let Rounded { q, scales, starts, half_starts, offsets, half_offsets } = rounded_so(&kernels, &x, rounding);
        let sum = |q: &[i8]| q.iter().map(|&q| i32::from(q)).sum::<i32>();
        for (i, q) in q.chunks_exact(INT8_BLOCK).enumerate() {
            assert_eq!(starts[i], -128 * sum(q));
            assert_eq!(half_starts[2 * i..2 * i + 2], [-128 * sum(&q[..16]), -128 * sum(&q[16..])]);
            assert_eq!(offsets[i], -scales[i] * sum(q) as f32);
            assert_eq!(half_offsets[2 * i..2 * i + 2], [&q[..16], &q[16..]].map(|q| -scales[i] * sum(q) as f32));
        }
        assert!(q.iter().all(|&q| q != i8::MIN));
        if rounding == Int8Rounding::Fitted {
            // The nearest code before the step was fitted to the codes, not after.
            continue;
        }
        for ((x, q), scale) in x.chunks_exact(INT8_BLOCK).zip(q.chunks_exact(INT8_BLOCK)).zip(scales) {
            for (x, q) in x.iter().zip(q) {
                let off = (f64::from(*x) - f64::from(scale) * f64::from(*q)).abs();
                // Half a step, and the roundings of the scale, its inverse and the quotient.
                let bound = f64::from(scale) * (0.5 + 127.0 * 4.0 * UNIT);
                assert!(off <= bound, "{}: {x} became {q} · {scale}", kernels.isa());
            }
        }
    }
}

/// Never more error than by plain rounding, and on the average what numbers from a normal distribution promise.
#[test]
fn fitted_rounding_leaves_a_fifth_less_error() {
    let mut seeded = Seeded(9);
    let normal = |seeded: &mut Seeded| (0..12).map(|_| seeded.uniform()).sum::<f32>();
    let x: Vec<f32> = (0..1000 * INT8_BLOCK).map(|_| normal(&mut seeded)).collect();
    let y: Vec<f32> = (0..1000 * INT8_BLOCK).map(|_| seeded.awkward()).collect();
    let errors = |x: &[f32], rounding| {
        let Rounded { q, scales, .. } = rounded_so(&Kernels::detect(), x, rounding);
        let off = |x: f32, q: i8, scale: f32| f64::from(x) - f64::from(scale) * f64::from(q);
        let blocks = x.chunks_exact(INT8_BLOCK).zip(q.chunks_exact(INT8_BLOCK)).zip(scales);
        blocks.map(|((x, q), d)| x.iter().zip(q).map(|(&x, &q)| off(x, q, d).powi(2)).sum()).collect::<Vec<f64>>()
    };
    for x in [&x, &y] {
        for (fitted, plain) in errors(x, Int8Rounding::Fitted).into_iter().zip(errors(x, Int8Rounding::Plain)) {
            assert!(fitted <= plain * (1.0 + 1e-3), "{fitted} and not {plain}");
        }
    }
    let mean = |rounding| errors(&x, rounding).iter().sum::<f64>();
    let ratio = mean(Int8Rounding::Fitted) / mean(Int8Rounding::Plain);
    assert!((0.77..0.84).contains(&ratio), "{ratio}");
}

#[test]
fn every_rung_rounds_to_the_same_bytes() {
    let mut seeded = Seeded(5);
    let mut x: Vec<f32> = (0..300 * INT8_BLOCK).map(|_| seeded.awkward()).collect();
    x[..2 * INT8_BLOCK].fill(0.0);
    (x[70], x[100]) = (f32::NAN, f32::NEG_INFINITY);
    let of = |kernels: &Kernels, rounding| {
        let Rounded { q, scales, starts, half_starts, offsets, half_offsets } = rounded_so(kernels, &x, rounding);
        let bits = |x: Vec<f32>| x.into_iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect::<Vec<_>>();
        (q, bits(scales), starts, half_starts, bits(offsets), bits(half_offsets))
    };
    for rounding in ROUNDINGS {
        let mut rungs = Kernels::available();
        let want = of(&rungs.next().unwrap(), rounding);
        for kernels in rungs {
            assert!(of(&kernels, rounding) == want, "{} {rounding:?}", kernels.isa());
        }
    }
}

#[test]
fn ties_go_to_even_and_what_is_not_finite_stays_so() {
    let block = |first: &[f32]| {
        let mut x = vec![0.0; INT8_BLOCK];
        x[..first.len()].copy_from_slice(first);
        let Rounded { q, scales, .. } = rounded(&Kernels::detect(), &x);
        (q[..first.len()].to_vec(), scales[0])
    };
    assert_eq!(block(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0]), (vec![127, 0, 2, 2, 0, -2, -127], 1.0));
    assert_eq!(block(&[0.0, -0.0]), (vec![0, 0], 0.0));
    assert_eq!(block(&[f32::from_bits(1), -f32::from_bits(90)]).0, [0, 0]);
    assert_eq!(block(&[f32::MAX, -f32::MAX]).0, [127, -127]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(!block(&[1.0, bad, 2.0]).1.is_finite(), "{bad}");
        let mut x = [1.0; INT8_BLOCK];
        x[9] = bad;
        assert!(!rounded_so(&Kernels::detect(), &x, Int8Rounding::Fitted).scales[0].is_finite(), "{bad}");
    }
    let largest = rounded_so(&Kernels::detect(), &[f32::MAX; INT8_BLOCK], Int8Rounding::Fitted);
    assert!(
        largest.q[0] > 120 && (f64::from(largest.scales[0]) * f64::from(largest.q[0]) / f64::from(f32::MAX) - 1.0).abs() < 1e-6
    );
}

/// Weights, as bytes and as numbers, and a bound of each number's parts.
struct Weights {
    bytes: Vec<u8>,
    values: Vec<f32>,
    /// |scale · code| + |minimum|, of which the weight may be a small difference
    sizes: Vec<f32>,
}

/// Where a block has its scale, or the scale of its scales, and where its minimum, or the scale of its minima, if it has any.
fn scale_and_minimum(dtype: DType) -> (Range<usize>, Option<Range<usize>>) {
    match dtype {
        DType::Q4_1 | DType::Q5_1 | DType::Q4K | DType::Q5K => (0..2, Some(2..4)),
        DType::Q2K => (80..82, Some(82..84)),
        DType::Q3K => (108..110, None),
        DType::Q6K => (208..210, None),
        DType::Mxfp4 => (0..1, None),
        _ => (0..2, None),
    }
}

/// Weights of every bit pattern with values that are finite, and stay so in sums, now and then the same code everywhere, and a scale that is zero
/// or subnormal.
fn weights(dtype: DType, n: usize, seeded: &mut Seeded) -> Weights {
    let mut w = Weights { bytes: Vec::new(), values: Vec::new(), sizes: Vec::new() };
    let (scale, minimum) = scale_and_minimum(dtype);
    let of = |block: &[u8]| {
        let mut decoded = vec![0.0; dtype.block_len()];
        decode(dtype, block, &mut decoded);
        decoded
    };
    while w.values.len() < n {
        let mut block: Vec<u8> = (0..dtype.block_bytes()).map(|_| seeded.bits() as u8).collect();
        match seeded.below(6) {
            0 => {
                let header = [Some(scale.clone()), minimum.clone()].map(|at| at.map(|at| block[at].to_vec()));
                block.fill([0x80, 0x7f, 0x00, 0xff][seeded.below(4)]);
                for (at, bytes) in [Some(scale.clone()), minimum.clone()].into_iter().zip(header) {
                    at.zip(bytes).into_iter().for_each(|(at, bytes)| block[at].copy_from_slice(&bytes));
                }
            }
            1 => block[scale.end - 1] = 0,
            _ => {}
        }
        let decoded = of(&block);
        // A scale that is too large shows where no code is zero.
        let mut without_zeros = block.clone();
        let is_header = |i: &usize| scale.contains(i) || minimum.as_ref().is_some_and(|at| at.contains(i));
        (0..block.len()).filter(|i| !is_header(i)).for_each(|i| without_zeros[i] = 0x77);
        if decoded.iter().chain(&of(&without_zeros)).all(|x| x.abs() < 1e30) {
            let (mut without_minimum, mut only_minimum) = (block.clone(), block.clone());
            only_minimum[scale.clone()].fill(0);
            let minima = match &minimum {
                Some(at) => {
                    without_minimum[at.clone()].fill(0);
                    of(&only_minimum)
                }
                None => vec![0.0; dtype.block_len()],
            };
            w.sizes.extend(of(&without_minimum).iter().zip(&minima).map(|(a, b)| a.abs() + b.abs()));
            w.bytes.extend_from_slice(&block);
            w.values.extend_from_slice(&decoded);
        }
    }
    w
}

/// All tiles of rows of `k` that the kernels want.
fn tiles(kernels: &Kernels, x: Int8Rows<'_>, k: usize) -> Vec<i32> {
    let (n, len) = kernels.int8_tiles(x.q.len() / k, k);
    let mut tiles = vec![i32::MIN; n * len];
    tiles.chunks_exact_mut(len.max(1)).enumerate().for_each(|(i, to)| kernels.pack_int8_tile(x, k, i, to));
    tiles
}

/// The product, without tiles and with them, with scratch for a row, for a panel of 16 as well, and for all: each, if they differ in nothing.
fn multiply(kernels: &Kernels, dtype: DType, w: &[u8], x: Int8Rows<'_>, k: usize, n: usize) -> Vec<f32> {
    let tiles = tiles(kernels, x, k);
    let of = |scratch_len: usize, tiles| {
        let x = Int8Rows { tiles, ..x };
        let mut out = Guarded::new(x.q.len() / k * n, 0, f32::NAN, || 0.0);
        let mut scratch = Guarded::new(scratch_len, scratch_len % 3, f32::NAN, || f32::NAN);
        kernels.matmul(dtype, w, Activations::Int8(x), k, MatMut::new(out.get_mut(), n), scratch.get_mut());
        assert_intact(&out, "matmul");
        assert_intact(&scratch, "scratch of matmul");
        out.get().to_vec()
    };
    let least = of(k.max(256), &[]);
    for (scratch_len, tiles) in
        [(k.max(256), &tiles), (10 * k + 1000, &tiles), (MATMUL_SCRATCH, &tiles), (MATMUL_SCRATCH, &vec![])]
    {
        let more = of(scratch_len, tiles);
        let differs = least.iter().zip(&more).position(|(a, b)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()));
        assert!(differs.is_none(), "{} {dtype} ({n}, {k}): output {differs:?} depends on scratch", kernels.isa());
    }
    least
}

/// Every rung and format that has such a product.
fn kernels() -> impl Iterator<Item = (Kernels, DType)> {
    let formats = |kernels: Kernels| DType::ALL.iter().map(move |&dtype| (kernels, dtype));
    Kernels::available().flat_map(formats).filter(|(kernels, dtype)| kernels.has_int8_dot(*dtype))
}

#[test]
fn products_are_exact_sums_up_to_f32_rounding() {
    let mut seeded = Seeded(2);
    for (kernels, dtype) in kernels() {
        let shapes = [
            (1, 1, 1),
            (1, 9, 3),
            (2, 5, 2),
            (4, 4, 7),
            (5, 6, 1),
            (9, 11, 5),
            (3, 2, 100),
            (41, 33, 18),
            (35, 18, 17),
            (17, 16, 33),
            (36, 20, 16),
            (2, 37, 16),
        ];
        for (m, n, n_blocks) in shapes {
            let k = (n_blocks * INT8_BLOCK).next_multiple_of(dtype.block_len());
            let n_blocks = k / INT8_BLOCK;
            let Weights { bytes: w, values, sizes } = weights(dtype, n * k, &mut seeded);
            let mut x: Vec<f32> = (0..m * k).map(|_| seeded.awkward()).collect();
            // All activations at either end of their range.
            x[..INT8_BLOCK].fill(if n_blocks.is_multiple_of(2) { -3.0 } else { 3.0 });
            let x = rounded(&kernels, &x);
            let (q, scales) = (&x.q, &x.scales);
            // As it lies in a map: at any address.
            let mut bytes = w.iter().copied();
            let w = Guarded::new(bytes.len(), n_blocks % 3, 0xff, || bytes.next().unwrap());
            let got = multiply(&kernels, dtype, w.get(), x.rows(0..m, n_blocks), k, n);
            for (i, &got) in got.iter().enumerate() {
                let (t, r) = (i / n, i % n);
                let (mut want, mut size) = (0.0, 0.0);
                for j in 0..k {
                    let x = f64::from(q[t * k + j]) * f64::from(scales[(t * k + j) / INT8_BLOCK]);
                    want += f64::from(values[r * k + j]) * x;
                    size += f64::from(sizes[r * k + j]) * x.abs();
                }
                // At most two fused steps for each block in a chain or lane, a product of scales each, five additions; a product of
                // scales that is subnormal is off by TINY, which a sum of 32 products multiplies, and with it a minimum.
                let steps = n_blocks as f64;
                let bound = 2.0 * (2.0 * steps + 6.0) * UNIT * size + 2.0 * steps * TINY * f64::from(32 * 128 * 127);
                assert_close(got, want as f32, bound, &|| format!("{} {dtype} ({m}, {n}, {k}) output {t}, {r}", kernels.isa()));
            }
        }
    }
}

#[test]
fn one_row_has_the_bits_of_many() {
    let mut seeded = Seeded(3);
    for (kernels, dtype) in kernels() {
        let (m, n) = (41, 37);
        let k = if dtype.block_len() > INT8_BLOCK { 3 * dtype.block_len() } else { 27 * INT8_BLOCK };
        let n_blocks = k / INT8_BLOCK;
        let w = weights(dtype, n * k, &mut seeded).bytes;
        let x: Vec<f32> = (0..m * k).map(|_| seeded.uniform()).collect();
        let x = rounded(&kernels, &x);
        let rows = |from: usize, to: usize| x.rows(from..to, n_blocks);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let whole = multiply(&kernels, dtype, &w, rows(0, m), k, n);
        for t in 0..m {
            let one = multiply(&kernels, dtype, &w, rows(t, t + 1), k, n);
            assert_eq!(bits(&one), bits(&whole[t * n..][..n]), "{} {dtype} row {t}", kernels.isa());
        }
        let row_bytes = w.len() / n;
        for (from, to) in [(0, 3), (2, 17), (1, 36), (28, 29), (3, 39)] {
            let part = multiply(&kernels, dtype, &w, rows(from, to), k, n);
            assert_eq!(bits(&part), bits(&whole[from * n..to * n]), "{} {dtype} rows {from}..{to}", kernels.isa());
        }
        for (from, to) in [(0, 5), (3, 4), (5, 37), (16, 32)] {
            let part = multiply(&kernels, dtype, &w[from * row_bytes..to * row_bytes], rows(0, m), k, to - from);
            for t in 0..m {
                assert_eq!(bits(&part[t * (to - from)..][..to - from]), bits(&whole[t * n + from..t * n + to]), "{dtype}");
            }
        }
    }
}

/// AVX-VNNI has the loops of AVX2, and sums of integers are exact.
#[test]
fn avx_vnni_has_the_bits_of_avx2() {
    let Some((vnni, avx2)) = Kernels::for_isa(Isa::AvxVnni).zip(Kernels::for_isa(Isa::Avx2)) else { return };
    let mut seeded = Seeded(6);
    for &dtype in DType::ALL.iter().filter(|&&dtype| avx2.has_int8_dot(dtype)) {
        for (m, n, n_blocks) in [(1, 37, 9), (3, 20, 80), (30, 33, 72)] {
            let k = (n_blocks * INT8_BLOCK).next_multiple_of(dtype.block_len());
            let w = weights(dtype, n * k, &mut seeded).bytes;
            let x: Vec<f32> = (0..m * k).map(|_| seeded.awkward()).collect();
            let x = rounded(&avx2, &x);
            let of = |kernels| multiply(kernels, dtype, &w, x.rows(0..m, k / INT8_BLOCK), k, n);
            let [a, b] = [of(&vnni), of(&avx2)].map(|x| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            assert_eq!(a, b, "{dtype} ({m}, {n}, {k})");
        }
    }
}

/// What is not finite in a row is not finite in its outputs, and in no other row's.
#[test]
fn infinity_and_nan_come_through() {
    for (kernels, dtype) in kernels() {
        let k = (2 * INT8_BLOCK).next_multiple_of(dtype.block_len());
        let w = weights(dtype, k, &mut Seeded(4)).bytes;
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = vec![1.0; 4 * k];
            x[40] = bad;
            let got = multiply(&kernels, dtype, &w, rounded(&kernels, &x).rows(0..4, k / INT8_BLOCK), k, 1);
            assert!(!got[0].is_finite() && got[1..].iter().all(|x| x.is_finite()), "{} {dtype}: {got:?}", kernels.isa());
        }
    }
}
