"""Tiny tokenizers with recorded encodings and decodings, and a tiny model that speaks through one of them.

The tokenizers are trained here on sentences written for this purpose; the records are what transformers makes of the
saved folder, so that tokenizer.json, tokenizer_config.json and their interplay are all behind them.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from . import checkpoints
from .kinds import Kind, llama

CORPUS = """The harbour was quiet in the morning, and the boats were resting on the still water.
A keeper climbed the stairs of the lighthouse and counted the steps, as she did every day.
There are one hundred and twelve steps, she said, and there will be one hundred and twelve tomorrow.
The wind came from the west; the waves were small, and the gulls were loud over the roofs.
In the evening the lamp was lit again, and the light went round and round over the sea.
When the fog is thick, the horn sounds three times: once for the land, twice for the water.
The fishermen know the sound, and they turn the boats towards the harbour before the tide is out.
Some of them don't hurry, because they've seen it all before; others won't wait and they're home first.
In 1987 the mast of the old ship broke, and in 2004 it was mended with timber from the northern forest.
What is the weather like? It's raining, it's always raining, but the rain is warm and the bread is fresh.
The naïve visitor at the café asked for a résumé of the story; the keeper smiled and told it from the start.
"""

TEXTS = [
    "",
    " ",
    "   ",
    "\n",
    "\n\n  \n",
    "\t\tindented\r\nlines\r\n",
    "The keeper counted the steps.",
    " The keeper",
    "  two leading spaces and two trailing  ",
    "a , b . c ! it 's , do n't",
    "They've said it's 1234567 steps, or 12 or 3.14.",
    "IT'S LOUD, THEY'RE HOME",
    "harbourlighthouse",
    "naïve café résumé",
    "e\u0301 against \u00e9: combining and composed; a\u0308\u0323 stacked",
    "你好，世界。灯塔",
    "こんにちは 안녕하세요",
    "Привет, мир! مرحبا שלום नमस्ते",
    "🙂 🌊🌊 👩‍👩‍👧 🇳🇴",
    "x🙂y",
    "tab\tnul\u0000bell\u0007end",
    "\u200bzero\u200dwidth\ufeff",
    "\u00a0no-break\u2003em space\u3000wide",
    "▁ the underline that stands for a space ▁▁",
    "<0x41> looks like a byte token",
    "https://example.org/a?b=c&d=%20#e",
    "def f(x):\n    return x ** 2  # power\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\U0001d518\U0001f9ff\U00010348",
]

SPECIAL_TEXTS = {
    "bpe": ["<|begin_of_text|>The sea<|eot_id|>", "a <|end_of_text|> b", "<think> the tide </think>", "<|eot_id", "x[MARK] y"],
    "spm": ["<s>The sea</s>", "a </s> b", "<s> <s>", "</s", "<unk> the"],
}

# Fixtures: name -> function(folder, seed_offset) -> what was measured


def byte_level_model(folder: Path, seed_offset: int) -> dict:
    """A Llama-3-like tokenizer and a model that uses it: prompt text in, exact text out."""
    tokenizer = byte_level_tokenizer()
    ids = {name: tokenizer.token_to_id(f"<|{name}|>") for name in ("begin_of_text", "end_of_text", "eot_id")}
    size = tokenizer.get_vocab_size()
    stops = [ids["end_of_text"], ids["eot_id"]]
    prompts = {
        "reference": "The keeper climbed the stairs of the lighthouse, and the boats towards the harbour; 1987 steps!",
        "reference-short": "The sea",
        "reference-unicode": "naïve 你好 🙂",
    }
    kind = Kind(
        "text-bpe", "text in, text out",
        llama(vocab_size=size + 7, bos_token_id=ids["begin_of_text"], eos_token_id=stops, tie_word_embeddings=True,
              rope_theta=10000.0, torch_dtype="float32"),
        prompts=dict.fromkeys(prompts, 0),
        new_tokens=24,
        generation_config={"bos_token_id": ids["begin_of_text"], "do_sample": True, "eos_token_id": stops,
                           "temperature": 0.6, "top_p": 0.9},
    )
    config = {
        "bos_token": "<|begin_of_text|>", "clean_up_tokenization_spaces": True, "eos_token": "<|eot_id|>",
        "model_input_names": ["input_ids", "attention_mask"], "model_max_length": 256,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }

    def add_tokenizer(target):
        save(target, tokenizer, config)

    def encode(_kind, stem, _length, _generator):
        return torch.tensor(load(folder).encode(prompts[stem]))

    def accept(_prompt, continuation):
        # The model has more rows than the tokenizer has tokens: such a row is never to be generated.
        checkpoints.reject_unless(continuation.max() < size, "a row beyond the tokenizer")

    measured = checkpoints.record(kind, folder, seed_offset, add_tokenizer, accept, encode)
    expected = expectations(folder, "bpe")
    expected["generations"] = [generation(folder, stem, text) for stem, text in prompts.items()]
    checkpoints.write_json(folder / "expected.json", expected)
    return measured


def generation(folder: Path, stem, prompt) -> dict:
    tensors = load_file(folder / f"{stem}.safetensors")
    new = tensors["greedy_ids"][len(tensors["input_ids"]) :].tolist()
    return {"prompt": prompt, "reference": f"{stem}.safetensors", "prompt_ids": tensors["input_ids"].tolist(),
            "generated_ids": new, "text": load(folder).decode(new, skip_special_tokens=True)}


def byte_level_with_eos(folder: Path, _seed_offset: int) -> dict:
    """The same tokenizer.json; add_bos_token and add_eos_token in tokenizer_config.json rebuild the post-processor."""
    return tokenizer_only(folder, "bpe", byte_level_tokenizer(), {
        "add_bos_token": False, "add_eos_token": True,
        "bos_token": {"__type": "AddedToken", "content": "<|begin_of_text|>", "lstrip": False, "normalized": False,
                      "rstrip": False, "single_word": False},
        "eos_token": {"__type": "AddedToken", "content": "<|eot_id|>", "lstrip": False, "normalized": False,
                      "rstrip": False, "single_word": False},
        "clean_up_tokenization_spaces": False, "tokenizer_class": "PreTrainedTokenizerFast",
    })


def sentencepiece_prepend(folder: Path, _seed_offset: int) -> dict:
    """As converted from Llama 2: Prepend and Replace normalisers, byte fallback, Strip in the decoder."""
    tokenizer = sentencepiece_tokenizer()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer_only(folder, "spm", tokenizer, SENTENCEPIECE_CONFIG)


def sentencepiece_metaspace(folder: Path, _seed_offset: int) -> dict:
    """As converted from Mistral: the Metaspace pre-tokenizer, prepending at the first piece only."""
    tokenizer = sentencepiece_tokenizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    return tokenizer_only(folder, "spm", tokenizer, SENTENCEPIECE_CONFIG)


FOLDERS = {
    "checkpoints/text-bpe": byte_level_model,
    "tokenizers/bpe-add-eos": byte_level_with_eos,
    "tokenizers/spm-prepend": sentencepiece_prepend,
    "tokenizers/spm-metaspace": sentencepiece_metaspace,
}

SENTENCEPIECE_CONFIG = {
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None,
    "clean_up_tokenization_spaces": False, "model_max_length": 1000000000000000019884624838656,
    "tokenizer_class": "PreTrainedTokenizerFast",
}

# Tokenizers


def byte_level_tokenizer() -> Tokenizer:
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=360, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    tokenizer.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    special = ["begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id"]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", normalized=False) for name in special])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False),
                          AddedToken("[MARK]", normalized=False, lstrip=True, rstrip=True)])
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1",
                                      special_tokens=[(bos, tokenizer.token_to_id(bos))]),
    ])
    return tokenizer


def sentencepiece_tokenizer() -> Tokenizer:
    """SentencePiece's layout: <unk> <s> </s>, 256 byte tokens, merged pieces, then single characters."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    learner.train_from_iterator(CORPUS.splitlines(), trainers.BpeTrainer(vocab_size=150, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    pieces = sorted(learned["vocab"], key=learned["vocab"].get)
    order = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    order += [piece for piece in pieces if len(piece) > 1] + [piece for piece in pieces if len(piece) == 1]
    tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(order)},
                                     merges=[tuple(merge) for merge in learned["merges"]],
                                     unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in order[:3]])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(content=" ", left=1, right=0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1",
                                                             special_tokens=[("<s>", 1)])
    return tokenizer


