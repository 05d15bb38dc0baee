//! Rotary position embedding: from a config's parameters to the cosines and sines of each position.
//!
//! Formulas and their sources: formats.md section 2; the arithmetic is f32 where transformers' is, since an angle of a thousand radians
//! shows the rounding of its frequency. Powers and trigonometric functions are taken in f64 and rounded once, by a portable library, so
//! that they are the same on every machine. Not here: the rotation itself (`infer_kernels`).

use std::fmt;

use infer_loaders::Metadata;

use crate::error::ModelError;

/// How positions become angles.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies, `rope_theta`.
    pub theta: f64,
    /// How frequencies are changed for contexts longer than the one trained on.
    pub scaling: RopeScaling,
    /// Elements of a head that are rotated: all of them.
    pub dim: usize,
}

/// A scheme of changing frequencies for long contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    Default,
    /// All frequencies divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// The base grows with the length of the sequence once that exceeds the context.
    Dynamic {
        /// How fast it grows.
        factor: f64,
        /// The context, `max_position_embeddings`.
        max_seq_len: usize,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths longer than the original context over this are low.
        low_freq_factor: f64,
        /// Wavelengths shorter than the original context over this are high.
        high_freq_factor: f64,
        /// The context trained on.
        original_max_seq_len: f64,
    },
    /// YaRN (Peng et al., 2023): as llama3 with a ramp over dimensions, and a factor on cosines and sines.
    Yarn {
        /// The divisor of low frequencies.
        factor: f64,
        /// The factor on cosines and sines.
        attention_factor: f64,
        /// First and last dimension of the ramp.
        ramp: (f64, f64),
    },
    /// A divisor for each frequency, as GGUF files of Llama 3 have them in `rope_freqs.weight`.
    Factors {
        /// (dim / 2,)
        factors: Vec<f32>,
    },
}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, theta {}", self.scaling.name(), self.theta)?;
        match self.scaling {
            RopeScaling::Default | RopeScaling::Factors { .. } => Ok(()),
            RopeScaling::Linear { factor }
            | RopeScaling::Dynamic { factor, .. }
            | RopeScaling::Llama3 { factor, .. }
            | RopeScaling::Yarn { factor, .. } => write!(f, ", factor {factor}"),
        }
    }
}

impl RopeScaling {
    /// The scheme's name as `rope_type` spells it.
    pub fn name(&self) -> &'static str {
        match self {
            RopeScaling::Default => "default",
            RopeScaling::Linear { .. } => "linear",
            RopeScaling::Dynamic { .. } => "dynamic",
            RopeScaling::Llama3 { .. } => "llama3",
            RopeScaling::Yarn { .. } => "yarn",
            RopeScaling::Factors { .. } => "factors",
        }
    }
}

impl Rope {
    /// Reads `rope_parameters` or `rope_scaling` with `rope_theta`, as formats.md section 1 standardises them.
    pub(crate) fn from_config(config: &Metadata, dim: usize, max_seq_len: usize, default_theta: f64) -> Result<Rope, ModelError> {
        let key = if config.has("rope_scaling") { "rope_scaling" } else { "rope_parameters" };
        let parameters = config.object(key)?;
        let dict = parameters.as_ref();
        let in_dict = |name: &str| dict.map(|d| d.positive(name)).transpose().map(Option::flatten);

        let theta = match in_dict("rope_theta")? {
            Some(theta) => theta,
            None => config.positive("rope_theta")?.unwrap_or(default_theta),
        };
        if let Some(owner) = [dict, Some(config)].into_iter().flatten().find(|m| m.has("partial_rotary_factor"))
            && owner.positive("partial_rotary_factor")? != Some(1.0)
        {
            return Err(owner.error("partial_rotary_factor", "1").into());
        }
        let scaling = match dict {
            None => RopeScaling::Default,
            Some(dict) => scaling(config, dict, theta, dim, max_seq_len)?,
        };
        let rope = Rope { theta, scaling, dim };
        if !rope.is_finite() {
            let key = if dict.is_some() { key } else { "rope_theta" };
            return Err(config.error(key, "parameters whose angles f32 holds at every position").into());
        }
        Ok(rope)
    }

