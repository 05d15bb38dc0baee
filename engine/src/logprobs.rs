//! Log-probabilities: how likely the model itself holds a token, before any sampling parameter.
//!
//! Not the distribution that is drawn from (`sampler/`). Sums are in f64 over the logits in the order of their ids, so a value does not
//! depend on anything but the logits' bits.

/// The log-probability of a token, and of the likeliest ones at its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Natural logarithm of the token's probability.
    pub logprob: f64,
    /// The likeliest tokens of the place with theirs, the likeliest first, of equal ones the lower id first.
    pub top: Vec<(u32, f64)>,
}

impl Logprobs {
    /// Of `token`, with `n_top` alternatives, from `logits`, (vocab_size,), none of which is NaN or positive infinity.
    pub fn new(logits: &[f32], token: u32, n_top: usize) -> Logprobs {
        let log_sum = log_sum_exp(logits);
        let of = |id: u32| logits.get(id as usize).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit) - log_sum);
        let top = highest(logits, n_top).into_iter().map(|id| (id, of(id))).collect();
        Logprobs { logprob: of(token), top }
    }
}

/// `ln(sum(exp(logits)))`; negative infinity where every logit is, or there are none.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let max = f64::from(max);
    let sum: f64 = logits.iter().map(|&x| libm::exp(f64::from(x) - max)).sum();
    max + libm::log(sum)
}

/// The ids of the `n` highest `logits`, the highest first, of equal ones the lower id first.
fn highest(logits: &[f32], n: usize) -> Vec<u32> {
    let order = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b));
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    if n < ids.len() {
        if n > 0 {
            ids.select_nth_unstable_by(n, order);
        }
        ids.truncate(n);
    }
    ids.sort_unstable_by(order);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_in_the_order_of_probability_and_then_of_ids() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, 2.0];
        let found = Logprobs::new(&logits, 4, 3);
        assert_eq!(found.top.iter().map(|&(id, _)| id).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(found.logprob, found.top[2].1);
        assert_eq!(Logprobs::new(&logits, 2, 0), Logprobs { logprob: f64::NEG_INFINITY, top: vec![] });
        let all: Vec<u32> = Logprobs::new(&logits, 0, 99).top.iter().map(|&(id, _)| id).collect();
        assert_eq!(all, [1, 3, 4, 0, 2]);
    }

    #[test]
    fn probabilities_sum_to_one_however_large_the_logits() {
        for scale in [1.0, 1e4, 1e38] {
            let logits: Vec<f32> = (0..1000_u32).map(|i| (i * 7919 % 1000) as f32 / 1000.0 * scale).collect();
            let total: f64 = Logprobs::new(&logits, 0, 1000).top.iter().map(|(_, logprob)| logprob.exp()).sum();
            assert!((total - 1.0).abs() < 1e-12, "{scale}: {total}");
        }
        assert!((log_sum_exp(&[0.0; 4]) - 4.0_f64.ln()).abs() < 1e-15);
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
    }
}
