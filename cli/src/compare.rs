//! How far logits are from a reference: the measures of `infer check`, one position at a time, sums in f64.
//!
//! Not here: where either comes from, and what counts as near enough (`commands/check`).

/// The comparison of one position's logits with the reference's.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Largest absolute difference.
    pub max_abs_err: f64,
    /// Mean absolute difference over the vocabulary.
    pub mean_abs_err: f64,
    /// Sum of squared differences.
    pub square_err: f64,
    /// Sum of the reference's squares.
    pub square_ref: f64,
    /// Kullback-Leibler divergence KL(reference || ours) of the two softmax distributions, in nats.
    pub kl: f64,
    /// The reference's likeliest token; ties go to the lowest id.
    pub top1_ref: usize,
    /// Our likeliest token; ties go to the lowest id.
    pub top1_ours: usize,
    /// The reference's largest logit minus its second largest.
    pub margin: f64,
}

/// All positions of a reference, in order.
#[derive(Debug, Default)]
pub struct Comparison {
    /// One entry for each position.
    pub positions: Vec<Position>,
}

impl Position {
    /// Compares two rows of finite logits of the same length, the vocabulary.
    pub fn new(reference: &[f32], ours: &[f32]) -> Position {
        debug_assert_eq!(reference.len(), ours.len());
        let (log_sum_ref, log_sum_ours) = (log_sum_exp(reference), log_sum_exp(ours));
        let (mut max_abs_err, mut sum_abs, mut square_err, mut square_ref, mut kl) = (0f64, 0.0, 0.0, 0.0, 0.0);
        for (&r, &o) in reference.iter().zip(ours) {
            let (r, o) = (f64::from(r), f64::from(o));
            let err = (r - o).abs();
            max_abs_err = max_abs_err.max(err);
            sum_abs += err;
            square_err += err * err;
            square_ref += r * r;
            let log_p = r - log_sum_ref;
            kl += log_p.exp() * (log_p - (o - log_sum_ours));
        }
        let (top1_ref, margin) = top1(reference);
        Position {
            max_abs_err,
            mean_abs_err: sum_abs / reference.len().max(1) as f64,
            square_err,
            square_ref,
            // Rounding can leave a true zero slightly negative.
            kl: kl.max(0.0),
            top1_ref,
            top1_ours: top1(ours).0,
            margin,
        }
    }

    /// Normalised mean squared error: the squared differences over the reference's squares.
    pub fn nmse(&self) -> f64 {
        nmse(self.square_err, self.square_ref)
    }

    /// Whether both have the same likeliest token.
    pub fn top1_agrees(&self) -> bool {
        self.top1_ref == self.top1_ours
    }
}

impl Comparison {
    /// Largest absolute difference of all.
    pub fn max_abs_err(&self) -> f64 {
        self.positions.iter().map(|p| p.max_abs_err).fold(0.0, f64::max)
    }

    /// Mean absolute difference over positions and vocabulary.
    pub fn mean_abs_err(&self) -> f64 {
        self.mean(|p| p.mean_abs_err)
    }

    /// Normalised mean squared error over all positions.
    pub fn nmse(&self) -> f64 {
        let sum = |f: fn(&Position) -> f64| self.positions.iter().map(f).sum();
        nmse(sum(|p| p.square_err), sum(|p| p.square_ref))
    }

    /// Mean of KL(reference || ours) over the positions, in nats.
    pub fn mean_kl(&self) -> f64 {
        self.mean(|p| p.kl)
    }

    /// Largest KL(reference || ours), in nats.
    pub fn max_kl(&self) -> f64 {
        self.positions.iter().map(|p| p.kl).fold(0.0, f64::max)
    }

    /// The share of positions with the same likeliest token.
    pub fn top1_agreement(&self) -> f64 {
        self.mean(|p| f64::from(u8::from(p.top1_agrees())))
    }

    /// The first position whose likeliest token differs.
    pub fn first_mismatch(&self) -> Option<(usize, &Position)> {
        self.positions.iter().enumerate().find(|(_, p)| !p.top1_agrees())
    }

    fn mean(&self, f: fn(&Position) -> f64) -> f64 {
        self.positions.iter().map(f).sum::<f64>() / self.positions.len().max(1) as f64
    }
}

/// What an NMSE of logits is usual for, in powers of ten (formats.md section 7).
pub fn nmse_class(nmse: f64) -> &'static str {
    match nmse {
        n if n <= 1e-6 => "<= 1e-6, float arithmetic",
        n if n <= 1e-4 => "<= 1e-4, as of 8-bit weights",
        n if n <= 1e-3 => "<= 1e-3, as of 6-bit weights",
        n if n <= 1e-2 => "<= 1e-2, as of 4-bit weights",
        n if n <= 1e-1 => "<= 0.1, as of 2- or 3-bit weights",
        _ => "> 0.1, another model or an error",
    }
}

fn nmse(square_err: f64, square_ref: f64) -> f64 {
    if square_err == 0.0 { 0.0 } else { square_err / square_ref }
}

/// The logarithm of the probability that logits give one token.
pub fn log_probability(logits: &[f32], token: usize) -> f64 {
    logits.get(token).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit) - log_sum_exp(logits))
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + logits.iter().map(|&l| (f64::from(l) - max).exp()).sum::<f64>().ln()
}

/// The index of the largest logit, lowest first among equals, and how far the second largest is below it.
fn top1(logits: &[f32]) -> (usize, f64) {
    let (mut best, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (index, &logit) in logits.iter().enumerate() {
        if logit > first {
            (best, second, first) = (index, first, logit);
        } else if logit > second {
            second = logit;
        }
    }
    (best, f64::from(first) - f64::from(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_have_their_definitions() {
        // softmax([ln 1, ln 3]) = [1/4, 3/4]; softmax([ln 3, ln 1]) = [3/4, 1/4].
        let (a, b) = ([0.0, 3f32.ln()], [3f32.ln(), 0.0]);
        let p = Position::new(&a, &b);
        let ln3 = 3f64.ln();
        assert!((p.max_abs_err - ln3).abs() < 1e-6 && (p.mean_abs_err - ln3).abs() < 1e-6);
        assert!((p.kl - 0.5 * ln3).abs() < 1e-6, "1/4 ln(1/3) + 3/4 ln 3");
        assert!((p.nmse() - 2.0).abs() < 1e-6);
        assert_eq!((p.top1_ref, p.top1_ours), (1, 0));
        assert!((p.margin - ln3).abs() < 1e-6);
    }

    #[test]
    fn equal_rows_have_no_distance_and_ties_go_to_the_lowest_id() {
        let row = [1.0, 2.0, 2.0, -5.0];
        let p = Position::new(&row, &row);
        assert_eq!((p.max_abs_err, p.mean_abs_err, p.kl, p.nmse()), (0.0, 0.0, 0.0, 0.0));
        assert_eq!((p.top1_ref, p.top1_ours, p.margin), (1, 1, 0.0));
    }

    #[test]
    fn totals_cover_all_positions() {
        let same = Position::new(&[0.0, 2.0], &[0.0, 2.0]);
        let other = Position::new(&[1.0, 0.0], &[0.0, 1.0]);
        let all = Comparison { positions: vec![same, other.clone()] };
        assert_eq!((all.max_abs_err(), all.mean_abs_err(), all.top1_agreement()), (1.0, 0.5, 0.5));
        assert_eq!(all.nmse(), 2.0 / 5.0);
        assert_eq!(all.first_mismatch(), Some((1, &other)));
        assert_eq!((all.max_kl(), all.mean_kl()), (other.kl, other.kl / 2.0));
    }
}
