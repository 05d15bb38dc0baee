//! The chain as a whole: against a naive chain written from the definitions, against recorded tokens, and statistically.
//!
//! Not the tests of the single steps, which stand in their files.

use proptest::prelude::*;

use super::testing;
use super::*;

fn sampler(sampling: Sampling, n_tokens: usize) -> Sampler {
    Sampler::new(&sampling, &[], n_tokens).expect("a test's parameters are valid")
}

/// A row like a model's: a fixed pseudo-random bell of scores.
fn row(n: usize, salt: u64) -> Vec<f32> {
    let uniform = |i: u64| (philox::draw(salt, i) >> 40) as f32 / (1 << 24) as f32;
    (0..n as u64).map(|i| (0..4).map(|j| uniform(4 * i + j)).sum::<f32>() * 5.0 - 10.0).collect()
}

#[test]
fn greedy_takes_the_highest_and_the_lowest_id_of_a_tie() {
    let mut greedy = sampler(Sampling::greedy(), 100);
    assert_eq!(greedy.sample(&[1.0, 3.0, 3.0, f32::NEG_INFINITY]).unwrap(), 1);
    assert_eq!(greedy.sample(&[f32::NEG_INFINITY, f32::NEG_INFINITY, f32::MIN]).unwrap(), 2);
    assert_eq!(greedy.sample(&[-0.0, 0.0]).unwrap(), 0);
    let mut late_tie = row(1000, 1);
    late_tie[77] = 40.0;
    late_tie[78] = 40.0;
    late_tie[999] = 40.0;
    assert_eq!(sampler(Sampling::greedy(), 1000).sample(&late_tie).unwrap(), 77);
}

#[test]
fn greedy_choice_sees_the_penalties() {
    let mut greedy = Sampler::new(&Sampling { repetition_penalty: 2.0, ..Sampling::greedy() }, &[1, 1], 4).unwrap();
    assert_eq!(greedy.sample(&[2.5, 4.0, 1.0, -1.0]).unwrap(), 0);
    greedy.accept(0);
    assert_eq!(greedy.sample(&[2.5, 4.0, 1.0, -1.0]).unwrap(), 1);
}

#[test]
fn a_row_that_is_no_distribution_is_an_error_and_never_a_token() {
    for sampling in [Sampling::greedy(), Sampling { temperature: 1.0, top_k: 2, top_p: 0.9, min_p: 0.1, ..Sampling::greedy() }] {
        let mut sampler = sampler(sampling, 3);
        let mut error = |logits: &[f32]| sampler.sample(logits).unwrap_err().to_string();
        assert_eq!(error(&[0.0, f32::NAN, 1.0]), "logits: token 1: expected a finite number or -inf, found NaN");
        assert_eq!(error(&[0.0, 0.0, f32::INFINITY]), "logits: token 2: expected a finite number or -inf, found inf");
        // Also where the token could not be chosen: the model is broken all the same.
        assert_eq!(error(&[0.0, 0.0, 0.0, f32::NAN]), "logits: token 3: expected a finite number or -inf, found NaN");
        assert_eq!(error(&[f32::NEG_INFINITY; 3]), "logits: expected a token above -inf, found none among 3");
        assert_eq!(error(&[]), "logits: expected a token above -inf, found none among 0");
        // Only the padding is above negative infinity.
        let padding = [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, 9.0];
        assert_eq!(error(&padding), "logits: expected a token above -inf, found none among 3");
    }
}

#[test]
fn penalties_count_wherever_they_stand_and_a_chain_without_temperature_draws() {
    let logits = [5.0, 4.0, 3.0, 2.0];
    let tokens = |order: &str| -> Vec<u32> {
        let dry = Dry { multiplier: 100.0, ..Dry::off() };
        let steps = order.parse().unwrap();
        let sampling = Sampling { temperature: 1.0, top_k: 2, dry, logit_bias: vec![(3, 9.0)], steps, ..Sampling::greedy() };
        let mut sampler = Sampler::new(&sampling, &[1, 1, 0, 3, 1, 1, 0], 4).unwrap();
        let mut kept: Vec<(u32, f64)> = sampler.distribution(&logits).unwrap().filter(|(_, p)| *p > 1e-9).collect();
        kept.sort_by_key(|(token, _)| *token);
        kept.into_iter().map(|(token, _)| token).collect()
    };
    // The bias puts 3 first, DRY last, for it would go on with a repetition.
    assert_eq!(tokens("top_k;temperature"), [0, 3]);
    assert_eq!(tokens("dry;top_k;temperature"), [0, 1]);
    assert_eq!(tokens("top_k;dry;temperature"), [0]);
    let steps = "top_p".parse().unwrap();
    let mut sampler = Sampler::new(&Sampling { steps, ..Sampling::greedy() }, &[], 4).unwrap();
    assert_eq!(sampler.distribution(&logits).unwrap().count(), 4, "temperature 0 has no place in this chain");
}

