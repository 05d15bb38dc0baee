//! Each kernel by instruction set and storage format: GB/s of weights for one row, multiply-adds per second for many.
//!
//! Every measurement first checks its answer against the scalar oracle. One thread; whole models are measured by the program itself. Run
//! with `cargo bench -p infer-kernels`.

#![allow(missing_docs, reason = "criterion's macros make a function without them")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use infer_kernels::testing::{Guarded, Seeded};
use infer_kernels::{
    Activations, Attention, Bf16Rows, Chunk, DType, Isa, KV_PAGE_LEN, Kernels, KvDType, KvLayout, MATMUL_SCRATCH, MatMut, Rows,
    Sums, as_bytes, bf16, f16, round_to_bf16,
};

/// Rungs worth timing: all but the oracle.
fn rungs() -> impl Iterator<Item = Kernels> {
    Isa::ALL.iter().filter(|&&isa| isa != Isa::Scalar).filter_map(|&isa| Kernels::for_isa(isa))
}

/// Random weights of a format, as a file holds them.
fn weights(dtype: DType, len: usize, seeded: &mut Seeded) -> Vec<u8> {
    let values = (0..len).map(|_| seeded.uniform());
    match dtype.name() {
        "f32" => as_bytes(&values.collect::<Vec<f32>>()).to_vec(),
        "f16" => as_bytes(&values.map(f16::from_f32).collect::<Vec<_>>()).to_vec(),
        "bf16" => as_bytes(&values.map(bf16::from_f32).collect::<Vec<_>>()).to_vec(),
        other => panic!("no rounding to {other} in this bench"),
    }
}

/// Bytes as they lie in a map: aligned for every format.
struct Aligned(Vec<f32>);

impl Aligned {
    fn new(bytes: &[u8]) -> Aligned {
        Aligned(bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    fn bytes(&self) -> &[u8] {
        as_bytes(&self.0)
    }
}

/// Panics unless two results agree to the rounding of sums of k terms.
fn assert_agree(got: &[f32], want: &[f32], k: usize, what: &str) {
    let bound = k as f32 * f32::EPSILON * k as f32;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= bound, "{what}: output {i} is {got} and not {want}");
    }
}

/// The matrix product at the sizes of a small model's feed-forward block, one row and a tile's worth of rows.
fn matmul(c: &mut Criterion) {
    let (n, k) = (2048, 2048);
    let mut seeded = Seeded(1);
    let oracle = Kernels::for_isa(Isa::Scalar).expect("always there");
    let mut scratch = vec![0.0; MATMUL_SCRATCH];
    for m in [1, 64] {
        let mut group = c.benchmark_group(if m == 1 { "gemv" } else { "gemm" });
        let x: Vec<f32> = (0..m * k).map(|_| seeded.uniform()).collect();
        let mut rounded = vec![bf16::ZERO; x.len()];
        round_to_bf16(&x, &mut rounded);
        for &dtype in DType::ALL {
            let w = Aligned::new(&weights(dtype, n * k, &mut seeded));
            let mut want = vec![0.0; n];
            oracle.matmul(dtype, w.bytes(), Activations::F32(&x[..k]), k, MatMut::new(&mut want, n), &mut []);
            let mut want_rounded = vec![0.0; n];
            let widened: Vec<f32> = rounded[..k].iter().map(|x| x.to_f32()).collect();
            oracle.matmul(dtype, w.bytes(), Activations::F32(&widened), k, MatMut::new(&mut want_rounded, n), &mut []);
            for kernels in rungs() {
                let (count, len) = kernels.bf16_tiles(m, k);
                let mut tiles = vec![bf16::ZERO; count * len];
                for (i, to) in tiles.chunks_mut(len.max(1)).enumerate() {
                    kernels.pack_bf16_tile(&rounded, k, i, to);
                }
                let rounded = Activations::Bf16(Bf16Rows { rows: &rounded, tiles: &tiles });
                for (name, x, want) in [("f32", Activations::F32(&x), &want), ("bf16", rounded, &want_rounded)] {
                    if matches!(x, Activations::Bf16(_)) && !kernels.has_bf16_dot(dtype) {
                        continue;
                    }
                    let mut out = vec![0.0; m * n];
                    kernels.matmul(dtype, w.bytes(), x, k, MatMut::new(&mut out, n), &mut scratch);
                    assert_agree(&out[..n], want, k, &format!("{} {dtype} {name}", kernels.isa()));
                    // One row is limited by bytes, many by multiply-adds.
                    group.throughput(if m == 1 {
                        Throughput::Bytes(w.bytes().len() as u64)
                    } else {
                        Throughput::Elements((m * n * k) as u64)
                    });
                    group.bench_function(BenchmarkId::new(format!("{}/{dtype}_{name}", kernels.isa()), m), |b| {
                        b.iter(|| kernels.matmul(dtype, black_box(w.bytes()), x, k, MatMut::new(&mut out, n), &mut scratch));
                    });
                }
            }
        }
    }
}

