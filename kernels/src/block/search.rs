//! The search for a block's scales: those that leave the least squared error, with what 16-bit and integer scales make of them.
//!
//! The candidates are those of llama.cpp's quantiser (scales about the one that maps the largest weight to the end of the codes, each
//! followed by the best scale for the codes that it gave), with three things more: the largest weight may go to either end, a scale is judged
//! as it will be stored, and the scales of a super-block are fitted together. In Q4_K a weight counts the more the larger it is, as there
//! (`kernels/ARCHITECTURE.md` has what that gains); elsewhere all count alike. Not here: how codes and scales are packed (each
//! format's file).
//!
//! Eight candidates are tried side by side (`generic/attempt.rs`). Nothing is random and no order depends on the machine: a weight has the
//! same code everywhere.

use half::f16;

use super::parts::SUPER_BLOCK;
use crate::dispatch::Kernels;
use crate::generic::attempt::{Candidates, Outcome, TRIED, Tried, least_of};

/// Weights of a group in the K formats with minima, and in those without.
pub(super) const GROUP: usize = 32;
pub(super) const SMALL_GROUP: usize = 16;
const N_GROUPS: usize = SUPER_BLOCK / GROUP;
const N_SMALL_GROUPS: usize = SUPER_BLOCK / SMALL_GROUP;

/// Groups whose largest weight is smaller than this are zero: f16 has no scale for them.
const LEAST: f32 = 1e-30;
/// Rounds of fitting the scales to the codes and the codes to the scales.
const ROUNDS: usize = 2;
/// The largest integer scale and minimum of the K formats with minima, and the smallest and largest scale of those without.
const TOP_SCALE: f32 = 63.0;
const SCALES: (f32, f32) = (-128.0, 127.0);

/// What is added to the end of the codes, to which the largest weight goes.
const STEPS: Tried = [0.0, -0.1, 0.1, -0.2, 0.25, -0.35, 0.45, -0.55];
/// The same for codes of 8 bits, whose errors change with the scale much faster: one list for each time that the same end is tried. Up to half
/// a code beyond the end the largest weight still has the last code.
const BYTE_STEPS: [Tried; 2] =
    [[0.0, 0.45, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0], [-0.5, -1.5, -2.5, -3.5, -4.5, -5.5, -6.5, -7.5]];
/// The same where there is a minimum, too.
const WIDE_STEPS: [Tried; 2] =
    [[0.0, -0.12, 0.12, -0.24, 0.24, -0.36, 0.36, -0.48], [0.48, -0.6, 0.6, -0.72, 0.72, -0.84, 0.84, -0.96]];
/// Integer scales that are tried about the wanted one.
const INTEGERS: Tried = [0.0, -1.0, 1.0, -2.0, 2.0, -3.0, 3.0, 4.0];
/// The same for a scale and a minimum.
const PAIRS: [(f32, f32); TRIED] =
    [(0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (1.0, 1.0), (-1.0, -1.0), (1.0, 2.0)];

/// To the nearest integer, ties to even, without a call to a library; |x| < 2^22.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    // Adding 1.5 · 2^23 leaves no bits for a fraction.
    const ROUND: f32 = 12_582_912.0;
    (x + ROUND) - ROUND
}

/// The code of a weight whose scale is the reciprocal of `inverse`.
#[inline(always)]
fn code(x: f32, inverse: f32, (low, high): (f32, f32)) -> f32 {
    nearest((x * inverse).clamp(low, high))
}

