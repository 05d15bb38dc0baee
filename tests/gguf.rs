//! GGUF: blocks decoded as the format defines them.
//!
//! Not here: broken files (`hostile/`).

use infer_kernels::{DType, decode};
use infer_loaders::{OpenOptions, open_safetensors};

use crate::util::data;

#[test]
fn blocks_decode_bit_for_bit() {
    let recorded = open_safetensors(&data("gguf/blocks.safetensors"), &OpenOptions::default()).unwrap();
    let formats: Vec<DType> = DType::ALL.iter().copied().filter(|dtype| dtype.block_len() > 1).collect();
    assert!(formats.len() >= 13);
    for dtype in formats {
        let name = dtype.name().to_uppercase();
        let tensor = |part: &str| recorded.tensor(&format!("{name}.{part}")).unwrap_or_else(|| panic!("no {name}.{part}"));
        let (blocks, values) = (tensor("blocks"), tensor("values").to_f32().unwrap());
        assert_eq!(blocks.shape(), [values.len() / dtype.block_len(), dtype.block_bytes()], "{name}");
        assert!(values.len() >= 8 * dtype.block_len());
        let mut decoded = vec![f32::NAN; values.len()];
        decode(dtype, blocks.bytes(), &mut decoded);
        let differs = decoded.iter().zip(&values).position(|(a, b)| a.to_bits() != b.to_bits());
        assert!(
            differs.is_none(),
            "{name}: weight {differs:?}: {} and not {}",
            decoded[differs.unwrap()],
            values[differs.unwrap()]
        );
    }
}
