//! The matrix product: against the oracle, and one row against many, bit for bit.

use std::ops::Range;

use infer_kernels::testing::{Guarded, Seeded};
use infer_kernels::{
    Activations, Bf16Rows, DType, DTypeVisitor, Element, Isa, Kernels, MATMUL_SCRATCH, MatMut, as_bytes, bf16, decode, f16,
    round_to_bf16,
};

use crate::{TINY, UNIT, assert_close, assert_intact, awkward};

/// Weights in any format, and the exact values that they stand for.
struct Weights {
    bytes: Guarded<u8>,
    values: Vec<f32>,
}

/// The formats of single floats.
fn floats() -> impl Iterator<Item = DType> {
    DType::ALL.iter().copied().filter(|dtype| dtype.block_len() == 1)
}

/// The formats of blocks.
fn blocks() -> impl Iterator<Item = DType> {
    DType::ALL.iter().copied().filter(|dtype| dtype.block_len() > 1)
}

/// Weights of (n, k): of floats `draw` gives each, of blocks every byte is drawn until what it means is of a size that weights may have.
fn draw_weights(dtype: DType, n: usize, k: usize, misalignment: usize, seeded: &mut Seeded, draw: Draw) -> Weights {
    if dtype.block_len() == 1 {
        return weights(dtype, (0..n * k).map(|_| draw(seeded)).collect(), misalignment);
    }
    let (mut all, mut values) = (Vec::new(), Vec::new());
    let mut block = vec![0; dtype.block_bytes()];
    let mut decoded = vec![0.0; dtype.block_len()];
    while values.len() < n * k {
        block.fill_with(|| seeded.bits() as u8);
        decode(dtype, &block, &mut decoded);
        if decoded.iter().all(|x| x.abs() < 1e9) {
            all.extend_from_slice(&block);
            values.extend_from_slice(&decoded);
        }
    }
    let mut all = all.into_iter();
    Weights { bytes: Guarded::new(all.len(), misalignment, 0xff, || all.next().unwrap()), values }
}

/// How a number is drawn.
type Draw = fn(&mut Seeded) -> f32;

/// Rounds `values` to a format of floats, misaligned by a number of elements.
fn weights(dtype: DType, values: Vec<f32>, misalignment: usize) -> Weights {
    fn store<E: Element + PartialEq>(values: &[f32], misalignment: usize, round: impl Fn(f32) -> E) -> Weights {
        let rounded: Vec<E> = values.iter().map(|&x| round(x)).collect();
        let mut bytes = as_bytes(&rounded).iter().copied();
        let len = size_of_val(&rounded[..]);
        let bytes = Guarded::new(len, misalignment * size_of::<E>(), 0xff, || bytes.next().unwrap());
        Weights { bytes, values: rounded.iter().map(|x| x.to_f32()).collect() }
    }
    match dtype.name() {
        "f32" => store(&values, misalignment, |x| x),
        "f16" => store(&values, misalignment, f16::from_f32),
        "bf16" => store(&values, misalignment, bf16::from_f32),
        other => panic!("no rounding to {other} in this test"),
    }
}

/// (m, n, k) of one product.
#[derive(Clone, Copy, Debug)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
}

/// The product, with scratch for nothing (for blocks, one row), for a little, and for all, with activations as they lie and by tiles: the same bits.
fn run(kernels: &Kernels, dtype: DType, w: &[u8], x: Activations<'_>, shape: Shape) -> Vec<f32> {
    let least = if dtype.block_len() == 1 { 0 } else { shape.k };
    let lens = [least, 9 * shape.k.next_multiple_of(32), MATMUL_SCRATCH];
    if let Activations::Bf16(x) = x {
        let (count, len) = kernels.bf16_tiles(shape.m, shape.k);
        let mut tiles = Guarded::new(count * len, 1, bf16::NAN, || bf16::NAN);
        for i in 0..count {
            kernels.pack_bf16_tile(x.rows, shape.k, i, &mut tiles.get_mut()[i * len..][..len]);
        }
        assert!(tiles.is_intact(|x| x.is_nan()), "packing tiles wrote outside of its output");
        let x = Bf16Rows { tiles: tiles.get(), ..x };
        return run_with(kernels, dtype, w, Activations::Bf16(x), shape, &lens);
    }
    let first = run_with(kernels, dtype, w, x, shape, &lens);
    let Activations::F32(rows) = x else { return first };
    let (count, len) = kernels.f32_tiles(shape.m, shape.k);
    let mut tiles = Guarded::new(count * len, 3, f32::NAN, || f32::NAN);
    for i in 0..count {
        kernels.pack_f32_tile(rows, shape.k, i, &mut tiles.get_mut()[i * len..][..len]);
    }
    assert_intact(&tiles, "packing tiles");
    if count > 0 {
        // Scratch for one panel of 16 rows and its decoded weights, and for several.
        let lens = [least, 40 * shape.k.next_multiple_of(32), MATMUL_SCRATCH];
        let got = run_with(kernels, dtype, w, Activations::F32Tiles(rows, tiles.get()), shape, &lens);
        assert_eq!(bits(&got), bits(&first), "{} {dtype} {shape:?} by tiles", kernels.isa());
    }
    first
}

