//! The search for a block's scales: those that leave the least squared error, with what 16-bit and integer scales make of them.
//!
//! The candidates are those of llama.cpp's quantiser (scales about the one that maps the largest weight to the end of the codes, each
//! followed by the best scale for the codes that it gave), with three things more: the largest weight may go to either end, a scale is judged
//! as it will be stored, and the scales of a super-block are fitted together. All weights count alike: without a sample of activations there
//! is no better guess of what they will be multiplied with. Not here: how codes and scales are packed (each format's file).
//!
//! Loops run over arrays of known length in lanes of eight sums, so that the compiler makes vectors of them. Nothing is random and no order
//! depends on the machine: a weight has the same code everywhere.

use half::f16;

use super::parts::SUPER_BLOCK;

/// Weights of a group in the K formats with minima, and in those without.
pub(super) const GROUP: usize = 32;
pub(super) const SMALL_GROUP: usize = 16;
const N_GROUPS: usize = SUPER_BLOCK / GROUP;
const N_SMALL_GROUPS: usize = SUPER_BLOCK / SMALL_GROUP;

/// Groups whose largest weight is smaller than this are zero: f16 has no scale for them.
const LEAST: f32 = 1e-30;
/// Rounds of fitting the scales to the codes and the codes to the scales.
const ROUNDS: usize = 3;
/// The largest integer scale and minimum of the K formats with minima, and the smallest and largest scale of those without.
const TOP_SCALE: f32 = 63.0;
const SCALES: (f32, f32) = (-128.0, 127.0);

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

#[inline(always)]
fn sum(lanes: [f32; 8]) -> f32 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// A scale that f16 has; none if it would be infinite.
fn half_scale(d: f32) -> Option<f32> {
    let d = f16::from_f32(d).to_f32();
    d.is_finite().then_some(d)
}

/// The next scale that f16 has, away from zero: integer scales up to a limit then reach what they are to reach, also where f16 has few
/// digits left. None if it would be infinite.
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

/// Σ x·q and Σ q² of the codes q that a scale gives.
#[inline(always)]
fn products<const N: usize>(x: &[f32; N], inverse: f32, codes: (f32, f32)) -> (f32, f32) {
    let (mut xq, mut qq) = ([0.0; 8], [0.0; 8]);
    for i in 0..N {
        let q = code(x[i], inverse, codes);
        xq[i % 8] += x[i] * q;
        qq[i % 8] += q * q;
    }
    (sum(xq), sum(qq))
}

/// The squared error that a scale leaves.
#[inline(always)]
fn error<const N: usize>(x: &[f32; N], d: f32, codes: (f32, f32)) -> f32 {
    let (inverse, mut squares) = (reciprocal(d), [0.0; 8]);
    for i in 0..N {
        let rest = x[i] - d * code(x[i], inverse, codes);
        squares[i % 8] += rest * rest;
    }
    sum(squares)
}

/// The weight of the largest magnitude; none if one is no number.
fn extreme<const N: usize>(x: &[f32; N]) -> Option<f32> {
    let mut extreme = 0.0_f32;
    for &x in x {
        if !x.is_finite() {
            return None;
        }
        if x.abs() > extreme.abs() {
            extreme = x;
        }
    }
    Some(extreme)
}

/// The scale d of w = d · q, q from `low` to `high`, that leaves the least error, of either sign and of any precision.
fn best_scale<const N: usize>(x: &[f32; N], extreme: f32, codes: (f32, f32)) -> f32 {
    if extreme.abs() < LEAST {
        return 0.0;
    }
    // With the best scale for its codes a candidate leaves Σx² - (Σxq)² / Σq².
    let (mut best_xq, mut best_qq, mut best) = (0.0, 1.0, 0.0);
    for end in [codes.0, codes.1] {
        for step in -9_i8..=9 {
            let (xq, qq) = products(x, (end + 0.1 * f32::from(step)) / extreme, codes);
            if xq * xq * best_qq > best_xq * best_xq * qq {
                (best_xq, best_qq, best) = (xq, qq, xq / qq);
            }
        }
    }
    best
}

/// The scale of a block by itself, as f16 has it, and the codes; none if a weight is no number or too large for the format.
pub(super) fn block<const N: usize>(x: &[f32; N], codes: (f32, f32)) -> Option<(f32, [f32; N])> {
    let extreme = extreme(x)?;
    let mut d = half_scale(extreme / codes.0)?;
    let mut least = error(x, d, codes);
    let mut candidate = best_scale(x, extreme, codes);
    for _ in 0..ROUNDS {
        let Some(rounded) = half_scale(candidate) else { break };
        let left = error(x, rounded, codes);
        if left < least {
            (d, least) = (rounded, left);
        }
        // The best scale for the codes that this one gave.
        let (xq, qq) = products(x, reciprocal(rounded), codes);
        if qq == 0.0 {
            break;
        }
        candidate = xq / qq;
    }
    let (inverse, mut quantised) = (reciprocal(d), [0.0; N]);
    for i in 0..N {
        quantised[i] = code(x[i], inverse, codes);
    }
    Some((d, quantised))
}

