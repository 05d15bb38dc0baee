//! The draw: one token from the weighted candidates by inversion of their cumulative distribution.
//!
//! Not a source of randomness (`philox.rs` is), and not an alias table: each distribution is drawn from once.

use super::candidates::Candidates;

/// The token in which the point `uniform / 2^64` of the cumulative distribution lies, walking in ascending order of token id.
///
/// Whole-number arithmetic: with the weights `w` and their sum `W`, the point is `t = floor(uniform W / 2^64)`, and the token is the
/// first whose running sum exceeds `t`. A token of weight 0 is never drawn. A token's probability differs from `w / W` by
/// less than 2^-64. `candidates` have a weight above 0.
pub(super) fn draw(candidates: &Candidates, uniform: u64) -> u32 {
    // At most 2^63 - 1, and below the total.
    let point = ((u128::from(uniform) * u128::from(candidates.total())) >> 64) as u64;
    let mut sum = 0;
    let mut is_passed = |&weight: &u64| {
        sum += weight;
        sum <= point
    };
    let position = candidates.weights().iter().take_while(|weight| is_passed(weight)).count();
    candidates.tokens()[position]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    #[test]
    fn splits_the_unit_interval_in_the_order_of_ids() {
        let candidates = testing::weighed(&[1.0, f32::NEG_INFINITY, 1.0, -1e30, 1.0, 1.0], 1.0);
        for (uniform, token) in [(0, 0), ((1 << 62) - 1, 0), (1 << 62, 2), (1 << 63, 4), (3 << 62, 5), (u64::MAX, 5)] {
            assert_eq!(draw(&candidates, uniform), token, "{uniform}");
        }
    }

    proptest! {
        #![proptest_config(testing::cases(4_000))]

        #[test]
        fn inverts_the_distribution(
            scores in testing::scores_with_a_choice(100),
            temperature in testing::temperature(),
            uniform in any::<u64>(),
        ) {
            let token = draw(&testing::weighed(&scores, temperature), uniform) as usize;
            let probabilities = testing::softmax(&scores, temperature);
            let u = uniform as f64 / 2.0_f64.powi(64);
            let below: f64 = probabilities[..token].iter().sum();
            prop_assert!(below - 1e-12 <= u && u <= below + probabilities[token] + 1e-12);
            prop_assert!(probabilities[token] > 0.0);
        }
    }
}