/// The product with scratch of these lengths: the same bits.
fn run_with(kernels: &Kernels, dtype: DType, w: &[u8], x: Activations<'_>, shape: Shape, lens: &[usize]) -> Vec<f32> {
    let mut first: Option<Vec<f32>> = None;
    for &scratch_len in lens {
        let mut out = Guarded::new(shape.m * shape.n, 0, f32::NAN, || 0.0);
        let mut scratch = Guarded::new(scratch_len, 1, f32::NAN, || 0.0);
        kernels.matmul(dtype, w, x, shape.k, MatMut::new(out.get_mut(), shape.n), scratch.get_mut());
        assert_intact(&scratch, "matmul's scratch");
        assert_intact(&out, "matmul");
        let first = first.get_or_insert_with(|| out.get().to_vec());
        assert_eq!(bits(out.get()), bits(first), "{} {dtype} {shape:?} with scratch of {scratch_len}", kernels.isa());
    }
    first.unwrap_or_default()
}

/// One shape on every rung, for some formats and both activation types, against the oracle.
fn check(dtypes: impl Iterator<Item = DType>, shape: Shape, misalignment: usize, seeded: &mut Seeded) {
    let Shape { m, n, k } = shape;
    let oracle = Kernels::for_isa(Isa::Scalar).unwrap();
    for dtype in dtypes {
        let w = draw_weights(dtype, n, k, misalignment, seeded, Seeded::awkward);
        let x = awkward(m * k, misalignment, seeded);
        let mut rounded = vec![bf16::ZERO; m * k];
        round_to_bf16(x.get(), &mut rounded);
        let exact: Vec<f32> = rounded.iter().map(|x| x.to_f32()).collect();
        for (x, values) in
            [(Activations::F32(x.get()), x.get()), (Activations::Bf16(Bf16Rows { rows: &rounded, tiles: &[] }), &exact[..])]
        {
            let want = run(&oracle, dtype, w.bytes.get(), Activations::F32(values), shape);
            for kernels in Kernels::available().filter(|kernels| can_run(kernels, dtype, x)) {
                let got = run(&kernels, dtype, w.bytes.get(), x, shape);
                for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
                    let (t, r) = (i / n, i % n);
                    let pairs = w.values[r * k..][..k].iter().zip(&values[t * k..][..k]);
                    let bound = bound(&kernels, dtype, x, pairs);
                    let what = || format!("{} {dtype} {shape:?} misaligned {misalignment}, row {t} column {r}", kernels.isa());
                    assert_close(got, want, bound, &what);
                }
            }
        }
    }
}

/// Whether an ISA has a product of this format with activations of this type.
fn can_run(kernels: &Kernels, dtype: DType, x: Activations<'_>) -> bool {
    matches!(x, Activations::F32(_)) || kernels.has_bf16_dot(dtype)
}

/// What the sum of k products may be off by, in whatever order it is taken: each of at most 2k roundings by UNIT of Σ|w·x| (Higham,
/// "Accuracy and Stability of Numerical Algorithms", equation 3.5), or by half the smallest step. The bf16 instruction takes
/// subnormal inputs and results for zero.
fn bound<'a>(kernels: &Kernels, dtype: DType, x: Activations<'_>, pairs: impl Iterator<Item = (&'a f32, &'a f32)>) -> f64 {
    let flushes = matches!(x, Activations::Bf16(_)) && kernels.has_bf16_dot(dtype);
    let smallest = f64::from(f32::MIN_POSITIVE);
    let (mut sum, mut lost, mut k) = (0.0, 0.0, 0.0);
    for (&w, &x) in pairs {
        let (w, x) = (f64::from(w).abs(), f64::from(x).abs());
        sum += w * x;
        lost += if flushes { smallest * (2.0 + w + x) } else { TINY };
        k += 1.0;
    }
    2.0 * (k + 2.0) * UNIT * sum + 2.0 * lost + TINY
}

#[test]
fn every_length_and_misalignment() {
    let mut seeded = Seeded(1);
    // A step of the widest kernel is 32 elements. Up to 8 rows are few, more are many.
    for k in 1..=130 {
        let (m, n) = (1 + k % 11, 1 + k % 7);
        check(floats(), Shape { m, n, k }, k % 5, &mut seeded);
    }
}

