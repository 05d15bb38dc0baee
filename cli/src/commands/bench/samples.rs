//! `Samples`: how long each repetition of a test took, and what statistics are told of it: llama-bench's.
//!
//! Not here: the clock.

use std::time::Duration;

/// The times of a test that is repeated. There is at least one.
#[derive(Clone, Debug)]
pub struct Samples {
    times: Vec<Duration>,
    /// Tokens in each repetition.
    n_tokens: usize,
}

impl Samples {
    /// Times of repetitions of `n_tokens` each.
    pub fn new(times: Vec<Duration>, n_tokens: usize) -> Samples {
        Samples { times, n_tokens }
    }

    /// Nanoseconds of each repetition.
    pub fn ns(&self) -> Vec<u64> {
        self.times.iter().map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).collect()
    }

    /// Tokens per second of each repetition.
    pub fn rates(&self) -> Vec<f64> {
        self.seconds().map(|seconds| self.n_tokens as f64 / seconds).collect()
    }

    /// Mean time in seconds.
    pub fn mean_seconds(&self) -> f64 {
        mean(&self.seconds().collect::<Vec<_>>())
    }

    /// Standard deviation of the time in seconds.
    pub fn stddev_seconds(&self) -> f64 {
        stddev(&self.seconds().collect::<Vec<_>>())
    }

    /// Mean of the tokens per second.
    pub fn mean_rate(&self) -> f64 {
        mean(&self.rates())
    }

    /// Standard deviation of the tokens per second.
    pub fn stddev_rate(&self) -> f64 {
        stddev(&self.rates())
    }

    /// Never zero, whatever a coarse clock says, so that rates are finite.
    fn seconds(&self) -> impl Iterator<Item = f64> {
        self.times.iter().map(|time| time.as_secs_f64().max(1e-9))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample's standard deviation (divided by n - 1); 0 for a single value.
fn stddev(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if values.len() < 2 { 0.0 } else { (squares / (values.len() - 1) as f64).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_deviation_of_times_and_rates() {
        let samples = Samples::new([1, 2, 4].map(Duration::from_secs).into(), 8);
        assert_eq!((samples.ns(), samples.rates()), (vec![1_000_000_000, 2_000_000_000, 4_000_000_000], vec![8.0, 4.0, 2.0]));
        assert!((samples.mean_seconds() - 7.0 / 3.0).abs() < 1e-12);
        // Squares of the distances from 7/3: 16/9 + 1/9 + 25/9 = 42/9, halved.
        assert!((samples.stddev_seconds() - (21.0f64 / 9.0).sqrt()).abs() < 1e-12);
        assert!((samples.mean_rate() - 14.0 / 3.0).abs() < 1e-12);
        assert!((samples.stddev_rate() - (28.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn one_repetition_has_no_deviation_and_no_time_no_infinity() {
        let samples = Samples::new(vec![Duration::from_millis(500)], 10);
        assert_eq!((samples.mean_rate(), samples.stddev_rate(), samples.stddev_seconds()), (20.0, 0.0, 0.0));
        assert!(Samples::new(vec![Duration::ZERO], 1).mean_rate().is_finite());
    }
}
