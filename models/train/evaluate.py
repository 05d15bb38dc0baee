"""Measures a trained model on held-out prompts and prints the table that the model card quotes: python evaluate.py ../stories

Seeds are from `HELD_OUT` on, which training never sees. Generation is greedy, in float32, by transformers. It measures form and
facts that a program can check; whether the stories are good, readers must say.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from data import NOT_LEARNED, Encoder, batches, held_out_documents
from stories import HELD_OUT, Turn, request, story
from stories.characters import ALL_NAMES, is_introduced
from train import sum_of_losses

N_PROMPTS = 200
MAX_NEW_TOKENS = 300
A_STORY = 40  # words: with fewer, an end is no end of a story
ROWS = 25  # generated at once
FIRST_SENTENCE = re.compile(r"[^.!?]*[.!?]")
CAPITALISED = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")


class Model:
    def __init__(self, folder):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.encoder = Encoder(folder / "tokenizer.json")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(self.device).eval()

    def continuations(self, prompts):
        """Greedy continuations of lists of token ids, as (text, whether it ended by itself)."""
        results = [None] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda idx: len(prompts[idx]))
        ends, padding = self.model.generation_config.eos_token_id, self.model.generation_config.pad_token_id
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            longest = max(len(prompts[idx]) for idx in rows)
            ids = torch.tensor([[padding] * (longest - len(prompts[idx])) + prompts[idx] for idx in rows], device=self.device)
            output = self.model.generate(
                ids,
                attention_mask=(ids != padding).long(),
                do_sample=False,
                max_new_tokens=MAX_NEW_TOKENS,
            )
            for idx, row in zip(rows, output[:, longest:].tolist()):
                stop = next((at for at, token in enumerate(row) if token in ends), None)
                text = self.tokenizer.decode(row[:stop], skip_special_tokens=True)
                results[idx] = (text, stop is not None)
        return results

    def chat_prompt(self, turns):
        header = self.encoder.chat([Turn("assistant", "")]).ids[1:-1]
        return self.encoder.chat(turns).ids + header

    @torch.no_grad()
    def held_out_loss(self, n):
        total, n_learned = 0.0, 0
        for ids, labels in batches(held_out_documents(self.encoder, n), self.model.generation_config.pad_token_id):
            total += sum_of_losses(self.model, ids.to(self.device), labels.to(self.device)).item()
            n_learned += int((labels[:, 1:] != NOT_LEARNED).sum())
        return total / n_learned


def known_words():
    """The words that stories write with a capital inside of a sentence, names among them."""
    return {word for seed in range(3000) for word in CAPITALISED.findall(story(seed).text)} | set(ALL_NAMES)


def names_are_straight(text, known):
    """Every name is introduced at its first mention, and nobody has a name that there is not."""
    names = {name for name in ALL_NAMES if re.search(rf"\b{name}\b", text)}
    return all(is_introduced(text, name) for name in names) and all(word in known for word in CAPITALISED.findall(text))


def repeated_six_grams(text):
    """The number of six-word sequences that the text has had before, and of all."""
    words = text.lower().split()
    grams = Counter(tuple(words[idx : idx + 6]) for idx in range(len(words) - 5))
    return sum(count - 1 for count in grams.values()), sum(grams.values())


def is_right(answer, question, told):
    """The words that make the answer right are in it, and no character who does not belong there."""
    if question.key.lower() not in answer.lower():
        return False
    cast = {character.name for character in told.teller.casting.taken if character.name}
    strangers = [name for name in ALL_NAMES if name not in cast and re.search(rf"\b{name}\b", answer)]
    others = [name for name in cast if name in answer and name not in question.answer and name not in question.text]
    return not strangers and not others


def share(parts, whole):
    return f"{100 * parts / whole:.1f} %"


def stories_from(model, prompts, starts):
    """Rows of the table on stories: the prompts as token ids, and the text that belongs to the story already."""
    results = model.continuations(prompts)
    known = known_words()
    texts = [start + text for start, (text, _) in zip(starts, results)]
    n_ended = sum(ended and len(text.split()) >= A_STORY for text, (_, ended) in zip(texts, results))
    repeated, grams = (sum(counts) for counts in zip(*map(repeated_six_grams, texts)))
    return {
        f"end by themselves within {MAX_NEW_TOKENS} tokens": share(n_ended, len(results)),
        "introduce every name that they use": share(sum(names_are_straight(text, known) for text in texts), len(texts)),
        "repeated 6-grams": share(repeated, max(grams, 1)),
    }, texts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=N_PROMPTS)
    parser.add_argument("--show", type=int, default=0, help="also print so many stories and wrong answers")
    args = parser.parse_args()

    torch.manual_seed(0)
    model = Model(args.folder)
    seeds = [HELD_OUT + 1_000_000 + idx for idx in range(args.prompts)]
    told = [story(seed) for seed in seeds]
    table = [("held-out loss (cross-entropy per learned token)", f"{model.held_out_loss(400):.4f}")]

    openings = [FIRST_SENTENCE.match(one.text).group() for one in told]
    plain, texts = stories_from(model, [model.encoder.plain(opening).ids[:-1] for opening in openings], openings)
    table += [(f"stories from a first sentence: {name}", value) for name, value in plain.items()]

    requests = [request(one, one.teller.rng) for one in told]
    asked, _ = stories_from(model, [model.chat_prompt([Turn("user", words)]) for words in requests], [""] * len(told))
    table += [(f"stories on request: {name}", value) for name, value in asked.items()]

    questions = [(one, words, question) for one, words in zip(told, requests) for question in one.questions]
    prompts = [
        model.chat_prompt([Turn("user", words), Turn("assistant", one.text), Turn("user", question.text)])
        for one, words, question in questions
    ]
    answers = [text for text, _ in model.continuations(prompts)]
    right = [is_right(answer, question, one) for answer, (one, _, question) in zip(answers, questions)]
    table.append((f"right answers to {len(right)} questions about a story", share(sum(right), len(right))))
    for kind in sorted({question.kind for _, _, question in questions}):
        of_kind = [is_it for is_it, (_, _, question) in zip(right, questions) if question.kind == kind]
        table.append((f"right answers, {kind} ({len(of_kind)})", share(sum(of_kind), len(of_kind))))

    print(f"| Over {args.prompts} held-out prompts, greedy | |\n|---|---|")
    for name, value in table:
        print(f"| {name} | {value} |")
    for text in texts[: args.show]:
        print(f"\n--- story\n{text}")
    wrong = [(answer, question) for answer, is_it, (_, _, question) in zip(answers, right, questions) if not is_it]
    for answer, question in wrong[: args.show]:
        print(f"\n--- {question.text}\nexpected: {question.answer}\nfound:    {answer}")


if __name__ == "__main__":
    main()