#[test]
fn every_tile_and_remainder() {
    let mut seeded = Seeded(2);
    for m in (1..=9).chain([12, 17, 20]) {
        for n in (1..=8).chain([16, 23, 32, 33, 70]) {
            check(floats(), Shape { m, n, k: 37 }, 1, &mut seeded);
        }
    }
}

#[test]
fn more_than_a_panel() {
    // Panels are 192 weight rows.
    for (k, n) in [(64, 192), (70, 401), (2500, 197)] {
        check(floats(), Shape { m: 13, n, k }, 1, &mut Seeded(3));
    }
}

/// Rows from which on activations lie by tiles, whose heights differ by one, with all lengths of a last step and numbers of rows in a last panel.
#[test]
fn many_rows_by_tiles() {
    let mut seeded = Seeded(7);
    for k in 1..=41 {
        let (m, n) = (12 + (3 * k) % 31, 1 + (5 * k) % 37);
        check(floats(), Shape { m, n, k }, k % 5, &mut seeded);
    }
    for dtype in blocks() {
        let shape = Shape { m: 31, n: 19, k: dtype.block_len() };
        check([dtype].into_iter(), shape, 1, &mut seeded);
    }
    check(floats(), Shape { m: 14, n: 401, k: 70 }, 1, &mut seeded);
}

#[test]
fn blocks_of_every_format() {
    let mut seeded = Seeded(5);
    for dtype in blocks() {
        for (i, m) in [1, 2, 7, 8, 13].into_iter().enumerate() {
            for n_blocks in [1, 2, 5] {
                let shape = Shape { m, n: 1 + (7 * i + 3 * n_blocks) % 37, k: n_blocks * dtype.block_len() };
                check([dtype].into_iter(), shape, i % 3, &mut seeded);
            }
        }
    }
}

/// A row of blocks that the scratch does not hold cannot be decoded anywhere: the entry says so.
#[test]
fn blocks_need_scratch_for_a_row() {
    for dtype in blocks() {
        let k = 2 * dtype.block_len();
        let bytes = vec![0; dtype.row_bytes(k).unwrap()];
        let multiply = |len: usize| {
            let (x, mut out, mut scratch) = (vec![0.0; k], [0.0], vec![0.0; len]);
            let kernels = Kernels::for_isa(Isa::Portable).unwrap();
            kernels.matmul(dtype, &bytes, Activations::F32(&x), k, MatMut::new(&mut out, 1), &mut scratch);
        };
        multiply(k);
        assert!(std::panic::catch_unwind(|| multiply(k - 1)).is_err(), "{dtype}");
    }
}

#[test]
fn infinity_and_nan_come_through() {
    let oracle = Kernels::for_isa(Isa::Scalar).unwrap();
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        for at in [0, 15, 16, 40] {
            let mut x = vec![1.0f32; 41];
            x[at] = bad;
            let w = weights(DType::F32, vec![0.5; 82], 0);
            let shape = Shape { m: 1, n: 2, k: 41 };
            let want = run(&oracle, DType::F32, w.bytes.get(), Activations::F32(&x), shape);
            for kernels in Kernels::available() {
                let got = run(&kernels, DType::F32, w.bytes.get(), Activations::F32(&x), shape);
                for (got, want) in got.iter().zip(&want) {
                    assert!(got == want || (got.is_nan() && want.is_nan()), "{}: {got} and not {want}", kernels.isa());
                }
            }
        }
    }
}

/// Rows of activations, in both forms.
struct Both {
    k: usize,
    exact: Vec<f32>,
    rounded: Vec<bf16>,
}

impl Both {
    fn draw(m: usize, k: usize, seeded: &mut Seeded) -> Both {
        let exact: Vec<f32> = (0..m * k).map(|_| seeded.uniform()).collect();
        let mut rounded = vec![bf16::ZERO; exact.len()];
        round_to_bf16(&exact, &mut rounded);
        Both { k, exact, rounded }
    }

    fn rows(&self, rows: Range<usize>, is_bf16: bool) -> Activations<'_> {
        let at = rows.start * self.k..rows.end * self.k;
        if is_bf16 {
            Activations::Bf16(Bf16Rows { rows: &self.rounded[at], tiles: &[] })
        } else {
            Activations::F32(&self.exact[at])
        }
    }
}

