//! Which format each tensor gets: the mixes of llama.cpp's `llama-quantize`, without a sample of activations.
//!
//! Matrices get the type's own format, except that the output head (or the embedding that serves as one) gets Q6_K, and that the mixes with `_M`
//! keep the values' and the down projections of the first and last eighth of the layers, and of every third between, in Q6_K. Vectors stay
//! in f32. A row that is no whole number of blocks takes the next format that fits. Not here: how anything is encoded (`infer_kernels`).

use infer_kernels::DType;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileType {
    /// The name on the command line.
    pub name: &'static str,
    /// The number in the file (`general.file_type`, llama.cpp's `llama_ftype`).
    pub number: u32,
    /// What matrices are encoded as.
    base: DType,
    /// Whether some get more bits.
    is_mix: bool,
}

/// Every kind that is written.
pub const FILE_TYPES: [FileType; 8] = [
    FileType { name: "q8_0", number: 7, base: DType::Q8_0, is_mix: false },
    FileType { name: "q6_k", number: 18, base: DType::Q6K, is_mix: false },
    FileType { name: "q5_k_m", number: 17, base: DType::Q5K, is_mix: true },
    FileType { name: "q4_k_m", number: 15, base: DType::Q4K, is_mix: true },
    FileType { name: "q4_0", number: 2, base: DType::Q4_0, is_mix: false },
    FileType { name: "bf16", number: 32, base: DType::BF16, is_mix: false },
    FileType { name: "f16", number: 1, base: DType::F16, is_mix: false },
    FileType { name: "f32", number: 0, base: DType::F32, is_mix: false },
];

/// What of a model the choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub n_layers: usize,
    /// Query heads for each key head.
    pub group_size: usize,
    /// Whether the embedding is the output head, too.
    pub is_tied: bool,
}

/// The formats that take the place of one whose blocks do not fit a row.
const NEXT: [(DType, DType); 3] = [(DType::Q4K, DType::Q5_0), (DType::Q5K, DType::Q5_1), (DType::Q6K, DType::Q8_0)];

/// The layers of the model of which llama.cpp knows that eight query heads share values that are few for it.
const LAYERS_OF_70B: usize = 80;

impl FileType {
    /// The kind of this name, whatever its case.
    pub fn parse(name: &str) -> Option<FileType> {
        FILE_TYPES.into_iter().find(|kind| kind.name.eq_ignore_ascii_case(name))
    }

    /// Whether weights are quantised, and not only rounded to other floats.
    pub fn is_quantised(&self) -> bool {
        self.base.block_len() > 1
    }

    /// The format of a tensor by its name in GGUF. shape: slowest first
    pub fn of_tensor(&self, name: &str, shape: &[usize], model: Shape) -> DType {
        let [_, k] = *shape else { return DType::F32 };
        if !name.ends_with(".weight") || name.ends_with("_norm.weight") {
            return DType::F32;
        }
        let wanted = if self.is_quantised() { self.of_matrix(name, k, model) } else { self.base };
        let fits = |dtype: &DType| k.is_multiple_of(dtype.block_len());
        let next = NEXT.iter().find(|(dtype, _)| *dtype == wanted).map(|(_, next)| *next);
        [Some(wanted), next].into_iter().flatten().find(fits).unwrap_or(DType::F16)
    }

    fn of_matrix(&self, name: &str, k: usize, model: Shape) -> DType {
        let is_head = name == "output.weight" || (model.is_tied && name == "token_embd.weight");
        if is_head {
            let fits = k.is_multiple_of(self.base.block_len());
            return if self.base == DType::Q8_0 || !fits { DType::Q8_0 } else { DType::Q6K };
        }
        let layer = || name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok();
        let is_values = name.ends_with(".attn_v.weight");
        if self.is_mix
            && (is_values || name.ends_with(".ffn_down.weight"))
            && layer().is_some_and(|layer: usize| gets_more_bits(layer, model.n_layers))
        {
            return DType::Q6K;
        }
        if is_values && self.base == DType::Q4K && model.n_layers == LAYERS_OF_70B && model.group_size > 1 {
            return DType::Q5K;
        }
        self.base
    }
}

/// The first and the last eighth of the layers, and every third between.
fn gets_more_bits(layer: usize, n_layers: usize) -> bool {
    let eighth = n_layers / 8;
    layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIED: Shape = Shape { n_layers: 16, group_size: 4, is_tied: true };

    fn formats(kind: &str, k: usize, model: Shape) -> Vec<&'static str> {
        let names = ["token_embd", "output", "blk.0.attn_q", "blk.5.attn_v", "blk.4.attn_v", "blk.15.ffn_down", "blk.1.ffn_norm"];
        let kind = FileType::parse(kind).unwrap();
        names.iter().map(|name| kind.of_tensor(&format!("{name}.weight"), &[64, k], model).name()).collect()
    }

    /// As llama-quantize prints them.
    #[test]
    fn mixes_are_those_of_llama_quantize() {
        assert_eq!(formats("Q4_K_M", 2048, TIED), ["q6_k", "q6_k", "q4_k", "q4_k", "q6_k", "q6_k", "f32"]);
        assert_eq!(formats("q5_k_m", 2048, TIED), ["q6_k", "q6_k", "q5_k", "q5_k", "q6_k", "q6_k", "f32"]);
        assert_eq!(formats("q4_0", 2048, TIED), ["q6_k", "q6_k", "q4_0", "q4_0", "q4_0", "q4_0", "f32"]);
        assert_eq!(formats("q8_0", 2048, TIED), ["q8_0", "q8_0", "q8_0", "q8_0", "q8_0", "q8_0", "f32"]);
        assert_eq!(formats("bf16", 2048, TIED), ["bf16", "bf16", "bf16", "bf16", "bf16", "bf16", "f32"]);
        let untied = Shape { is_tied: false, ..TIED };
        assert_eq!(formats("q4_k_m", 2048, untied), ["q4_k", "q6_k", "q4_k", "q4_k", "q6_k", "q6_k", "f32"]);
        let large = Shape { n_layers: 80, group_size: 8, is_tied: false };
        assert_eq!(formats("q4_k_m", 8192, large), ["q4_k", "q6_k", "q4_k", "q6_k", "q6_k", "q6_k", "f32"]);
        let values =
            |layer| FileType::parse("q4_k_m").unwrap().of_tensor(&format!("blk.{layer}.attn_v.weight"), &[1024, 8192], large);
        assert_eq!([values(10), values(11), values(12)].map(DType::name), ["q5_k", "q5_k", "q6_k"]);
    }

    #[test]
    fn rows_that_are_no_whole_blocks_take_another_format() {
        assert_eq!(formats("q4_k_m", 576, TIED), ["q8_0", "q8_0", "q5_0", "q5_0", "q8_0", "q8_0", "f32"]);
        assert_eq!(formats("q5_k_m", 64, TIED), ["q8_0", "q8_0", "q5_1", "q5_1", "q8_0", "q8_0", "f32"]);
        assert_eq!(formats("q4_0", 64, TIED), ["q8_0", "q8_0", "q4_0", "q4_0", "q4_0", "q4_0", "f32"]);
        assert_eq!(formats("q4_k_m", 172, TIED), ["f16"; 6].into_iter().chain(["f32"]).collect::<Vec<_>>());
        let kind = FileType::parse("q8_0").unwrap();
        assert_eq!(kind.of_tensor("blk.0.attn_q.bias", &[64], TIED), DType::F32);
    }
}
