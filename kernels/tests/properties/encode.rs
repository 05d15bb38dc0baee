//! Encoding to storage formats: never worse than rounding with the scales that a block's range gives, and exact where a block can be.
//!
//! Not here: how much better, which is measured on models (`benches/QUALITY.md`).

use infer_kernels::testing::Seeded;
use infer_kernels::{DType, Kernels, bf16, decode, f16};

/// The weights of whole blocks as they come back, or how many were encoded before one that could not be.
fn round_trip(dtype: DType, x: &[f32]) -> Result<Vec<f32>, usize> {
    let mut bytes = vec![0xa5; dtype.row_bytes(x.len()).unwrap()];
    match Kernels::detect().encode(dtype, x, &mut bytes) {
        n if n == x.len() => {
            let mut decoded = vec![f32::NAN; n];
            decode(dtype, &bytes, &mut decoded);
            Ok(decoded)
        }
        n => Err(n),
    }
}

fn writable() -> impl Iterator<Item = DType> {
    DType::ALL.iter().copied().filter(|dtype| dtype.can_encode())
}

fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

fn half(x: f64) -> f64 {
    f16::from_f64(x).to_f64()
}

/// A code: nearest to the weight over its scale.
fn code(x: f64, d: f64, low: f64, high: f64) -> f64 {
    if d == 0.0 { 0.0 } else { (x / d).round().clamp(low, high) }
}

/// What simple rules make of a block: the scale from the weight of the largest magnitude, or scale and minimum from the range; scales of
/// groups as multiples of the largest.
fn simply(dtype: DType, x: &[f32]) -> Vec<f64> {
    let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
    let extreme = |x: &[f64]| x.iter().copied().fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
    let symmetric = |low: f64, high: f64| {
        let d = half(extreme(&x) / low);
        x.iter().map(|&x| d * code(x, d, low, high)).collect()
    };
    let shifted = |top: f64| {
        let low = |x: &[f64]| x.iter().copied().fold(0.0, f64::min);
        let scale = |x: &[f64]| (x.iter().copied().fold(f64::MIN, f64::max) - low(x)) / top;
        let d = half(x.chunks(32).map(scale).fold(0.0, f64::max) / 63.0);
        let dmin = half(x.chunks(32).map(|x| -low(x)).fold(0.0, f64::max) / 63.0);
        let group = |x: &[f64]| -> Vec<f64> {
            let (d, m) = (d * code(scale(x), d, 0.0, 63.0), dmin * code(-low(x), dmin, 0.0, 63.0));
            x.iter().map(|&x| d * code(x + m, d, 0.0, top) - m).collect()
        };
        x.chunks(32).flat_map(group).collect()
    };
    match dtype.name() {
        "f32" => x,
        "f16" => x.iter().map(|&x| half(x)).collect(),
        "bf16" => x.iter().map(|&x| bf16::from_f64(x).to_f64()).collect(),
        "q8_0" => symmetric(-127.0, 127.0),
        "q4_0" => symmetric(-8.0, 7.0),
        "q5_0" => symmetric(-16.0, 15.0),
        "q5_1" => {
            let (low, high) = (x.iter().copied().fold(f64::MAX, f64::min), x.iter().copied().fold(f64::MIN, f64::max));
            let (d, m) = (half((high - low) / 31.0), half(low));
            x.iter().map(|&x| d * code(x - m, d, 0.0, 31.0) + m).collect()
        }
        "q4_k" => shifted(15.0),
        "q5_k" => shifted(31.0),
        "q6_k" => {
            let d = half(extreme(&x.chunks(16).map(|x| extreme(x) / -32.0).collect::<Vec<f64>>()) / -128.0);
            let group = |x: &[f64]| -> Vec<f64> {
                let d = d * code(extreme(x) / -32.0, d, -128.0, 127.0);
                x.iter().map(|&x| d * code(x, d, -32.0, 31.0)).collect()
            };
            x.chunks(16).flat_map(group).collect()
        }
        other => panic!("no simple rule for {other} in this test"),
    }
}