/// One chunk of attention: 4 query heads of one KV head, for one position and for sixteen, by type of keys and values.
fn attention(c: &mut Criterion) {
    let (d, group) = (64, 4);
    let mut seeded = Seeded(2);
    let mut numbers = |len: usize| (0..len).map(|_| seeded.uniform()).collect::<Vec<f32>>();
    let oracle = Kernels::for_isa(Isa::Scalar).expect("always there");
    let mut criterion_group = c.benchmark_group("attention");
    for &dtype in KvDType::ALL {
        let layout = KvLayout::new(dtype, d);
        let mut page = Guarded::new(layout.bytes(), 0, 0xff, || 0u8);
        (0..KV_PAGE_LEN).for_each(|position| layout.write(page.get_mut(), position, &numbers(d), &numbers(d)));
        let chunk = Chunk { start: 0, page: page.get(), next: &[] };
        for tokens in [1, 16] {
            let n_rows = tokens * group;
            let rows = Rows { position: KV_PAGE_LEN, group, window: usize::MAX };
            let q = numbers(n_rows * d);
            let run = |attention: &Attention, scores: &mut [f32], sums: &mut [f32]| {
                let mut packed = q.clone();
                attention.pack(&mut packed);
                attention.attend(&chunk, rows, &packed, scores, &mut Sums::new(sums, layout.width(), n_rows));
            };
            let mut scores = vec![0.0; Attention::scores_len(n_rows)];
            let len = Sums::len(layout.width(), n_rows);
            let (mut want, mut out) = (vec![0.0; len], vec![0.0; len]);
            run(&oracle.attention(layout, false), &mut scores, &mut want);
            criterion_group.throughput(Throughput::Elements((2 * n_rows * KV_PAGE_LEN * d) as u64));
            for (kernels, rounds) in rungs().flat_map(|kernels| [(kernels, false), (kernels, true)]) {
                let attention = kernels.attention(layout, rounds);
                if attention.is_bf16() != rounds {
                    continue;
                }
                run(&attention, &mut scores, &mut out);
                // Sums of up to 256 weights; queries and weights in bf16 are off by 2⁻⁹ each.
                let bound = if rounds { 2.0 } else { 0.01 };
                let off = out.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off <= bound, "{} {dtype}: off by {off}", kernels.isa());
                let name = format!("{}/{dtype}_{}", kernels.isa(), if rounds { "bf16" } else { "f32" });
                criterion_group.bench_function(BenchmarkId::new(name, tokens), |b| {
                    b.iter(|| run(&attention, &mut scores, black_box(&mut out)));
                });
            }
        }
    }
}

/// Operations on one row of a model 2048 wide.
fn rows(c: &mut Criterion) {
    let n = 2048;
    let mut seeded = Seeded(3);
    let mut numbers = || (0..n).map(|_| seeded.uniform()).collect::<Vec<f32>>();
    let (x, y) = (numbers(), numbers());
    let oracle = Kernels::for_isa(Isa::Scalar).expect("always there");
    let mut group = c.benchmark_group("rows");
    group.throughput(Throughput::Elements(n as u64));
    type Operation<'a> = (&'a str, &'a dyn Fn(&Kernels, &mut [f32]));
    let (cos, sin) = (&y[..n / 2], &y[n / 2..]);
    let operations: [Operation<'_>; 3] = [
        ("rmsnorm", &|kernels, out| kernels.rmsnorm(out, &y, 1e-5)),
        ("swiglu", &|kernels, out| kernels.swiglu(out, &y)),
        ("rope", &|kernels, out| kernels.rope(out, cos, sin)),
    ];
    for (name, run) in operations {
        let mut want = x.clone();
        run(&oracle, &mut want);
        for kernels in rungs() {
            let mut out = x.clone();
            run(&kernels, &mut out);
            assert_agree(&out, &want, 64, &format!("{} {name}", kernels.isa()));
            group.bench_function(BenchmarkId::new(name, kernels.isa()), |b| {
                b.iter(|| {
                    out.copy_from_slice(&x);
                    run(&kernels, black_box(&mut out));
                });
            });
        }
    }
}

criterion_group!(benches, matmul, attention, rows);
criterion_main!(benches);
