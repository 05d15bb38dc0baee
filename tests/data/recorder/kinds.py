"""The table of tiny checkpoints: one `Kind` for each property of a configuration that a decoder can get wrong.

Configurations are written out as they would lie on the hub, in the old or the new spelling, and never pass through
transformers' own writer, which would normalise away what is being tested.
"""

from dataclasses import dataclass, field

BOS, EOS = 1, 2


@dataclass
class Kind:
    """One checkpoint and what is recorded of it."""

    name: str
    tests: str  # what a failure of this fixture points at
    config: dict  # config.json, verbatim
    storage: str = "float32"  # dtype of the stored matrices
    norm_storage: str | None = None  # dtype of the stored norm weights, where it differs
    prompts: dict = field(default_factory=lambda: {"reference": 44})  # file stem -> prompt length
    new_tokens: int = 16
    shards: int = 1
    header_offset: int | None = None  # rewrite the file so that the data starts at this offset modulo 8
    own_head: bool = False  # store lm_head.weight although config.json ties it
    generation_config: dict | None = None
    cache_matters: bool = False  # the continuation must differ from one that is computed afresh at each step
    ends_with_eos: bool = False  # the continuation must end with an EOS id of generation_config, not the first
    visible: dict = field(default_factory=dict)  # label -> config changes that must change the logits clearly


def config(architecture, model_type, **keys):
    """A config.json with everything that has no default; `keys` replace or add, a value of `...` removes."""
    base = {
        "architectures": [architecture],
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "hidden_act": "silu",
        "hidden_size": 24,
        "intermediate_size": 40,
        "max_position_embeddings": 256,
        "model_type": model_type,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "vocab_size": 97,
    }
    base.update(keys)
    return {key: value for key, value in base.items() if value is not ...}


def llama(**keys):
    return config("LlamaForCausalLM", "llama", **keys)


def mistral(**keys):
    return config("MistralForCausalLM", "mistral", **keys)


def qwen2(**keys):
    return config("Qwen2ForCausalLM", "qwen2", **keys)


def qwen3(**keys):
    return config("Qwen3ForCausalLM", "qwen3", **keys)


FIVE_PROMPTS = {"reference": 44, "reference-1": 1, "reference-2": 2, "reference-17": 17, "reference-64": 64}

ATTENTION = [
    Kind(
        "llama-mha",
        "multi-head attention, untied head, old spelling (rope_theta, rope_scaling null, torch_dtype)",
        llama(hidden_size=32, num_attention_heads=4, num_key_value_heads=4, intermediate_size=56, rope_theta=10000.0,
              rope_scaling=None, torch_dtype="float32", pretraining_tp=1, use_cache=True, attention_bias=False),
    ),
    Kind(
        "llama-gqa",
        "grouped-query attention, three layers, new spelling (rope_parameters, dtype), five prompt lengths from 1 on",
        llama(hidden_size=36, num_attention_heads=6, num_key_value_heads=2, num_hidden_layers=3, intermediate_size=48,
              rope_parameters={"rope_type": "default", "rope_theta": 500.0}, dtype="float32"),
        prompts=FIVE_PROMPTS,
        visible={"theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}},
    ),
    Kind("llama-mqa", "multi-query attention: one KV head for four",
         llama(hidden_size=32, num_attention_heads=4, rope_theta=10000.0)),
    Kind("llama-bias", "attention_bias (q, k, v, o) and mlp_bias (gate, up, down)",
         llama(attention_bias=True, mlp_bias=True, rope_theta=10000.0)),
    Kind("llama-head-dim", "head_dim given and different from hidden_size / num_attention_heads",
         llama(hidden_size=28, num_attention_heads=4, num_key_value_heads=2, head_dim=10, rope_theta=10000.0)),
    Kind(
        "llama-odd-sizes",
        "sizes that no vector width divides (30, 37, 101, head_dim 10), and an rms_norm_eps that matters",
        llama(hidden_size=30, num_attention_heads=3, num_key_value_heads=3, intermediate_size=37, vocab_size=101,
              rms_norm_eps=0.02, rope_theta=10000.0),
        visible={"eps": {"rms_norm_eps": 1e-6}},
    ),
    Kind(
        "llama-default-keys",
        "optional keys absent: KV heads, head_dim, eps, theta, tie flag, biases, dtype",
        llama(num_key_value_heads=..., rms_norm_eps=..., tie_word_embeddings=..., hidden_act=...),
    ),
    Kind("llama-long-prompt", "600 positions: crosses every attention chunk border at 256 and 512",
         llama(max_position_embeddings=1024, hidden_size=16, intermediate_size=24, vocab_size=89, rope_theta=10000.0),
         prompts={"reference": 600}),
]

TYING = [
    Kind("llama-tied", "tie_word_embeddings true, lm_head.weight absent",
         llama(tie_word_embeddings=True, rope_theta=10000.0)),
    Kind("llama-tied-own-head", "tie_word_embeddings true, but lm_head.weight is there and differs: the stored head is used",
         llama(tie_word_embeddings=True, rope_theta=10000.0), own_head=True),
]

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}