#[test]
fn xtc_belongs_to_the_place_too() {
    let sampling = Sampling { temperature: 1.0, xtc_probability: 0.5, xtc_threshold: 0.1, seed: 5, ..Sampling::greedy() };
    let mut sampler = sampler(sampling, 4);
    let mut n_excluded = 0;
    for _ in 0..400 {
        let has_first = |s: &mut Sampler| s.distribution(&[3.0, 2.9, 2.8, -2.0]).unwrap().any(|(token, _)| token == 0);
        let first = has_first(&mut sampler);
        assert_eq!(has_first(&mut sampler), first);
        n_excluded += u32::from(!first);
        sampler.accept(3);
    }
    assert!((150..250).contains(&n_excluded), "{n_excluded}");
}

#[test]
fn invalid_parameters_make_no_sampler() {
    let error = Sampler::new(&Sampling { top_p: 1.5, ..Sampling::greedy() }, &[], 3).unwrap_err();
    assert_eq!(error.to_string(), "sampling: top_p: expected a number from 0 to 1, found 1.5");
}

#[test]
fn ids_beyond_the_vocabulary_are_never_chosen() {
    let mut logits = row(64, 3);
    logits[50..].fill(30.0);
    assert!(sampler(Sampling::greedy(), 50).sample(&logits).unwrap() < 50);
    let mut hot = sampler(Sampling { temperature: 100.0, ..Sampling::greedy() }, 50);
    for _ in 0..2_000 {
        let token = hot.sample(&logits).unwrap();
        assert!(token < 50);
        hot.accept(token);
    }
}

#[test]
fn the_draw_belongs_to_the_place_in_the_output() {
    let sampling = Sampling { temperature: 1.5, seed: 11, ..Sampling::greedy() };
    let logits = row(500, 4);
    let mut first = sampler(sampling.clone(), 500);
    let mut tokens = Vec::new();
    for _ in 0..50 {
        let token = first.sample(&logits).unwrap();
        assert_eq!(first.sample(&logits).unwrap(), token);
        first.accept(token);
        tokens.push(token);
    }
    // A fork continues alike, and so does one that took a wrong turn and back.
    let mut second = sampler(sampling, 500);
    [1, 2, 3].iter().for_each(|&t| second.accept(t));
    second.rewind(3);
    tokens[..20].iter().for_each(|&t| second.accept(t));
    for &token in &tokens[20..] {
        assert_eq!(second.sample(&logits).unwrap(), token);
        second.accept(token);
    }
    tokens.dedup();
    assert!(tokens.len() > 40, "the places draw different numbers");
}

/// The tokens drawn are part of the promise of [`RANDOM_STREAM`]: whoever changes them renames the stream.
#[test]
fn seeds_draw_the_recorded_tokens() {
    assert_eq!(RANDOM_STREAM, "philox4x32-10/1");
    let logits = row(1000, 5);
    for (seed, plain, filtered) in RECORDED {
        let tokens = |sampling: Sampling| -> Vec<u32> {
            let mut sampler = sampler(sampling, 1000);
            let draw = |_| {
                let token = sampler.sample(&logits).unwrap();
                sampler.accept(token);
                token
            };
            (0..8).map(draw).collect()
        };
        let hot = Sampling { temperature: 1.0, seed, ..Sampling::greedy() };
        assert_eq!(tokens(hot.clone()), plain, "seed {seed}");
        let chain = Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, repetition_penalty: 1.1, seed, ..hot };
        assert_eq!(tokens(chain), filtered, "seed {seed}, whole chain");
    }
}

const RECORDED: [(u64, [u32; 8], [u32; 8]); 3] = [
    (0, [766, 236, 225, 247, 405, 24, 650, 33], [361, 195, 195, 236, 361, 24, 380, 70]),
    (1, [775, 748, 361, 29, 380, 195, 124, 291], [361, 361, 236, 24, 247, 195, 120, 247]),
    (u64::MAX, [86, 195, 247, 380, 571, 703, 195, 534], [86, 195, 247, 361, 380, 518, 195, 361]),
];