/// A super-block of 16 groups: w = d · s · q.
pub(super) struct Scaled {
    pub(super) d: f32,
    pub(super) scales: [i8; N_SMALL_GROUPS],
    pub(super) codes: [f32; SUPER_BLOCK],
}

/// Fits a super-block without minima; none if a weight is no number or too large for the format.
pub(super) fn scaled(x: &[f32; SUPER_BLOCK], codes: (f32, f32)) -> Option<Scaled> {
    let (groups, _) = x.as_chunks::<SMALL_GROUP>();
    let (mut wanted, mut largest, mut end) = ([0.0; N_SMALL_GROUPS], 0.0_f32, 0.0_f32);
    for (group, wanted) in groups.iter().zip(&mut wanted) {
        let extreme = extreme(group)?;
        *wanted = best_scale(group, extreme, codes);
        if wanted.abs() > largest.abs() {
            largest = *wanted;
        }
        if extreme.abs() > end.abs() {
            end = extreme;
        }
    }
    let mut best: Option<(f32, f32, [f32; N_SMALL_GROUPS])> = None;
    // From the largest scale that is wanted, and from that of the largest weight: where one group is far above the others, they differ.
    for start in [largest, end / codes.0] {
        let mut candidate = half_scale_up(start / SCALES.0)?;
        for _ in 0..ROUNDS {
            let Some(d) = half_scale(candidate) else { break };
            let (mut scales, mut left, mut xa, mut aa) = ([0.0; N_SMALL_GROUPS], 0.0, 0.0, 0.0);
            for ((group, &wanted), scale) in groups.iter().zip(&wanted).zip(&mut scales) {
                let (chosen, error) = best_integer_scale(group, d, wanted, codes);
                *scale = chosen;
                left += error;
                let (xq, qq) = products(group, reciprocal(d * chosen), codes);
                xa += chosen * xq;
                aa += chosen * chosen * qq;
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

/// Of the integer scales about `wanted / d`, the one that leaves the least error, and that error.
fn best_integer_scale(group: &[f32; SMALL_GROUP], d: f32, wanted: f32, codes: (f32, f32)) -> (f32, f32) {
    let about = nearest((wanted * reciprocal(d)).clamp(SCALES.0, SCALES.1));
    let (mut best, mut least) = (0.0, f32::INFINITY);
    for step in [0.0, -1.0, 1.0] {
        let scale = (about + step).clamp(SCALES.0, SCALES.1);
        let left = error(group, d * scale, codes);
        if left < least {
            (best, least) = (scale, left);
        }
    }
    (best, least)
}

/// The squared error that a scale and a minimum leave, with w = d · q - m and q up to `top`.
#[inline(always)]
fn shifted_error(x: &[f32; GROUP], d: f32, m: f32, top: f32) -> f32 {
    let (inverse, mut squares) = (reciprocal(d), [0.0; 8]);
    for i in 0..GROUP {
        let rest = x[i] - (d * code(x[i] + m, inverse, (0.0, top)) - m);
        squares[i % 8] += rest * rest;
    }
    sum(squares)
}

/// Σq, Σq² and Σxq of the codes that a scale and a minimum give.
#[inline(always)]
fn shifted_products(x: &[f32; GROUP], inverse: f32, m: f32, top: f32) -> (f32, f32, f32) {
    let (mut q1, mut q2, mut xq) = ([0.0; 8], [0.0; 8], [0.0; 8]);
    for i in 0..GROUP {
        let q = code(x[i] + m, inverse, (0.0, top));
        q1[i % 8] += q;
        q2[i % 8] += q * q;
        xq[i % 8] += x[i] * q;
    }
    (sum(q1), sum(q2), sum(xq))
}

/// Σx, the least and the largest of the weights; none if one is no number.
fn range(x: &[f32; GROUP]) -> Option<(f32, f32, f32)> {
    let (mut low, mut high, mut total) = (x[0], x[0], [0.0; 8]);
    for i in 0..GROUP {
        if !x[i].is_finite() {
            return None;
        }
        low = low.min(x[i]);
        high = high.max(x[i]);
        total[i % 8] += x[i];
    }
    Some((sum(total), low, high))
}

/// The scale d, which is not negative, and the minimum m, at least `least_minimum`, of w = d · q - m that leave the least error, of any
/// precision; none if a weight is no number.
fn best_scale_and_minimum(x: &[f32; GROUP], top: f32, least_minimum: f32) -> Option<(f32, f32)> {
    let (total, low, high) = range(x)?;
    let begin = (-low).max(least_minimum);
    if high + begin < LEAST {
        return Some((0.0, begin));
    }
    let (mut best, mut least) = (((high + begin) / top, begin), f32::INFINITY);
    for step in -10_i8..=10 {
        let inverse = (top + 0.1 * f32::from(step)) / (high + begin);
        let (q1, q2, xq) = shifted_products(x, inverse, begin, top);
        let n = GROUP as f32;
        // Least squares over both.
        let determinant = n * q2 - q1 * q1;
        if determinant <= 0.0 {
            continue;
        }
        let (mut d, mut m) = ((n * xq - total * q1) / determinant, (q1 * xq - q2 * total) / determinant);
        if m < least_minimum {
            (d, m) = ((xq + least_minimum * q1) / q2, least_minimum);
        }
        let left = shifted_error(x, d, m, top);
        if d > 0.0 && left < least {
            (best, least) = ((d, m), left);
        }
    }
    Some(best)
}

/// Scale, minimum and codes of a block by itself, w = d · q + m with both as f16 has them; none if a weight is no number or too large
/// for the format.
pub(super) fn shifted_block(x: &[f32; GROUP], top: f32) -> Option<(f32, f32, [f32; GROUP])> {
    let (_, low, high) = range(x)?;
    let searched = best_scale_and_minimum(x, top, f32::NEG_INFINITY)?;
    let (mut best, mut least) = (None, f32::INFINITY);
    for (d, minimum) in [((high - low) / top, -low), searched] {
        let (Some(d), Some(minimum)) = (half_scale(d), half_scale(minimum)) else { continue };
        let left = shifted_error(x, d, minimum, top);
        if left < least {
            (best, least) = (Some((d, minimum)), left);
        }
    }
    let (d, minimum) = best?;
    let (inverse, mut codes) = (reciprocal(d), [0.0; GROUP]);
    for i in 0..GROUP {
        codes[i] = code(x[i] + minimum, inverse, (0.0, top));
    }
    Some((d, -minimum, codes))
}

/// A super-block of 8 groups: w = d · s · q - dmin · m.
pub(super) struct Shifted {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) scales: [u8; N_GROUPS],
    pub(super) minima: [u8; N_GROUPS],
    pub(super) codes: [f32; SUPER_BLOCK],
}

/// Fits a super-block with minima, codes from 0 to `top`; none if a weight is no number or too large for the format.
pub(super) fn shifted(x: &[f32; SUPER_BLOCK], top: f32) -> Option<Shifted> {
    let (groups, _) = x.as_chunks::<GROUP>();
    let (mut wanted, mut largest) = ([(0.0, 0.0); N_GROUPS], (0.0_f32, 0.0_f32));
    for (group, wanted) in groups.iter().zip(&mut wanted) {
        *wanted = best_scale_and_minimum(group, top, 0.0)?;
        largest = (largest.0.max(wanted.0), largest.1.max(wanted.1));
    }
    let mut candidate = (half_scale_up(largest.0 / TOP_SCALE)?, half_scale_up(largest.1 / TOP_SCALE)?);
    // Error, (d, dmin), and each group's scale and minimum.
    type Choice = (f32, (f32, f32), [(f32, f32); N_GROUPS]);
    let mut best: Option<Choice> = None;
    for _ in 0..ROUNDS {
        let (Some(d), Some(dmin)) = (half_scale(candidate.0), half_scale(candidate.1)) else { break };
        let (mut chosen, mut left, mut fit) = ([(0.0, 0.0); N_GROUPS], 0.0, Fit::default());
        for j in 0..N_GROUPS {
            let ((scale, minimum), error) = best_integers(&groups[j], (d, dmin), wanted[j], top);
            chosen[j] = (scale, minimum);
            left += error;
            fit.add(&groups[j], (d, dmin), (scale, minimum), top);
        }
        if best.is_none_or(|(least, ..)| left < least) {
            best = Some((left, (d, dmin), chosen));
        }
        match fit.solve() {
            Some(next) => candidate = next,
            None => break,
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

/// Of the integer scales and minima about the wanted ones, those that leave the least error, and that error.
fn best_integers(group: &[f32; GROUP], (d, dmin): (f32, f32), wanted: (f32, f32), top: f32) -> ((f32, f32), f32) {
    let scale = nearest((wanted.0 * reciprocal(d)).clamp(0.0, TOP_SCALE));
    let minimum = nearest((wanted.1 * reciprocal(dmin)).clamp(0.0, TOP_SCALE));
    let (mut best, mut least) = ((0.0, 0.0), f32::INFINITY);
    for a in [0.0, -1.0, 1.0] {
        for b in [0.0, -1.0, 1.0] {
            let (scale, minimum) = ((scale + a).clamp(0.0, TOP_SCALE), (minimum + b).clamp(0.0, TOP_SCALE));
            let left = shifted_error(group, d * scale, dmin * minimum, top);
            if left < least {
                (best, least) = ((scale, minimum), left);
            }
        }
    }
    (best, least)
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
    fn add(&mut self, group: &[f32; GROUP], (d, dmin): (f32, f32), (scale, minimum): (f32, f32), top: f32) {
        let (q1, q2, xq) = shifted_products(group, reciprocal(d * scale), dmin * minimum, top);
        let mut total = [0.0; 8];
        for i in 0..GROUP {
            total[i % 8] += group[i];
        }
        self.aa += scale * scale * q2;
        self.ab += scale * minimum * q1;
        self.bb += minimum * minimum * GROUP as f32;
        self.xa += scale * xq;
        self.xb += minimum * sum(total);
    }

    /// d and dmin; none where they are not determined, or one is negative.
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