def save(folder: Path, tokenizer: Tokenizer, config: dict):
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    checkpoints.write_json(folder / "tokenizer_config.json", config)


def load(folder: Path):
    return AutoTokenizer.from_pretrained(folder)


def tokenizer_only(folder: Path, style, tokenizer, config) -> dict:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save(folder, tokenizer, config)
    checkpoints.write_json(folder / "expected.json", expectations(folder, style))
    return {}


# Records


def expectations(folder: Path, style) -> dict:
    tokenizer = load(folder)
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def encoding(text):
        ids = tokenizer.encode(text)
        plain = tokenizer.encode(text, add_special_tokens=False)
        # transformers must not have rebuilt the tokenizer from its class: tokenizer.json is the truth.
        assert plain == raw.encode(text, add_special_tokens=False).ids, text
        return {"text": text, "ids": ids, "ids_without_special": plain, **decoding(ids)}

    def decoding(ids):
        return {"decoded": tokenizer.decode(ids), "decoded_without_special": tokenizer.decode(ids, skip_special_tokens=True)}

    return {
        "vocab_size": len(tokenizer),
        "special_ids": sorted(tokenizer.all_special_ids),
        "bos_id": tokenizer.bos_token_id,
        "eos_id": tokenizer.eos_token_id,
        "encodings": [encoding(text) for text in TEXTS],
        "encodings_with_special_text": [encoding(text) for text in SPECIAL_TEXTS[style]],
        "decodings": [{"ids": ids, **decoding(ids)} for ids in id_lists(tokenizer)],
    }


def id_lists(tokenizer):
    """Sequences that no text encodes to: broken UTF-8 in every place, pieces of characters, specials in between."""

    def plain(text):
        return tokenizer.encode(text, add_special_tokens=False)

    emoji, han, word = plain("🙂")[-4:], plain("灯")[-3:], plain(" water")
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    return [
        emoji[:1], emoji[:2], emoji[:3], emoji[1:], emoji[:3] + word, emoji[:2] + emoji, han[:2] + han, han[1:] + han[:1],
        word + emoji[:1] + word + han[:2], emoji + han + emoji, emoji[::-1], [bos] + word + [eos], word + [eos] + word + [bos],
        [bos, bos], [eos], emoji[:2] + [eos] + emoji[2:], word + word, [bos] + word, list(range(0, len(tokenizer), 7)),
    ]