#[inline(always)]
fn reciprocal(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// A scale that f16 has; none if it would be infinite.
#[inline(always)]
fn half_scale(d: f32) -> Option<f32> {
    let d = f16::from_f32(d).to_f32();
    d.is_finite().then_some(d)
}

/// The next scale that f16 has, away from zero: integer scales up to a limit then reach what they are to reach, also where f16 has few
/// digits left. None if it would be infinite.
#[inline(always)]
fn half_scale_up(d: f32) -> Option<f32> {
    let half = f16::from_f32(d);
    // Of numbers with the same sign, those of larger magnitude have larger patterns.
    let half = if half.to_f32().abs() < d.abs() { f16::from_bits(half.to_bits() + 1) } else { half };
    half.is_finite().then(|| half.to_f32())
}

/// The f16 of a scale that came from [`half_scale`], as stored.
pub(super) fn stored(d: f32) -> [u8; 2] {
    f16::from_f32(d).to_le_bytes()
}

/// A scale that f16 has, near `d` and by arithmetic alone; |d| < 2^15.
#[inline(always)]
fn near_half(d: f32) -> f32 {
    // Splitting after Veltkamp leaves 11 bits; below 2^-14, f16 has a fixed step of 2^-24.
    let scaled = d * 8193.0;
    let digits = scaled - (scaled - d);
    let steps = (d + 0.75) - 0.75;
    if d.abs() < 6.103_515_6e-5 { steps } else { digits }
}

/// How much the error of each weight of a group counts: the group's root mean square and the weight's magnitude.
#[inline(always)]
fn importance(x: &[f32; GROUP]) -> [f32; GROUP] {
    let mut squares = 0.0;
    for i in 0..GROUP {
        squares += x[i] * x[i];
    }
    let mut importance = [1.0; GROUP];
    if squares > 0.0 && squares.is_finite() {
        let rms = (squares / GROUP as f32).sqrt();
        for i in 0..GROUP {
            importance[i] = rms + x[i].abs();
        }
    }
    importance
}

/// The weight of the largest magnitude; none if one is no number.
#[inline(always)]
fn extreme<const N: usize>(x: &[f32; N]) -> Option<f32> {
    let (low, high) = range(x)?;
    Some(if high > -low { high } else { low })
}

/// The least and the largest of the weights; none if one is no number.
#[inline(always)]
fn range<const N: usize>(x: &[f32; N]) -> Option<(f32, f32)> {
    let (mut low, mut high, mut none) = (x[0], x[0], 0.0);
    for i in 0..N {
        low = if x[i] < low { x[i] } else { low };
        high = if x[i] > high { x[i] } else { high };
        // Zero, or NaN.
        none += x[i] * 0.0;
    }
    (none == 0.0).then_some((low, high))
}

/// For each of eight ways to begin, the better scale d of w = d · q, q from `low` to `high`, with the largest weight at either end: of either
/// sign and of any precision. With it, how much less error it leaves than no weights at all.
#[inline(always)]
fn good_scales<const N: usize>(kernels: &Kernels, x: &[f32; N], extreme: f32, codes: (f32, f32)) -> (Tried, Tried) {
    let zero = [0.0; TRIED];
    let (mut scales, mut gains) = (zero, zero);
    if extreme.abs() < LEAST {
        return (scales, gains);
    }
    // Where both ends are alike, there is more to be had from other scales.
    let is_symmetric = codes.0 == -codes.1;
    let ends = if is_symmetric {
        [(codes.1, &BYTE_STEPS[0]), (codes.1, &BYTE_STEPS[1])]
    } else {
        [(codes.0, &STEPS), (codes.1, &STEPS)]
    };
    for (end, steps) in ends {
        let mut inverse = zero;
        for c in 0..TRIED {
            inverse[c] = (end + steps[c]) / extreme;
        }
        let sums = kernels.attempt(x, &[1.0; N], Candidates { d: &zero, inverse: &inverse, m: &zero, codes }, false);
        for c in 0..TRIED {
            // With the best scale for its codes, Σxq / Σq², a candidate leaves Σx² - (Σxq)² / Σq².
            let d = sums.xq[c] / sums.q2[c].max(1.0);
            let gain = d * sums.xq[c];
            let is_better = gain > gains[c];
            scales[c] = if is_better { d } else { scales[c] };
            gains[c] = if is_better { gain } else { gains[c] };
        }
    }
    (scales, gains)
}

/// The scale of a block by itself, as f16 has it, and the codes; none if a weight is no number or too large for the format.
#[inline(always)]
pub(super) fn block<const N: usize>(kernels: &Kernels, x: &[f32; N], codes: (f32, f32)) -> Option<(f32, [f32; N])> {
    let extreme = extreme(x)?;
    let zero = [0.0; TRIED];
    let simple = half_scale(extreme / codes.0)?;
    let (mut tried, _) = good_scales(kernels, x, extreme, codes);
    let mut inverse = zero;
    for c in 0..TRIED {
        // A scale that f16 does not have is none.
        tried[c] = if c == 0 || tried[c].abs() > 32768.0 { simple } else { near_half(tried[c]) };
        inverse[c] = reciprocal(tried[c]);
    }
    let Outcome { error: errors, .. } =
        kernels.attempt(x, &[1.0; N], Candidates { d: &tried, inverse: &inverse, m: &zero, codes }, true);
    let best = least_of(&errors);
    let mut quantised = [0.0; N];
    for i in 0..N {
        quantised[i] = code(x[i], inverse[best], codes);
    }
    Some((tried[best], quantised))
}

/// A super-block of 16 groups: w = d · s · q.
pub(super) struct Scaled {
    pub(super) d: f32,
    pub(super) scales: [i8; N_SMALL_GROUPS],
    pub(super) codes: [f32; SUPER_BLOCK],
}

/// Fits a super-block without minima; none if a weight is no number or too large for the format.
#[inline(always)]
pub(super) fn scaled(kernels: &Kernels, x: &[f32; SUPER_BLOCK], codes: (f32, f32)) -> Option<Scaled> {
    let (groups, _) = x.as_chunks::<SMALL_GROUP>();
    let (mut wanted, mut largest, mut end) = ([0.0; N_SMALL_GROUPS], 0.0_f32, 0.0_f32);
    for (group, wanted) in groups.iter().zip(&mut wanted) {
        let extreme = extreme(group)?;
        let (scales, gains) = good_scales(kernels, group, extreme, codes);
        *wanted = scales[most_of(&gains)];
        if wanted.abs() > largest.abs() {
            largest = *wanted;
        }
        if extreme.abs() > end.abs() {
            end = extreme;
        }
    }
    // Once from the scale of the largest weight, then from the largest scale that is wanted: where one group is far above the others, they
    // differ.
    let mut best: Option<(f32, f32, [f32; N_SMALL_GROUPS])> = None;
    for (start, rounds) in [(end / codes.0, 1), (largest, ROUNDS)] {
        let mut candidate = half_scale_up(start / SCALES.0)?;
        for _ in 0..rounds {
            let Some(d) = half_scale(candidate) else { break };
            let (mut scales, mut left, mut xa, mut aa) = ([0.0; N_SMALL_GROUPS], 0.0, 0.0, 0.0);
            for j in 0..N_SMALL_GROUPS {
                let (scale, error, xq, q2) = best_integer_scale(kernels, &groups[j], d, wanted[j], codes);
                scales[j] = scale;
                left += error;
                xa += scale * xq;
                aa += scale * scale * q2;
            }
            if best.is_none_or(|(least, ..)| left < least) {
                best = Some((left, d, scales));
            }
            if aa == 0.0 {
                break;
            }
            candidate = xa / aa;
        }
    }
    let (_, d, scales) = best?;
    let mut fitted = Scaled { d, scales: [0; N_SMALL_GROUPS], codes: [0.0; SUPER_BLOCK] };
    for (j, group) in groups.iter().enumerate() {
        fitted.scales[j] = scales[j] as i8;
        let inverse = reciprocal(d * scales[j]);
        for i in 0..SMALL_GROUP {
            fitted.codes[j * SMALL_GROUP + i] = code(group[i], inverse, codes);
        }
    }
    Some(fitted)
}

/// The first candidate of the largest number; none of them is negative.
#[inline(always)]
fn most_of(x: &Tried) -> usize {
    let (mut best, mut most) = (0, x[0]);
    for c in 1..TRIED {
        let is_more = x[c] > most;
        best = if is_more { c } else { best };
        most = if is_more { x[c] } else { most };
    }
    best
}

/// Of the integer scales about `wanted / d`, the one that leaves the least error, that error, and Σxq and Σq² of its codes.
#[inline(always)]
fn best_integer_scale(
    kernels: &Kernels,
    group: &[f32; SMALL_GROUP],
    d: f32,
    wanted: f32,
    codes: (f32, f32),
) -> (f32, f32, f32, f32) {
    let about = nearest((wanted * reciprocal(d)).clamp(SCALES.0, SCALES.1));
    let zero = [0.0; TRIED];
    let (mut scales, mut tried, mut inverse) = (zero, zero, zero);
    for c in 0..TRIED {
        scales[c] = (about + INTEGERS[c]).clamp(SCALES.0, SCALES.1);
        tried[c] = d * scales[c];
        inverse[c] = reciprocal(tried[c]);
    }
    let sums = kernels.attempt(group, &[1.0; SMALL_GROUP], Candidates { d: &tried, inverse: &inverse, m: &zero, codes }, true);
    let best = least_of(&sums.error);
    (scales[best], sums.error[best], sums.xq[best], sums.q2[best])
}

/// Weights and how much each counts.
#[derive(Clone, Copy)]
struct Counted<'a> {
    x: &'a [f32; GROUP],
    importance: &'a [f32; GROUP],
    /// Σ importance, and Σ importance · x.
    n: f32,
    total: f32,
}

