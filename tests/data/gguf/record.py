"""Records what the `gguf` Python package makes of GGML blocks, and turns recorded checkpoints into GGUF files.

    pip install gguf==0.19.0
    python record.py .

blocks.safetensors: for each block format NAME, `NAME.blocks` uint8 [n, bytes] and `NAME.values` float32 [n, elements], the values being
those of `gguf.dequantize`. Most blocks are random bytes whose scales are finite; the first two are all zeros and all ones but for the
scales.

MODEL.TYPE.gguf: tests/data/checkpoints/MODEL with matrices in TYPE, laid out as llama.cpp's converter does it: names, reversed shapes,
queries and keys of Llama with their rows permuted, norms in F32.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors.numpy import load_file, save_file

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"

# Format, and where its half-precision scales are.
BLOCKS = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2],
    T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: [],
}
N_BLOCKS = 8


def record_blocks(out: Path) -> None:
    random = np.random.default_rng(20)
    tensors = {}
    for kind, scales in BLOCKS.items():
        _, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (N_BLOCKS, size), dtype=np.uint8)
        blocks[0], blocks[1] = 0, 255
        for at in scales:
            # Any finite half: subnormal and negative ones, too.
            halves = random.integers(0, 0x7C00, N_BLOCKS, dtype=np.uint16) | random.integers(0, 2, N_BLOCKS, dtype=np.uint16) << 15
            halves[2] &= 0x83FF
            blocks[:, at : at + 2] = halves.view(np.uint8).reshape(N_BLOCKS, 2)
        if kind == T.MXFP4:
            blocks[2:6, 0] = [0, 1, 2, 254]
        tensors[f"{kind.name}.blocks"] = blocks
        tensors[f"{kind.name}.values"] = gguf.dequantize(blocks, kind)
    save_file(tensors, out / "blocks.safetensors")


def permute(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows from halves of a head to neighbouring pairs."""
    return weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def record_model(name: str, kind: T, out: Path) -> None:
    folder = CHECKPOINTS / name
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    arch = config["model_type"]
    n_heads, n_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    path = out / f"{name}.{kind.name.lower()}.gguf"
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(n_kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    theta = config.get("rope_theta") or (config.get("rope_parameters") or {}).get("rope_theta") or 10000.0
    writer.add_rope_freq_base(theta)
    if head_dim := config.get("head_dim"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config["num_hidden_layers"])
    for tensor, weight in tensors.items():
        weight = weight.astype(np.float32)
        stored = T.F32 if weight.ndim == 1 else kind
        packed = gguf.quantize(weight, stored)
        if arch == "llama" and ".q_proj." in tensor:
            packed = permute(packed, n_heads)
        if arch == "llama" and ".k_proj." in tensor:
            packed = permute(packed, n_kv_heads)
        writer.add_tensor(names.get_name(tensor, (".weight", ".bias")), packed, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    out = Path(sys.argv[1])
    record_blocks(out)
    for name, kind in MODELS:
        record_model(name, kind, out)


MODELS = [("llama-gqa", T.F32), ("qwen3", T.F32), ("qwen2-bias", T.F16)]

if __name__ == "__main__":
    main()
