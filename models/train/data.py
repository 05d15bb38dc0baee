"""Turns seeds into training documents: token ids, the marks of what is learned, batches of similar length.

A document stands alone in its row, padded at the end, so nothing attends across a document's boundary and no mask is needed beyond
the causal one; rows of similar length keep the padding near nothing. Step k's documents follow from k alone, so training can stop
and go on at any step. It trains nothing.
"""

import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from stories import HELD_OUT, conversation, story
from tokenizer import BEGIN_OF_TEXT, CONTEXT, END_HEADER, END_OF_TEXT, END_OF_TURN, START_HEADER

SHARE_OF_PLAIN_STORIES = 0.4  # the others are conversations
DOCUMENTS_PER_STEP = 24
TOKENS_PER_BATCH = 2048  # of one forward pass, padding included
NOT_LEARNED = -100  # what cross_entropy ignores


@dataclass
class Document:
    ids: list
    learned: list  # for each id, whether the model is to learn to write it


class Encoder:
    """Writes stories and conversations in tokens, the latter as the chat template would."""

    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(str(path))
        self.begin, self.end, self.start_header, self.end_header, self.end_of_turn = (
            self.tokenizer.token_to_id(token) for token in (BEGIN_OF_TEXT, END_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN)
        )

    def text(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def plain(self, text):
        ids = [self.begin, *self.text(text), self.end]
        return Document(ids, [False] + [True] * (len(ids) - 1))

    def chat(self, turns):
        """Learned is what the assistant writes, and where its turn ends: the model never has to write the user's turns."""
        document = Document([self.begin], [False])
        for turn in turns:
            header = [self.start_header, *self.text(turn.role), self.end_header, *self.text("\n\n")]
            content = [*self.text(turn.content), self.end_of_turn]
            document.ids += header + content
            document.learned += [False] * len(header) + [turn.role == "assistant"] * len(content)
        return document

    def document(self, seed):
        """The document of a seed, which fits into the context."""
        rng = random.Random(f"document {seed}")
        if rng.random() < SHARE_OF_PLAIN_STORIES:
            return self.plain(story(seed).text)
        turns = conversation(seed)
        document = self.chat(turns)
        while len(document.ids) > CONTEXT:
            turns = turns[:-2]
            document = self.chat(turns)
        return document


def batches(documents, padding):
    """Documents of similar length together, as (input_ids, labels), both int64 [rows, longest]."""
    rows = []
    for document in sorted(documents, key=lambda document: len(document.ids)):
        if rows and len(document.ids) * (len(rows) + 1) > TOKENS_PER_BATCH:
            yield _stacked(rows, padding)
            rows = []
        rows.append(document)
    yield _stacked(rows, padding)


def _stacked(rows, padding):
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), padding, dtype=torch.int64)
    labels = torch.full((len(rows), longest), NOT_LEARNED, dtype=torch.int64)
    for idx, row in enumerate(rows):
        ids[idx, : len(row.ids)] = torch.tensor(row.ids)
        labels[idx, : len(row.ids)] = torch.tensor([i if keep else NOT_LEARNED for i, keep in zip(row.ids, row.learned)])
    return ids, labels


class Steps(torch.utils.data.IterableDataset):
    """The batches of each training step from `first` on; made in a worker process while the model trains."""

    def __init__(self, tokenizer_path, first, last, padding):
        self.tokenizer_path, self.first, self.last, self.padding = tokenizer_path, first, last, padding

    def __iter__(self):
        torch.set_num_threads(1)
        encoder = Encoder(self.tokenizer_path)
        for step in range(self.first, self.last):
            seeds = range(step * DOCUMENTS_PER_STEP, (step + 1) * DOCUMENTS_PER_STEP)
            yield step, list(batches([encoder.document(seed) for seed in seeds], self.padding))


def held_out_documents(encoder, n):
    """Documents of seeds that no training step ever sees."""
    return [encoder.document(HELD_OUT + idx) for idx in range(n)]
