//! int8 activations: their rounding, and products with weights in blocks, against exact sums; one row against many, bit for bit.

use infer_kernels::testing::{Guarded, Seeded};
use infer_kernels::{Activations, DType, INT8_BLOCK, Int8Rows, Kernels, MatMut, decode, round_to_int8};

use crate::{TINY, UNIT, assert_close, assert_intact};

fn rounded(x: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let (mut q, mut scales) = (vec![0; x.len()], vec![0.0; x.len() / INT8_BLOCK]);
    round_to_int8(x, &mut q, &mut scales);
    (q, scales)
}

#[test]
fn rounding_is_to_the_nearest_of_127_steps() {
    let mut seeded = Seeded(1);
    let x: Vec<f32> = (0..1000 * INT8_BLOCK).map(|_| seeded.awkward()).collect();
    let (q, scales) = rounded(&x);
    for ((x, q), scale) in x.chunks_exact(INT8_BLOCK).zip(q.chunks_exact(INT8_BLOCK)).zip(scales) {
        for (x, q) in x.iter().zip(q) {
            let off = (f64::from(*x) - f64::from(scale) * f64::from(*q)).abs();
            // Half a step, and the roundings of the scale, its inverse and the quotient.
            assert!(*q != i8::MIN && off <= f64::from(scale) * (0.5 + 127.0 * 4.0 * UNIT), "{x} became {q} · {scale}");
        }
    }
}

#[test]
fn ties_go_to_even_and_what_is_not_finite_stays_so() {
    let block = |first: &[f32]| {
        let mut x = vec![0.0; INT8_BLOCK];
        x[..first.len()].copy_from_slice(first);
        let (q, scales) = rounded(&x);
        (q[..first.len()].to_vec(), scales[0])
    };
    assert_eq!(block(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0]), (vec![127, 0, 2, 2, 0, -2, -127], 1.0));
    assert_eq!(block(&[0.0, -0.0]), (vec![0, 0], 0.0));
    assert_eq!(block(&[f32::from_bits(1), -f32::from_bits(90)]).0, [0, 0]);
    assert_eq!(block(&[f32::MAX, -f32::MAX]).0, [127, -127]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(!block(&[1.0, bad, 2.0]).1.is_finite(), "{bad}");
    }
}

/// Weights of every bit pattern with finite values, now and then the lowest code, and a scale that is zero or subnormal.
fn weights(dtype: DType, n_blocks: usize, seeded: &mut Seeded) -> (Vec<u8>, Vec<f32>) {
    let (mut bytes, mut values) = (Vec::new(), Vec::new());
    let mut decoded = vec![0.0; dtype.block_len()];
    while values.len() < n_blocks * dtype.block_len() {
        let mut block: Vec<u8> = (0..dtype.block_bytes()).map(|_| seeded.bits() as u8).collect();
        match seeded.below(6) {
            0 => block[2..].fill([0x80, 0x7f, 0x00, 0xff][seeded.below(4)]),
            1 => block[1] = 0,
            _ => {}
        }
        decode(dtype, &block, &mut decoded);
        if decoded.iter().all(|x| x.is_finite()) {
            bytes.extend_from_slice(&block);
            values.extend_from_slice(&decoded);
        }
    }
    (bytes, values)
}

fn multiply(kernels: &Kernels, dtype: DType, w: &[u8], x: Int8Rows<'_>, k: usize, n: usize) -> Vec<f32> {
    let mut out = Guarded::new(x.q.len() / k * n, 0, f32::NAN, || 0.0);
    kernels.matmul(dtype, w, Activations::Int8(x), k, MatMut::new(out.get_mut(), n), &mut vec![0.0; k]);
    assert_intact(&out, "matmul");
    out.get().to_vec()
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
        for (m, n, n_blocks) in [(1, 1, 1), (1, 9, 3), (2, 5, 2), (4, 4, 7), (5, 6, 1), (9, 11, 5), (3, 2, 100)] {
            let k = n_blocks * INT8_BLOCK;
            let (w, values) = weights(dtype, n * n_blocks, &mut seeded);
            let mut x: Vec<f32> = (0..m * k).map(|_| seeded.awkward()).collect();
            // All activations at either end of their range.
            x[..INT8_BLOCK].fill(if n_blocks % 2 == 0 { -3.0 } else { 3.0 });
            let (q, scales) = rounded(&x);
            // As it lies in a map: at any address.
            let mut bytes = w.iter().copied();
            let w = Guarded::new(bytes.len(), n_blocks % 3, 0xff, || bytes.next().unwrap());
            let got = multiply(&kernels, dtype, w.get(), Int8Rows { q: &q, scales: &scales }, k, n);
            for (i, &got) in got.iter().enumerate() {
                let (t, r) = (i / n, i % n);
                let (mut want, mut size) = (0.0, 0.0);
                for j in 0..k {
                    let term =
                        f64::from(values[r * k + j]) * f64::from(q[t * k + j]) * f64::from(scales[(t * k + j) / INT8_BLOCK]);
                    want += term;
                    size += term.abs();
                }
                // Eight lanes of n_blocks fused steps, a product of scales each, three additions; a product of scales that is
                // subnormal is off by TINY, which a sum of 32 products multiplies.
                let bound = 2.0 * (n_blocks as f64 + 6.0) * UNIT * size + n_blocks as f64 * TINY * f64::from(32 * 128 * 127);
                assert_close(got, want as f32, bound, &|| format!("{} {dtype} ({m}, {n}, {k}) output {t}, {r}", kernels.isa()));
            }
        }
    }
}

#[test]
fn one_row_has_the_bits_of_many() {
    let mut seeded = Seeded(3);
    for (kernels, dtype) in kernels() {
        let (m, n, n_blocks) = (11, 13, 9);
        let k = n_blocks * INT8_BLOCK;
        let (w, _) = weights(dtype, n * n_blocks, &mut seeded);
        let x: Vec<f32> = (0..m * k).map(|_| seeded.uniform()).collect();
        let (q, scales) = rounded(&x);
        let rows = |from: usize, to: usize| Int8Rows { q: &q[from * k..to * k], scales: &scales[from * n_blocks..to * n_blocks] };
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let whole = multiply(&kernels, dtype, &w, rows(0, m), k, n);
        for t in 0..m {
            let one = multiply(&kernels, dtype, &w, rows(t, t + 1), k, n);
            assert_eq!(bits(&one), bits(&whole[t * n..][..n]), "{} {dtype} row {t}", kernels.isa());
        }
        let row_bytes = w.len() / n;
        for (from, to) in [(0, 5), (3, 4), (5, 13)] {
            let part = multiply(&kernels, dtype, &w[from * row_bytes..to * row_bytes], rows(0, m), k, to - from);
            for t in 0..m {
                assert_eq!(bits(&part[t * (to - from)..][..to - from]), bits(&whole[t * n + from..t * n + to]), "{dtype}");
            }
        }
    }
}

/// What is not finite in a row is not finite in its outputs, and in no other row's.
#[test]
fn infinity_and_nan_come_through() {
    for (kernels, dtype) in kernels() {
        let (w, _) = weights(dtype, 2, &mut Seeded(4));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = vec![1.0; 4 * INT8_BLOCK];
            x[40] = bad;
            let (q, scales) = rounded(&x);
            let got = multiply(&kernels, dtype, &w, Int8Rows { q: &q, scales: &scales }, 2 * INT8_BLOCK, 1);
            assert!(!got[0].is_finite() && got[1].is_finite(), "{} {dtype}: {got:?}", kernels.isa());
        }
    }
}