/// Ways that weights may be distributed.
const DRAWS: [fn(&mut Seeded) -> f32; 8] = [
    |seeded| (0..12).map(|_| seeded.uniform()).sum::<f32>() * 0.01,
    |seeded| seeded.uniform(),
    |seeded| seeded.awkward(),
    // Now and then one that is far from the others.
    |seeded| if seeded.below(40) == 0 { 5.0 * seeded.uniform() } else { 0.02 * seeded.uniform() },
    |seeded| seeded.uniform() + 3.0,
    |seeded| seeded.uniform() - 1.5,
    |seeded| [0.0, 1.0, -1.0][seeded.below(3)],
    // Where f16 has few digits left.
    |seeded| seeded.uniform() * 1e-5,
];

/// Files must not depend on the machine that made them.
#[test]
fn every_rung_makes_the_same_blocks() {
    let mut seeded = Seeded(11);
    for dtype in writable() {
        for draw in DRAWS {
            let x: Vec<f32> = (0..8 * dtype.block_len()).map(|_| draw(&mut seeded)).collect();
            let made = Kernels::available().map(|kernels| {
                let mut bytes = vec![0x5a; dtype.row_bytes(x.len()).unwrap()];
                assert_eq!(kernels.encode(dtype, &x, &mut bytes), x.len());
                (kernels.isa(), bytes)
            });
            let made: Vec<_> = made.collect();
            for (isa, bytes) in &made {
                assert!(*bytes == made[0].1, "{dtype}: {isa} and {}", made[0].0);
            }
        }
    }
}

/// How much the search lets a weight's error count.
fn importance(dtype: DType, x: &[f32], at: usize) -> f64 {
    let group = x[at / 32 * 32..].iter().take(32).map(|&x| f64::from(x));
    let rms = (group.map(|x| x * x).sum::<f64>() / 32.0).sqrt();
    if dtype.name() == "q4_k" { rms + f64::from(x[at]).abs() } else { 1.0 }
}

#[test]
fn no_block_is_worse_than_the_simple_rule_makes_it() {
    let mut seeded = Seeded(7);
    for dtype in writable() {
        for (which, draw) in DRAWS.iter().enumerate() {
            for _ in 0..60 {
                let x: Vec<f32> = (0..dtype.block_len()).map(|_| draw(&mut seeded)).collect();
                let simple = simply(dtype, &x);
                let made = round_trip(dtype, &x).unwrap();
                let error = |at: usize, to: f64| importance(dtype, &x, at) * (to - f64::from(x[at])).powi(2);
                let ours: f64 = made.iter().enumerate().map(|(at, &to)| error(at, f64::from(to))).sum();
                let theirs: f64 = simple.iter().enumerate().map(|(at, &to)| error(at, to)).sum();
                // Errors are compared in f32, each a sum of rounded squares; and a super-block's scales, which are searched together, have more
                // than one place from which no step leads down.
                let slack = if dtype.block_len() == 256 { 3e-2 } else { 1e-5 };
                let slack = slack * theirs + 1e-12 * (0..x.len()).map(|at| error(at, 0.0)).sum::<f64>();
                assert!(ours <= theirs + slack, "{dtype}, draw {which}: {ours:e} and not {theirs:e}: {x:?}");
            }
        }
    }
}