/// Pearson's chi-square of many draws against the distribution that was asked for. The seed is fixed, so the test always gives the
/// same answer; a generator or a walk with a bias of a few per cent anywhere would have to be very lucky.
#[test]
fn draws_follow_the_distribution() {
    const N_DRAWS: usize = 200_000;
    let logits = row(60, 6);
    for sampling in [
        Sampling { temperature: 1.0, seed: 2024, ..Sampling::greedy() },
        Sampling { temperature: 0.7, top_k: 30, seed: 7, ..Sampling::greedy() },
        Sampling { temperature: 2.0, top_p: 0.9, seed: 8, ..Sampling::greedy() },
        Sampling { temperature: 1.5, min_p: 0.02, seed: 9, ..Sampling::greedy() },
    ] {
        let mut sampler = sampler(sampling.clone(), logits.len());
        let expected: Vec<(u32, f64)> = sampler.distribution(&logits).unwrap().collect();
        let mut counts = vec![0_u32; logits.len()];
        for _ in 0..N_DRAWS {
            let token = sampler.sample(&logits).unwrap();
            sampler.accept(token);
            counts[token as usize] += 1;
        }
        assert_eq!(expected.iter().map(|&(t, _)| counts[t as usize] as usize).sum::<usize>(), N_DRAWS);
        // Cells with fewer than 5 expected draws are joined, as the approximation requires.
        let (mut chi_square, mut n_cells, mut rare) = (0.0, 0, (0.0, 0.0));
        for &(token, probability) in &expected {
            let (found, mean) = (f64::from(counts[token as usize]), probability * N_DRAWS as f64);
            if mean >= 5.0 {
                chi_square += (found - mean).powi(2) / mean;
                n_cells += 1;
            } else {
                rare = (rare.0 + found, rare.1 + mean);
            }
        }
        if rare.1 >= 5.0 {
            chi_square += (rare.0 - rare.1).powi(2) / rare.1;
            n_cells += 1;
        }
        // Mean and standard deviation of chi-square with d degrees of freedom: d, sqrt(2 d). Four deviations either way.
        let degrees = f64::from(n_cells - 1);
        let deviations = (chi_square - degrees) / (2.0 * degrees).sqrt();
        assert!(n_cells > 10 && deviations.abs() < 4.0, "{sampling:?}: chi-square {chi_square} of {degrees} degrees");
    }
}

/// The chain from the definitions, in f64 over plain vectors, step by step in the order asked for: probabilities of all tokens.
fn naive_chain(sampling: &Sampling, scores: &[f32]) -> Vec<f64> {
    let mut kept = scores.to_vec();
    let mut temperature = 1.0;
    for step in sampling.steps.iter() {
        let probabilities = testing::softmax(&kept, temperature);
        let in_play = |i: &usize| probabilities[*i] > 0.0;
        let mut order: Vec<usize> = (0..kept.len()).filter(in_play).collect();
        order.sort_by(|&a, &b| kept[b].partial_cmp(&kept[a]).unwrap().then(a.cmp(&b)));
        let mut remove = |ids: &[usize]| ids.iter().for_each(|&i| kept[i] = f32::NEG_INFINITY);
        match step {
            Step::Temperature => temperature = sampling.temperature,
            Step::TopK if sampling.top_k > 0 => remove(&order[sampling.top_k.min(order.len())..]),
            Step::TopP if sampling.top_p < 1.0 => {
                let mut sum = 0.0;
                let is_out = |&i: &usize| {
                    sum += probabilities[i];
                    sum <= 1.0 - f64::from(sampling.top_p)
                };
                let n_out = order[1..].iter().rev().copied().take_while(is_out).count();
                remove(&order[order.len() - n_out..]);
            }
            Step::MinP => {
                let threshold = f64::from(sampling.min_p) * probabilities[order[0]];
                let out: Vec<usize> = order.iter().copied().filter(|&i| probabilities[i] < threshold).collect();
                remove(&out);
            }
            Step::TopNSigma if sampling.top_n_sigma > 0.0 => {
                let n = order.len() as f64;
                let mean = order.iter().map(|&i| f64::from(kept[i])).sum::<f64>() / n;
                let deviation = (order.iter().map(|&i| (f64::from(kept[i]) - mean).powi(2)).sum::<f64>() / n).sqrt();
                let floor = f64::from(kept[order[0]]) - f64::from(sampling.top_n_sigma) * deviation;
                let out: Vec<usize> = order.iter().copied().filter(|&i| f64::from(scores[i]) < floor).collect();
                out.iter().for_each(|&i| kept[i] = f32::NEG_INFINITY);
            }
            Step::TypicalP if sampling.typical_p < 1.0 => {
                let entropy: f64 = order.iter().map(|&i| -probabilities[i] * probabilities[i].ln()).sum();
                let distance = |i: usize| (-probabilities[i].ln() - entropy).abs();
                order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
                let mut sum = 0.0;
                let is_short = |&&i: &&usize| {
                    sum += probabilities[i];
                    sum < f64::from(sampling.typical_p)
                };
                let n_kept = 1 + order.iter().take_while(is_short).count();
                remove(&order[n_kept.min(order.len())..]);
            }
            _ => {}
        }
    }
    testing::softmax(&kept, temperature)
}