impl<'a> Counted<'a> {
    #[inline(always)]
    fn new(x: &'a [f32; GROUP], importance: &'a [f32; GROUP]) -> Counted<'a> {
        let (mut n, mut total) = (0.0, 0.0);
        for i in 0..GROUP {
            n += importance[i];
            total += importance[i] * x[i];
        }
        Counted { x, importance, n, total }
    }
}

/// Scales d, none negative, and minima m, at least `least_minimum`, of w = d · q - m, of any precision: for each of eight ways to begin, the
/// better of two. With them, how much less error they leave than no weights at all; and the range. None if a weight is no number.
#[inline(always)]
fn good_scales_and_minima(kernels: &Kernels, weights: Counted<'_>, top: f32, least_minimum: f32) -> Option<Pairs> {
    let Counted { x, importance, n, total } = weights;
    let (low, high) = range(x)?;
    let begin = if -low > least_minimum { -low } else { least_minimum };
    let (zero, span) = ([0.0; TRIED], high + begin);
    let mut pairs = Pairs { scales: zero, minima: [begin; TRIED], gains: zero, low, high };
    if span < LEAST {
        return Some(pairs);
    }
    pairs.scales = [span / top; TRIED];
    for steps in WIDE_STEPS {
        let mut inverse = zero;
        for c in 0..TRIED {
            inverse[c] = (top + steps[c]) / span;
        }
        let tried = Candidates { d: &zero, inverse: &inverse, m: &[begin; TRIED], codes: (0.0, top) };
        let sums = kernels.attempt(x, importance, tried, false);
        for c in 0..TRIED {
            // Least squares over both; where no minimum so small may be, over the scale.
            let (q1, q2, xq) = (sums.q1[c], sums.q2[c], sums.xq[c]);
            let determinant = n * q2 - q1 * q1;
            let free = ((n * xq - total * q1) / determinant, (q1 * xq - q2 * total) / determinant);
            let bound = ((xq + least_minimum * q1) / q2, least_minimum);
            let (d, m) = if free.1 < least_minimum { bound } else { free };
            // Σx² - Σ(x - d·q + m)²
            let gain = 2.0 * (d * xq - m * total + d * m * q1) - d * d * q2 - m * m * n;
            let is_better = determinant > 0.0 && d > 0.0 && gain > pairs.gains[c];
            pairs.scales[c] = if is_better { d } else { pairs.scales[c] };
            pairs.minima[c] = if is_better { m } else { pairs.minima[c] };
            pairs.gains[c] = if is_better { gain } else { pairs.gains[c] };
        }
    }
    Some(pairs)
}