#[test]
fn the_search_pays_on_weights_as_they_are() {
    let mut seeded = Seeded(9);
    for (name, at_most) in [("q4_0", 0.95), ("q5_0", 0.97), ("q5_1", 0.97), ("q4_k", 0.90), ("q5_k", 0.93), ("q6_k", 0.93)] {
        let dtype = writable().find(|dtype| dtype.name() == name).unwrap();
        let (mut ours, mut theirs) = (0.0, 0.0);
        for _ in 0..200 {
            let x: Vec<f32> = (0..dtype.block_len()).map(|_| DRAWS[0](&mut seeded)).collect();
            ours += squared_error(&round_trip(dtype, &x).unwrap(), &x);
            theirs += simply(dtype, &x).iter().zip(&x).map(|(a, &b)| (a - f64::from(b)).powi(2)).sum::<f64>();
        }
        assert!(ours < at_most * theirs, "{dtype}: {:.3} of the simple rule's error", ours / theirs);
    }
}

/// Every code, and every place that it is packed into.
#[test]
fn blocks_that_are_exact_stay_exact() {
    let mut seeded = Seeded(3);
    for (name, low, high) in [("q8_0", -127, 127), ("q4_0", -8, 7), ("q5_0", -16, 15), ("q5_1", 0, 31)] {
        let dtype = writable().find(|dtype| dtype.name() == name).unwrap();
        for _ in 0..200 {
            let d = 2f32.powi(seeded.below(12) as i32 - 10);
            let mut x: Vec<f32> = (0..32).map(|_| d * (low + seeded.below((high - low + 1) as usize) as i32) as f32).collect();
            let (a, b) = (seeded.below(32), seeded.below(32));
            (x[a], x[b]) = (d * high as f32, d * low as f32);
            if a != b {
                assert_eq!(round_trip(dtype, &x).unwrap(), x, "{dtype}");
            }
        }
    }
    // Of the K formats, groups that use the whole range with the same scale.
    for (name, group, low, high) in [("q4_k", 32, 0, 15), ("q5_k", 32, 0, 31), ("q6_k", 16, -32, 31)] {
        let dtype = writable().find(|dtype| dtype.name() == name).unwrap();
        let mut x: Vec<f32> = (0..256).map(|_| (low + seeded.below((high - low + 1) as usize) as i32) as f32).collect();
        x.chunks_mut(group).for_each(|x| (x[0], x[1]) = (low as f32, high as f32));
        let back = round_trip(dtype, &x).unwrap();
        let worst = back.iter().zip(&x).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // The scale of the scales is rounded to f16, the scales are not.
        assert!(worst <= high.max(-low) as f32 / 1024.0, "{dtype}: {worst}");
    }
}

#[test]
fn zeros_stay_zeros_and_equal_weights_nearly_equal() {
    for dtype in writable() {
        let n = 2 * dtype.block_len();
        assert_eq!(round_trip(dtype, &vec![0.0; n]).unwrap(), vec![0.0; n], "{dtype}");
        for x in [1.0_f32, -1.0, 0.037, -123.0, 1e-3] {
            let back = round_trip(dtype, &vec![x; n]).unwrap();
            assert!(back.iter().all(|back| (back - x).abs() <= 0.01 * x.abs()), "{dtype}: {x} became {:?}", &back[..4]);
        }
    }
}

#[test]
fn what_no_block_can_hold_is_refused_where_it_is() {
    for dtype in writable() {
        let n = dtype.block_len();
        for at in [0, n / 2, n - 1] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = vec![0.5; 3 * n];
                x[n + at] = bad;
                assert_eq!(round_trip(dtype, &x), Err(n), "{dtype}: {bad} at {at}");
            }
        }
        // The largest numbers have no scale in f16; formats of floats hold what they hold.
        let large = round_trip(dtype, &vec![3e38; n]);
        assert_eq!(large.is_ok(), matches!(dtype.name(), "f32" | "bf16"), "{dtype}");
        let back = round_trip(dtype, &vec![6e4; n]).unwrap();
        assert!(back.iter().all(|x| (x - 6e4).abs() <= 600.0), "{dtype}: {:?}", &back[..1]);
    }
    assert_eq!(round_trip(DType::F16, &[65504.0, 65519.0, 65520.0]), Err(2));
    assert_eq!(round_trip(DType::BF16, &[f32::MAX]), Err(0));
}