ROPE = [
    Kind("llama-rope-linear", 'linear scaling, spelled "type"',
         llama(rope_theta=10000.0, rope_scaling={"type": "linear", "factor": 2.5}, max_position_embeddings=32)),
    Kind(
        "llama-rope-dynamic",
        "dynamic NTK: a prompt beyond max_position_embeddings; one whose continuation crosses it; one that ends at it",
        llama(rope_theta=10000.0, rope_scaling={"type": "dynamic", "factor": 3.0}, max_position_embeddings=32),
        prompts={"reference": 52, "reference-crossing": 24, "reference-boundary": 32},
        new_tokens=20,
        cache_matters=True,  # cached keys keep the rotation that they were stored with
    ),
    Kind(
        "llama-rope-llama3",
        "llama3 scaling, old spelling, prompt beyond the original context",
        llama(hidden_size=32, rope_theta=500000.0, max_position_embeddings=512,
              rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                            "original_max_position_embeddings": 32}),
        prompts={"reference": 60},
    ),
    Kind(
        "llama-rope-llama3-new",
        "llama3 scaling, new spelling; rope_theta inside the dictionary wins over the one outside",
        llama(hidden_size=32, max_position_embeddings=512, rope_theta=100.0, dtype="float32",
              rope_parameters={"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 8.0,
                               "original_max_position_embeddings": 40, "rope_theta": 2000.0}),
        prompts={"reference": 60},
        visible={"theta": {"rope_parameters": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                                               "high_freq_factor": 8.0, "original_max_position_embeddings": 40,
                                               "rope_theta": 100.0}}},
    ),
    Kind("llama-rope-yarn", "yarn with the default attention factor, prompt beyond the original context",
         llama(hidden_size=32, rope_theta=10000.0, max_position_embeddings=128, rope_scaling=YARN),
         prompts={"reference": 60}),
    Kind(
        "llama-rope-yarn-mscale",
        "yarn with mscale and mscale_all_dim",
        llama(hidden_size=32, rope_theta=10000.0, max_position_embeddings=128,
              rope_scaling={**YARN, "mscale": 2.0, "mscale_all_dim": 0.5}),
        prompts={"reference": 60},
        visible={"mscale": {"rope_scaling": YARN}},
    ),
    Kind(
        "llama-rope-yarn-attention-factor",
        "yarn with a given attention_factor, new spelling",
        llama(hidden_size=32, max_position_embeddings=128,
              rope_parameters={**YARN, "rope_theta": 10000.0, "attention_factor": 1.4}),
        prompts={"reference": 60},
        visible={"attention factor": {"rope_parameters": {**YARN, "rope_theta": 10000.0}}},
    ),
    Kind(
        "llama-rope-yarn-no-truncate",
        "yarn with truncate false and given beta_fast, beta_slow",
        llama(hidden_size=40, rope_theta=1000.0, max_position_embeddings=128,
              rope_scaling={**YARN, "truncate": False, "beta_fast": 4, "beta_slow": 1.0}),
        prompts={"reference": 60},
        visible={
            "truncate": {"rope_scaling": {**YARN, "beta_fast": 4, "beta_slow": 1.0}},
            "beta_fast": {"rope_scaling": {**YARN, "truncate": False, "beta_slow": 1.0}},
        },
    ),
    Kind(
        "llama-rope-yarn-null-factor",
        "yarn with a null factor (max_position_embeddings / original) and the original context outside the dictionary",
        llama(hidden_size=32, rope_theta=10000.0, max_position_embeddings=160, original_max_position_embeddings=32,
              rope_scaling={"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 64}),
        prompts={"reference": 60},
        visible={"original": {"original_max_position_embeddings": 64}},
    ),
    Kind("qwen2-rope-yarn", 'yarn as in Qwen2.5\'s model cards: "type", integer original context',
         qwen2(hidden_size=32, rope_theta=1000000.0, max_position_embeddings=32,
               rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}),
         prompts={"reference": 60}),
]