/// See [`good_scales_and_minima`].
struct Pairs {
    scales: Tried,
    minima: Tried,
    gains: Tried,
    low: f32,
    high: f32,
}

/// Of scales and minima, the pair that leaves the least error.
#[inline(always)]
fn best_pair(kernels: &Kernels, weights: Counted<'_>, (scales, minima): (&Tried, &Tried), top: f32) -> (usize, Outcome, f32) {
    let mut inverse = [0.0; TRIED];
    for c in 0..TRIED {
        inverse[c] = reciprocal(scales[c]);
    }
    let tried = Candidates { d: scales, inverse: &inverse, m: minima, codes: (0.0, top) };
    let sums = kernels.attempt(weights.x, weights.importance, tried, true);
    let best = least_of(&sums.error);
    let error = sums.error[best];
    (best, sums, error)
}

/// Scale, minimum and codes of a block by itself, w = d · q + m with both as f16 has them; none if a weight is no number or too large
/// for the format.
#[inline(always)]
pub(super) fn shifted_block(kernels: &Kernels, x: &[f32; GROUP], top: f32) -> Option<(f32, f32, [f32; GROUP])> {
    let weights = Counted::new(x, &[1.0; GROUP]);
    let Pairs { mut scales, mut minima, low, high, .. } = good_scales_and_minima(kernels, weights, top, f32::NEG_INFINITY)?;
    let simple = (half_scale((high - low) / top)?, half_scale(-low)?);
    for c in 0..TRIED {
        let is_none = c == 0 || scales[c].abs() > 32768.0 || minima[c].abs() > 32768.0;
        scales[c] = if is_none { simple.0 } else { near_half(scales[c]) };
        minima[c] = if is_none { simple.1 } else { near_half(minima[c]) };
    }
    let (best, ..) = best_pair(kernels, weights, (&scales, &minima), top);
    let (d, m) = (scales[best], minima[best]);
    let (inverse, mut codes) = (reciprocal(d), [0.0; GROUP]);
    for i in 0..GROUP {
        codes[i] = code(x[i] + m, inverse, (0.0, top));
    }
    Some((d, -m, codes))
}

