//! Kernels on rows: root mean square norm, rotary embedding, SwiGLU, addition.

use infer_kernels::testing::Seeded;
use infer_kernels::{Isa, Kernels};

use crate::{TINY, UNIT, assert_close, assert_intact, awkward};

/// Every length up to two of the widest vectors and one more, and some larger ones.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=33).chain([64, 100, 576])
}

#[test]
fn rmsnorm() {
    let (oracle, mut seeded) = (Kernels::for_isa(Isa::Scalar).unwrap(), Seeded(1));
    for n in lengths() {
        for misalignment in [0, 1, 3] {
            let (x, w) = (awkward(n, misalignment, &mut seeded), awkward(n, misalignment, &mut seeded));
            let mut want = x.clone();
            oracle.rmsnorm(want.get_mut(), w.get(), 1e-6);
            for kernels in Kernels::available() {
                let mut got = x.clone();
                kernels.rmsnorm(got.get_mut(), w.get(), 1e-6);
                assert_intact(&got, "rmsnorm");
                for (i, (&got, &want)) in got.get().iter().zip(want.get()).enumerate() {
                    // n squares summed, halved in their effect by the root; then a quotient, a root and two products.
                    let bound =
                        (n as f64 + 8.0) * UNIT * f64::from(want).abs() + 2.0 * TINY * (1.0 + f64::from(w.get()[i]).abs());
                    assert_close(got, want, bound, &|| format!("{} rmsnorm of {n}, element {i}", kernels.isa()));
                }
            }
        }
    }
}

#[test]
fn rope() {
    let (oracle, mut seeded) = (Kernels::for_isa(Isa::Scalar).unwrap(), Seeded(2));
    for h in lengths() {
        let angles: Vec<f32> = (0..h).map(|_| seeded.uniform() * 10.0).collect();
        let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
        let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
        let x = awkward(2 * h, h % 4, &mut seeded);
        let mut want = x.clone();
        oracle.rope(want.get_mut(), &cos, &sin);
        for kernels in Kernels::available() {
            let mut got = x.clone();
            kernels.rope(got.get_mut(), &cos, &sin);
            assert_intact(&got, "rope");
            for (i, (&g, &w)) in got.get().iter().zip(want.get()).enumerate() {
                let (a, b) = (f64::from(x.get()[i % h]).abs(), f64::from(x.get()[i % h + h]).abs());
                assert_close(g, w, 3.0 * UNIT * (a + b) + 2.0 * TINY, &|| format!("{} rope of {h}, element {i}", kernels.isa()));
            }
        }
    }
}

#[test]
fn add() {
    let (oracle, mut seeded) = (Kernels::for_isa(Isa::Scalar).unwrap(), Seeded(3));
    for n in lengths() {
        let (x, y) = (awkward(n, n % 3, &mut seeded), awkward(n, n % 5, &mut seeded));
        let mut want = x.clone();
        oracle.add(want.get_mut(), y.get());
        for kernels in Kernels::available() {
            let mut got = x.clone();
            kernels.add(got.get_mut(), y.get());
            assert_intact(&got, "add");
            assert_eq!(got.get(), want.get(), "{} add of {n}", kernels.isa());
        }
    }
}

/// SiLU over its whole range, and so the exponential in it: relative error of e^x at most 3 roundings, then a sum and a quotient.
#[test]
fn swiglu() {
    let oracle = Kernels::for_isa(Isa::Scalar).unwrap();
    let gate: Vec<f32> = (-100_000..=100_000).map(|i| i as f32 * 1e-3).chain([0.0, -0.0, 1e-30, -1e-30, 1e30]).collect();
    let up: Vec<f32> = (0..gate.len()).map(|i| 1.0 + (i % 3) as f32).collect();
    let mut want = gate.clone();
    oracle.swiglu(&mut want, &up);
    let mut worst = 0.0f64;
    for kernels in Kernels::available() {
        let mut got = gate.clone();
        kernels.swiglu(&mut got, &up);
        for i in 0..gate.len() {
            // Below -88 the exponential is clamped; the true value is below 1e-35 there.
            let bound = 7.0 * UNIT * f64::from(want[i]).abs() + 1e-35;
            assert_close(got[i], want[i], bound, &|| format!("{} silu({}) · {}", kernels.isa(), gate[i], up[i]));
            if want[i].abs() > 1e-30 && kernels.isa() != Isa::Scalar {
                worst = worst.max((f64::from(got[i]) / f64::from(want[i]) - 1.0).abs() / UNIT);
            }
        }
    }
    assert!(worst > 0.5, "no kernel rounds: is the oracle tested against itself?");
}

#[test]
fn swiglu_of_every_length() {
    let (oracle, mut seeded) = (Kernels::for_isa(Isa::Scalar).unwrap(), Seeded(4));
    for n in lengths() {
        let (gate, up) = (awkward(n, n % 4, &mut seeded), awkward(n, n % 3, &mut seeded));
        let mut want = gate.clone();
        oracle.swiglu(want.get_mut(), up.get());
        for kernels in Kernels::available() {
            let mut got = gate.clone();
            kernels.swiglu(got.get_mut(), up.get());
            assert_intact(&got, "swiglu");
            for (i, (&got, &want)) in got.get().iter().zip(want.get()).enumerate() {
                let bound = 7.0 * UNIT * f64::from(want).abs() + 1e-31;
                assert_close(got, want, bound, &|| format!("{} swiglu of {n}, element {i}", kernels.isa()));
            }
        }
    }
}

#[test]
fn nan_stays_nan() {
    for kernels in Kernels::available() {
        for n in [1, 8, 16, 19] {
            let mut gate = vec![1.0; n];
            gate[n - 1] = f32::NAN;
            kernels.swiglu(&mut gate, &vec![1.0; n]);
            assert!(gate[n - 1].is_nan() && gate[..n - 1].iter().all(|x| x.is_finite()), "{} swiglu of {n}", kernels.isa());
            let mut x = vec![1.0; n];
            x[0] = f32::NAN;
            kernels.rmsnorm(&mut x, &vec![1.0; n], 1e-6);
            assert!(x.iter().all(|x| x.is_nan()), "{} rmsnorm of {n}", kernels.isa());
        }
    }
}
