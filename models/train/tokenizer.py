"""Trains the tokenizer: byte-level BPE in the shape of Llama 3's.

    python tokenizer.py OUT

The special tokens, the rule that cuts text before merging, and the chat template have Llama 3's form; the merges are learned from
our own stories. It writes `tokenizer.json` and `tokenizer_config.json` and nothing else.
"""

import argparse
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from stories import conversation, story

VOCABULARY = 2048
CONTEXT = 1024
BEGIN_OF_TEXT = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
END_OF_TURN = "<|eot_id|>"
PADDING = "<|finetune_right_pad_id|>"

# In Llama 3's order, after the merges; the reserved ones are for whoever trains the model further.
SPECIAL = [
    BEGIN_OF_TEXT,
    END_OF_TEXT,
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    PADDING,
    "<|reserved_special_token_2|>",
    START_HEADER,
    END_HEADER,
    "<|eom_id|>",
    END_OF_TURN,
    *(f"<|reserved_special_token_{idx}|>" for idx in range(3, 9)),
]

# How Llama 3 cuts text: contractions, words with the space before them, up to three digits, punctuation, line breaks, spaces.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def text_to_learn_from(n_stories):
    """Stories, and the questions and answers of conversations; enough that every word of the lexicon is there many times."""
    for seed in range(n_stories):
        yield story(seed).text
        if seed % 2 == 0:
            for turn in conversation(seed):
                yield turn.content


def train_tokenizer(n_stories=40_000):
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text_to_learn_from(n_stories), trainer)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{BEGIN_OF_TEXT} $A",
                pair=f"{BEGIN_OF_TEXT} $A {BEGIN_OF_TEXT}:1 $B:1",
                special_tokens=[(BEGIN_OF_TEXT, tokenizer.token_to_id(BEGIN_OF_TEXT))],
            ),
        ]
    )
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise SystemExit(f"tokenizer: vocabulary: expected {VOCABULARY}, found {tokenizer.get_vocab_size()}")
    return tokenizer


def config(tokenizer):
    """What `tokenizer_config.json` says beside `tokenizer.json`."""
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {
        "added_tokens_decoder": {str(tokenizer.token_to_id(token)): {"content": token, **flags} for token in SPECIAL},
        "bos_token": BEGIN_OF_TEXT,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TEXT,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": CONTEXT,
        "pad_token": PADDING,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def write(tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    text = json.dumps(config(tokenizer), indent=2, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    write(train_tokenizer(), args.out)


if __name__ == "__main__":
    main()