/// A super-block of 8 groups: w = d · s · q - dmin · m.
pub(super) struct Shifted {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) scales: [u8; N_GROUPS],
    pub(super) minima: [u8; N_GROUPS],
    pub(super) codes: [f32; SUPER_BLOCK],
}

/// Fits a super-block with minima, codes from 0 to `top`, large weights before small ones or all alike; none if a weight is no number or too large for the format.
#[inline(always)]
pub(super) fn shifted(kernels: &Kernels, x: &[f32; SUPER_BLOCK], top: f32, large_first: bool) -> Option<Shifted> {
    let (groups, _) = x.as_chunks::<GROUP>();
    let (mut wanted, mut simple) = ([(0.0, 0.0); N_GROUPS], [(0.0, 0.0); N_GROUPS]);
    let mut importances = [[1.0; GROUP]; N_GROUPS];
    for j in 0..N_GROUPS {
        if large_first {
            importances[j] = importance(&groups[j]);
        }
        let pairs = good_scales_and_minima(kernels, Counted::new(&groups[j], &importances[j]), top, 0.0)?;
        let best = most_of(&pairs.gains);
        wanted[j] = (pairs.scales[best], pairs.minima[best]);
        let low = pairs.low.min(0.0);
        simple[j] = ((pairs.high - low) / top, -low);
    }
    // Error, (d, dmin), and each group's scale and minimum.
    type Choice = (f32, (f32, f32), [(f32, f32); N_GROUPS]);
    let mut best: Option<Choice> = None;
    // Once from what the ranges ask for, then from what was found: where one group is far above the others, either may be better.
    for (wanted, rounds) in [(simple, 1), (wanted, ROUNDS)] {
        let (mut scale, mut minimum) = (0.0_f32, 0.0_f32);
        for (d, m) in wanted {
            (scale, minimum) = (scale.max(d), minimum.max(m));
        }
        let mut candidate = (half_scale_up(scale / TOP_SCALE)?, half_scale_up(minimum / TOP_SCALE)?);
        for _ in 0..rounds {
            let (Some(d), Some(dmin)) = (half_scale(candidate.0), half_scale(candidate.1)) else { break };
            let (mut chosen, mut left, mut fit) = ([(0.0, 0.0); N_GROUPS], 0.0, Fit::default());
            for j in 0..N_GROUPS {
                let weights = Counted::new(&groups[j], &importances[j]);
                left += best_integers(kernels, weights, (d, dmin), wanted[j], top, &mut chosen[j], &mut fit);
            }
            if best.is_none_or(|(least, ..)| left < least) {
                best = Some((left, (d, dmin), chosen));
            }
            match fit.solve() {
                Some(next) => candidate = next,
                None => break,
            }
        }
    }
    let (_, (d, dmin), chosen) = best?;
    let mut fitted = Shifted { d, dmin, scales: [0; N_GROUPS], minima: [0; N_GROUPS], codes: [0.0; SUPER_BLOCK] };
    for (j, group) in groups.iter().enumerate() {
        let (scale, minimum) = chosen[j];
        (fitted.scales[j], fitted.minima[j]) = (scale as u8, minimum as u8);
        let inverse = reciprocal(d * scale);
        for i in 0..GROUP {
            fitted.codes[j * GROUP + i] = code(group[i] + dmin * minimum, inverse, (0.0, top));
        }
    }
    Some(fitted)
}