proptest! {
    #![proptest_config(testing::cases(4_000))]

    #[test]
    fn the_chain_equals_the_naive_chain(
        // Distinct scores at usual temperatures: exact meetings with a threshold are the single steps' tests.
        scores in prop::collection::vec(-20.0..20.0_f32, 1..300),
        temperature in 0.1..3.0_f32,
        top_k in 0..350_usize,
        top_p in prop_oneof![Just(1.0_f32), 0.01..1.0_f32],
        min_p in prop_oneof![Just(0.0_f32), 0.0..0.5_f32],
        typical_p in prop_oneof![Just(1.0_f32), 0.01..1.0_f32],
        top_n_sigma in prop_oneof![Just(0.0_f32), 0.1..4.0_f32],
        order in prop_oneof![
            Just(Steps::DEFAULT.to_string()),
            Just("top_n_sigma;top_k;typ_p;top_p;min_p;temperature".to_owned()),
            Just("min_p;temperature;typ_p;top_k;top_p;top_n_sigma".to_owned()),
            Just("top_p;top_k".to_owned()),
        ],
    ) {
        let steps = order.parse().unwrap();
        let sampling = Sampling { temperature, top_k, top_p, min_p, typical_p, top_n_sigma, steps, ..Sampling::greedy() };
        let expected = naive_chain(&sampling, &scores);
        let mut found = vec![0.0; scores.len()];
        for (token, probability) in sampler(sampling, scores.len()).distribution(&scores).unwrap() {
            found[token as usize] = probability;
        }
        for (token, (f, e)) in found.iter().zip(&expected).enumerate() {
            prop_assert!((f - e).abs() <= 1e-9, "token {token}: found {f}, expected {e}");
        }
    }

    #[test]
    fn any_row_and_any_parameters_give_an_allowed_token_or_an_error(
        bits in prop::collection::vec(any::<u32>(), 0..80),
        parameters in prop::array::uniform6(any::<u32>().prop_map(f32::from_bits)),
        usual in any::<bool>(),
        top_k in any::<usize>(),
        seed in any::<u64>(),
        prompt in prop::collection::vec(any::<u32>(), 0..5),
        n_tokens in 0..100_usize,
    ) {
        let [temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty] = parameters;
        let sampling = if usual {
            Sampling { temperature: 0.8, top_k: top_k % 100, top_p: 0.9, min_p: 0.05, seed, ..Sampling::greedy() }
        } else {
            let dry = Dry { multiplier: presence_penalty, base: top_p, breakers: vec![Breaker { heads: vec![1], tail: vec![] }], ..Dry::off() };
            let (typical_p, top_n_sigma, xtc_probability, xtc_threshold) = (min_p, temperature, top_p, min_p);
            let given = Sampling { temperature, top_k, top_p, min_p, typical_p, top_n_sigma, xtc_probability, xtc_threshold, dry, seed, ..Sampling::greedy() };
            Sampling { repetition_penalty, presence_penalty, frequency_penalty, logit_bias: vec![(3, min_p)], ..given }
        };
        let logits: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
        // Half the rows are made usable, since any bits at all rarely are.
        let logits = if seed % 2 == 0 { logits.iter().map(|&x| if x <= f32::MAX { x } else { 1.0 }).collect() } else { logits };
        if let Ok(mut sampler) = Sampler::new(&sampling, &prompt, n_tokens)
            && let Ok(token) = sampler.sample(&logits)
        {
            prop_assert!((token as usize) < n_tokens.min(logits.len()));
            prop_assert!(logits[token as usize] > f32::NEG_INFINITY);
            let total: f64 = sampler.distribution(&logits).unwrap().map(|(_, p)| p).sum();
            prop_assert!((total - 1.0).abs() < 1e-9);
            sampler.accept(token);
        }
    }
}