    /// Whether cosines and sines are numbers at every position that a context may have.
    fn is_finite(&self) -> bool {
        const LAST_POSITION: f32 = (1u32 << 31) as f32;
        let mut frequencies = vec![0.0; self.dim / 2];
        let factor = self.frequencies(1, &mut frequencies);
        factor.is_finite() && frequencies.iter().all(|f| (f * LAST_POSITION).is_finite())
    }

    /// The angle per position of each pair, and the factor on cosines and sines. `rope_len` is the length of the sequence that the row
    /// belongs to, which dynamic scaling depends on; out: (dim / 2,)
    pub fn frequencies(&self, rope_len: usize, out: &mut [f32]) -> f32 {
        let theta = match self.scaling {
            RopeScaling::Dynamic { factor, max_seq_len } if rope_len > max_seq_len => {
                let growth = factor * rope_len as f64 / max_seq_len as f64 - (factor - 1.0);
                self.theta * libm::pow(growth, self.dim as f64 / (self.dim as f64 - 2.0))
            }
            _ => self.theta,
        };
        for (i, out) in out.iter_mut().enumerate() {
            let exponent = (2 * i) as f32 / self.dim as f32;
            let f = 1.0 / libm::pow(theta, f64::from(exponent)) as f32;
            *out = self.scaled(i, f);
        }
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        }
    }

    /// Frequency `f` of pair `i` under the scaling scheme.
    fn scaled(&self, i: usize, f: f32) -> f32 {
        match self.scaling {
            RopeScaling::Default | RopeScaling::Dynamic { .. } => f,
            RopeScaling::Factors { ref factors } => f / factors[i],
            RopeScaling::Linear { factor } => f / factor as f32,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq_len } => {
                let wavelength = 2.0 * core::f64::consts::PI / f64::from(f);
                if wavelength < original_max_seq_len / high_freq_factor {
                    f
                } else if wavelength > original_max_seq_len / low_freq_factor {
                    f / factor as f32
                } else {
                    let smooth =
                        ((original_max_seq_len / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor)) as f32;
                    (1.0 - smooth) * f / factor as f32 + smooth * f
                }
            }
            RopeScaling::Yarn { factor, ramp: (low, high), .. } => {
                let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                let keep = 1.0 - ramp;
                f / factor as f32 * (1.0 - keep) + f * keep
            }
        }
    }

    /// Cosines and sines of one position. frequencies, cos, sin: (dim / 2,)
    pub fn angles(frequencies: &[f32], attention_factor: f32, position: usize, cos: &mut [f32], sin: &mut [f32]) {
        for (i, &f) in frequencies.iter().enumerate() {
            // The angle is rounded to f32, as in the reference; its cosine is taken exactly.
            let (s, c) = libm::sincos(f64::from(f * position as f32));
            cos[i] = c as f32 * attention_factor;
            sin[i] = s as f32 * attention_factor;
        }
    }
}