/// Chooses, of the integer scales and minima about the wanted ones, those that leave the least error; returns that error, and adds what they
/// give to the fit.
#[inline(always)]
fn best_integers(
    kernels: &Kernels,
    weights: Counted<'_>,
    (d, dmin): (f32, f32),
    wanted: (f32, f32),
    top: f32,
    chosen: &mut (f32, f32),
    fit: &mut Fit,
) -> f32 {
    let scale = nearest((wanted.0 * reciprocal(d)).clamp(0.0, TOP_SCALE));
    let minimum = nearest((wanted.1 * reciprocal(dmin)).clamp(0.0, TOP_SCALE));
    let zero = [0.0; TRIED];
    let (mut scales, mut minima, mut ds, mut ms) = (zero, zero, zero, zero);
    for c in 0..TRIED {
        scales[c] = (scale + PAIRS[c].0).clamp(0.0, TOP_SCALE);
        minima[c] = (minimum + PAIRS[c].1).clamp(0.0, TOP_SCALE);
        ds[c] = d * scales[c];
        ms[c] = dmin * minima[c];
    }
    let (best, sums, error) = best_pair(kernels, weights, (&ds, &ms), top);
    *chosen = (scales[best], minima[best]);
    fit.add((sums.q1[best], sums.q2[best], sums.xq[best]), weights, *chosen);
    error
}

/// Least squares for d and dmin over a super-block whose codes, scales and minima are given.
#[derive(Default)]
struct Fit {
    // With a = s · q and b = m: Σa², Σab, Σb², Σxa, Σxb.
    aa: f32,
    ab: f32,
    bb: f32,
    xa: f32,
    xb: f32,
}

impl Fit {
    #[inline(always)]
    fn add(&mut self, (q1, q2, xq): (f32, f32, f32), weights: Counted<'_>, (scale, minimum): (f32, f32)) {
        self.aa += scale * scale * q2;
        self.ab += scale * minimum * q1;
        self.bb += minimum * minimum * weights.n;
        self.xa += scale * xq;
        self.xb += minimum * weights.total;
    }

    /// d and dmin; none where they are not determined, or one is negative.
    #[inline(always)]
    fn solve(&self) -> Option<(f32, f32)> {
        if self.bb == 0.0 {
            return (self.aa > 0.0).then(|| (self.xa / self.aa, 0.0));
        }
        let determinant = self.aa * self.bb - self.ab * self.ab;
        let d = (self.xa * self.bb - self.xb * self.ab) / determinant;
        let dmin = (self.xa * self.ab - self.xb * self.aa) / determinant;
        (determinant > 0.0 && d > 0.0 && dmin >= 0.0).then_some((d, dmin))
    }
}