MISTRAL = [
    Kind("mistral-sliding-window", "sliding window of 12, shorter than the prompts; five prompt lengths",
         mistral(num_attention_heads=4, num_key_value_heads=2, sliding_window=12, rope_theta=10000.0),
         prompts=FIVE_PROMPTS, visible={"window": {"sliding_window": None}, "window by one": {"sliding_window": 13}}),
    Kind("mistral-sliding-window-long", "sliding window of 130 over 300 positions: spans attention chunks",
         mistral(sliding_window=130, rope_theta=10000.0, max_position_embeddings=512, hidden_size=16,
                 intermediate_size=24, vocab_size=89),
         prompts={"reference": 300}, visible={"window": {"sliding_window": None}}),
    Kind("mistral-head-dim", "head_dim given and hidden_size not a multiple of the heads; sliding_window null",
         mistral(hidden_size=26, num_attention_heads=4, num_key_value_heads=2, head_dim=8, sliding_window=None,
                 rope_theta=1000000.0)),
]

QWEN = [
    Kind("qwen2-bias", "bias on q, k, v and not on o; tied; a sliding_window that is switched off",
         qwen2(tie_word_embeddings=True, use_sliding_window=False, sliding_window=8, max_window_layers=1,
               rope_theta=1000000.0, rms_norm_eps=1e-6)),
    Kind("qwen2-sliding-window", "use_sliding_window with max_window_layers: layers 1 and 2 of three slide",
         qwen2(num_hidden_layers=3, use_sliding_window=True, sliding_window=11, max_window_layers=1,
               rope_theta=10000.0),
         visible={"off": {"use_sliding_window": False}, "all": {"max_window_layers": 0},
                  "fewer": {"max_window_layers": 2}}),
    Kind("qwen2-layer-types", "layer_types given: it wins over max_window_layers",
         qwen2(num_hidden_layers=3, use_sliding_window=True, sliding_window=9, max_window_layers=3,
               layer_types=["sliding_attention", "full_attention", "sliding_attention"],
               rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, dtype="float32"),
         visible={"off": {"layer_types": None}}),
    Kind("qwen3", "q_norm and k_norm over head_dim before rope; head_dim given; no biases; five prompt lengths",
         qwen3(hidden_size=24, num_attention_heads=4, num_key_value_heads=2, head_dim=10, rope_theta=1000000.0,
               attention_bias=False),
         prompts=FIVE_PROMPTS),
    Kind("qwen3-attention-bias", "attention_bias (q, k, v, o) with q_norm and k_norm; sliding layers; new spelling",
         qwen3(head_dim=12, attention_bias=True, use_sliding_window=True, sliding_window=10, max_window_layers=1,
               rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, dtype="float32"),
         visible={"off": {"use_sliding_window": False}}),
    Kind("qwen3-default-head-dim", "head_dim absent: 128, whatever hidden_size and heads say; bfloat16",
         qwen3(rope_theta=1000000.0, torch_dtype="bfloat16"), storage="bfloat16"),
]