/// The scheme that `rope_scaling` or `rope_parameters` names, with its parameters.
fn scaling(config: &Metadata, dict: &Metadata, theta: f64, dim: usize, max_seq_len: usize) -> Result<RopeScaling, ModelError> {
    let type_key = if dict.has("rope_type") { "rope_type" } else { "type" };
    let rope_type = dict.text(type_key)?.unwrap_or("default").to_owned();
    let original = || -> Result<usize, ModelError> {
        const KEY: &str = "original_max_position_embeddings";
        Ok(match config.count(KEY)? {
            Some(top) => top,
            None => dict.count(KEY)?.unwrap_or(max_seq_len),
        })
    };
    let factor = || -> Result<f64, ModelError> {
        dict.positive("factor")?.ok_or_else(|| dict.error("factor", "a positive number").into())
    };
    Ok(match rope_type.as_str() {
        "default" => RopeScaling::Default,
        "linear" => RopeScaling::Linear { factor: factor()? },
        "dynamic" => {
            if dim <= 2 {
                return Err(config.error("head_dim", "more than 2 with dynamic rope").into());
            }
            RopeScaling::Dynamic { factor: factor()?, max_seq_len }
        }
        "llama3" => llama3(dict, factor()?, original()?)?,
        "yarn" => yarn(dict, theta, dim, max_seq_len, original()?)?,
        "factors" => factors(dict, dim)?,
        _ => return Err(dict.error(type_key, "default, linear, dynamic, llama3 or yarn").into()),
    })
}

/// One divisor for each pair, all positive.
fn factors(dict: &Metadata, dim: usize) -> Result<RopeScaling, ModelError> {
    let expected = || dict.error("factors", format_args!("{} positive numbers", dim / 2));
    let factors = dict.numbers("factors")?.ok_or_else(expected)?;
    if factors.len() != dim / 2 || factors.iter().any(|&x| x as f32 <= 0.0) {
        return Err(expected().into());
    }
    Ok(RopeScaling::Factors { factors: factors.into_iter().map(|x| x as f32).collect() })
}

/// The parameters of Llama 3.1's scheme, checked.
fn llama3(dict: &Metadata, factor: f64, original: usize) -> Result<RopeScaling, ModelError> {
    let required = |key: &str| dict.positive(key)?.ok_or_else(|| ModelError::from(dict.error(key, "a positive number")));
    let (low_freq_factor, high_freq_factor) = (required("low_freq_factor")?, required("high_freq_factor")?);
    if high_freq_factor <= low_freq_factor {
        return Err(dict.error("high_freq_factor", format_args!("more than low_freq_factor, {low_freq_factor:?}")).into());
    }
    Ok(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_seq_len: original as f64 })
}

/// YaRN's ramp and attention factor from its parameters.
fn yarn(dict: &Metadata, theta: f64, dim: usize, max_seq_len: usize, original: usize) -> Result<RopeScaling, ModelError> {
    let original = original as f64;
    let factor = dict.positive("factor")?.unwrap_or(max_seq_len as f64 / original);
    let m = |scale: f64, k: f64| if scale <= 1.0 { 1.0 } else { 0.1 * k * libm::log(scale) + 1.0 };
    // Zero counts as absent for all of these (`x or default` in the reference).
    let given = |key: &str| -> Result<Option<f64>, ModelError> { Ok(dict.number(key)?.filter(|&x| x != 0.0)) };
    let attention_factor = match (dict.number("attention_factor")?, given("mscale")?, given("mscale_all_dim")?) {
        (Some(given), _, _) => given,
        (None, Some(mscale), Some(all)) => m(factor, mscale) / m(factor, all),
        (None, _, _) => m(factor, 1.0),
    };
    let beta_fast = given("beta_fast")?.unwrap_or(32.0);
    let beta_slow = given("beta_slow")?.unwrap_or(1.0);
    for (key, beta) in [("beta_fast", beta_fast), ("beta_slow", beta_slow)] {
        if beta < 0.0 {
            return Err(dict.error(key, "a positive number").into());
        }
    }
    if theta == 1.0 {
        return Err(dict.error("rope_theta", "other than 1 with yarn").into());
    }
    // The dimension whose wavelength fits `rotations` times into the original context (section 3.2 of the paper).
    let dimension =
        |rotations: f64| dim as f64 * libm::log(original / (rotations * 2.0 * core::f64::consts::PI)) / (2.0 * libm::log(theta));
    let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
    if dict.flag("truncate")?.unwrap_or(true) {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dim as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    Ok(RopeScaling::Yarn { factor, attention_factor, ramp: (low, high) })
}