/// Tiles of all heights, one and several in a pass, few rows and more than few: a row's outputs are those of the row alone.
#[test]
fn any_number_of_rows_has_the_bits_of_one() {
    let (n, k, most) = (70, 100, 70);
    let mut seeded = Seeded(6);
    for dtype in floats() {
        let w = draw_weights(dtype, n, k, 1, &mut seeded, Seeded::uniform);
        let x = Both::draw(most, k, &mut seeded);
        for kernels in Kernels::available() {
            for is_bf16 in [false, true] {
                let rows = |from: usize, to: usize| x.rows(from..to, is_bf16);
                if !can_run(&kernels, dtype, rows(0, 1)) {
                    continue;
                }
                let each = |t| run(&kernels, dtype, w.bytes.get(), rows(t, t + 1), Shape { m: 1, n, k });
                let alone: Vec<f32> = (0..most).flat_map(each).collect();
                for m in 2..=most {
                    let got = run(&kernels, dtype, w.bytes.get(), rows(0, m), Shape { m, n, k });
                    assert_eq!(bits(&got), bits(&alone[..m * n]), "{} {dtype}, {m} rows, bf16 {is_bf16}", kernels.isa());
                }
            }
        }
    }
}

/// The contract: an output has the same bits alone, among other rows, and in a part of the columns.
#[test]
fn one_row_has_the_bits_of_many() {
    let mut seeded = Seeded(4);
    for k in [1usize, 7, 33, 64, 100, 576, 2100] {
        for &dtype in DType::ALL {
            // Whole blocks; of the long ones, once.
            if k < 100 && dtype.block_len() > 32 {
                continue;
            }
            let k = k.next_multiple_of(dtype.block_len());
            let shape = Shape { m: 13, n: 41, k };
            let w = draw_weights(dtype, shape.n, k, 1, &mut seeded, Seeded::uniform);
            let x = Both::draw(shape.m, k, &mut seeded);
            let row_bytes = dtype.row_bytes(k).unwrap();
            for kernels in Kernels::available() {
                for is_bf16 in [false, true] {
                    let rows = |from: usize, to: usize| x.rows(from..to, is_bf16);
                    if !can_run(&kernels, dtype, rows(0, 1)) {
                        continue;
                    }
                    let whole = run(&kernels, dtype, w.bytes.get(), rows(0, shape.m), shape);
                    for t in 0..shape.m {
                        let one = run(&kernels, dtype, w.bytes.get(), rows(t, t + 1), Shape { m: 1, ..shape });
                        assert_eq!(bits(&one), bits(&whole[t * shape.n..][..shape.n]), "{} {dtype} k {k} row {t}", kernels.isa());
                    }
                    for (from, to) in [(0, 5), (5, 41), (3, 4), (7, 40)] {
                        let part = &w.bytes.get()[from * row_bytes..to * row_bytes];
                        let columns = run(&kernels, dtype, part, rows(0, shape.m), Shape { n: to - from, ..shape });
                        for t in 0..shape.m {
                            let want = &whole[t * shape.n + from..t * shape.n + to];
                            assert_eq!(
                                bits(&columns[t * (to - from)..][..to - from]),
                                bits(want),
                                "{} {dtype} k {k}",
                                kernels.isa()
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Rows so many and so long that their products are taken by blocks of k.
#[test]
fn long_sums_of_many_rows_have_the_bits_of_one() {
    let mut seeded = Seeded(8);
    for (m, n, k) in [(40, 37, 2100), (49, 70, 1024), (70, 33, 3000)] {
        for dtype in floats() {
            let w = draw_weights(dtype, n, k, 1, &mut seeded, Seeded::uniform);
            let x = Both::draw(m, k, &mut seeded);
            for kernels in Kernels::available() {
                for is_bf16 in [false, true] {
                    let rows = |from: usize, to: usize| x.rows(from..to, is_bf16);
                    if !can_run(&kernels, dtype, rows(0, 1)) {
                        continue;
                    }
                    let whole = run(&kernels, dtype, w.bytes.get(), rows(0, m), Shape { m, n, k });
                    for t in [0, 16, m - 1] {
                        let one = run(&kernels, dtype, w.bytes.get(), rows(t, t + 1), Shape { m: 1, n, k });
                        assert_eq!(bits(&one), bits(&whole[t * n..][..n]), "{} {dtype} ({m}, {n}, {k}) row {t}", kernels.isa());
                    }
                }
            }
        }
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// A format that this file cannot round to would go untested: the registry and the test must know the same ones.
#[test]
fn every_format_is_tested() {
    struct Name;
    impl DTypeVisitor for Name {
        type Output = DType;
        fn visit<B: infer_kernels::Block>(self) -> DType {
            B::DTYPE
        }
    }
    for &dtype in DType::ALL {
        assert_eq!(dtype.visit(Name), dtype);
        if dtype.block_len() == 1 {
            assert_eq!(weights(dtype, vec![1.5; 8], 0).values, [1.5; 8], "{dtype}");
        }
    }
}