STORAGE = [
    Kind("llama-f16", "float16 storage, old spelling", llama(rope_theta=10000.0, torch_dtype="float16"),
         storage="float16"),
    Kind("llama-bf16", "bfloat16 storage, old spelling; odd widths",
         llama(hidden_size=30, num_attention_heads=3, num_key_value_heads=1, intermediate_size=37, rope_theta=10000.0,
               torch_dtype="bfloat16"),
         storage="bfloat16"),
    Kind("qwen2-bf16", "bfloat16 storage, biases too, new spelling; tied",
         qwen2(tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
               dtype="bfloat16"),
         storage="bfloat16"),
    Kind("qwen3-bf16", "bfloat16 storage, new spelling; q_norm and k_norm too",
         qwen3(head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, dtype="bfloat16"),
         storage="bfloat16"),
    Kind("llama-mixed-dtypes", "bfloat16 matrices and float32 norms in one file",
         llama(rope_theta=10000.0, torch_dtype="bfloat16"), storage="bfloat16", norm_storage="float32"),
    Kind("llama-sharded", "three shards with an index", llama(rope_theta=10000.0, torch_dtype="float32"), shards=3),
    Kind("llama-misaligned", "odd header length: every float32 tensor is misaligned by one byte",
         llama(rope_theta=10000.0, torch_dtype="float32"), header_offset=1),
    Kind("llama-misaligned-bf16", "odd header length: every bfloat16 tensor is misaligned",
         llama(rope_theta=10000.0, torch_dtype="bfloat16"), storage="bfloat16", header_offset=3),
    Kind(
        "llama-eos-list",
        "several eos ids in generation_config.json, another one in config.json; the continuation ends with one of them",
        llama(rope_theta=10000.0, tie_word_embeddings=True),
        generation_config={"bos_token_id": BOS, "eos_token_id": [31, 7, 58], "pad_token_id": 0},
        new_tokens=40,
        ends_with_eos=True,
    ),
]

KINDS = ATTENTION + TYING + ROPE + MISTRAL + QWEN + STORAGE

LARGE = {"hidden_size": 256, "num_hidden_layers": 4, "vocab_size": 1000, "num_attention_heads": 8,
         "num_key_value_heads": 2, "intermediate_size": 704, "max_position_embeddings": 512}

# Too big for the repository: for a run outside of it.
LARGER_KINDS = [
    Kind("large-llama-bf16", "larger: llama3 rope, GQA, bfloat16",
         llama(**LARGE, rope_theta=500000.0, torch_dtype="bfloat16",
               rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 128}),
         storage="bfloat16", prompts={"reference": 300}),
    Kind("large-llama-f16", "larger: tied, float16", llama(**LARGE, tie_word_embeddings=True, rope_theta=10000.0),
         storage="float16", prompts={"reference": 300}),
    Kind("large-mistral", "larger: sliding window 100",
         mistral(**LARGE, sliding_window=100, rope_theta=10000.0),
         prompts={"reference": 300}, visible={"window": {"sliding_window": None}}),
    Kind("large-qwen2", "larger: biases, tied",
         qwen2(**LARGE, tie_word_embeddings=True, rope_theta=1000000.0), prompts={"reference": 300}),
    Kind("large-qwen3-bf16", "larger: q_norm, k_norm, head_dim 64, bfloat16",
         qwen3(**LARGE, head_dim=64, rope_theta=1000000.0, torch_dtype="bfloat16"),
         storage="bfloat16", prompts={"reference": 300}),
]
