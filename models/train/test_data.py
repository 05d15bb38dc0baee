"""Checks of the tokenizer and of the training documents: python test_data.py

They hold our own writing of conversations to the chat template that the model ships with. They train a small tokenizer and no model.
"""

import tempfile
import unittest
from pathlib import Path

import torch
from transformers import AutoTokenizer

import curve
import tokenizer
from data import DOCUMENTS_PER_STEP, NOT_LEARNED, TOKENS_PER_BATCH, Encoder, Steps, batches
from stories import Turn, conversation, story


class Documents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        path = Path(cls.folder.name)
        tokenizer.write(tokenizer.train_tokenizer(n_stories=1500), path)
        cls.path = path / "tokenizer.json"
        cls.encoder = Encoder(cls.path)
        cls.reference = AutoTokenizer.from_pretrained(path)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_special_tokens_come_after_the_merges(self):
        ids = [self.reference.convert_tokens_to_ids(token) for token in tokenizer.SPECIAL]
        self.assertEqual(ids, list(range(tokenizer.VOCABULARY - len(tokenizer.SPECIAL), tokenizer.VOCABULARY)))

    def test_any_text_comes_back(self):
        for text in (story(3).text, 'A fox…\n\n  ünï, "🦊"\t12345', "I'll don't we've"):
            self.assertEqual(self.reference.decode(self.reference(text).input_ids, skip_special_tokens=True), text)

    def test_a_plain_document_is_what_transformers_reads(self):
        text = story(5).text
        document = self.encoder.plain(text)
        self.assertEqual(document.ids[:-1], self.reference(text).input_ids)
        self.assertEqual(document.ids[-1], self.reference.eos_token_id)

    def test_a_chat_is_what_the_template_writes(self):
        for seed in range(40):
            turns = conversation(seed)
            messages = [{"role": turn.role, "content": turn.content} for turn in turns]
            text = self.reference.apply_chat_template(messages, tokenize=False)
            self.assertEqual(self.encoder.chat(turns).ids, self.reference(text, add_special_tokens=False).input_ids)

    def test_a_prompt_ends_where_the_assistant_begins(self):
        text = self.reference.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
        whole = self.encoder.chat([Turn("user", "Hi"), Turn("assistant", "Yes")])
        prompt = self.reference(text, add_special_tokens=False).input_ids
        self.assertEqual(whole.ids[: len(prompt)], prompt)
        self.assertEqual(whole.learned, [False] * len(prompt) + [True] * (len(whole.ids) - len(prompt)))

    def test_every_document_fits_into_the_context(self):
        self.assertLessEqual(max(len(self.encoder.document(seed).ids) for seed in range(400)), tokenizer.CONTEXT)

    def test_batches_hold_every_document_once(self):
        documents = [self.encoder.document(seed) for seed in range(DOCUMENTS_PER_STEP)]
        made = list(batches(documents, padding=0))
        self.assertEqual(sum(len(ids) for ids, _ in made), len(documents))
        n_learned = sum(sum(document.learned) for document in documents)
        self.assertEqual(sum(int((labels != NOT_LEARNED).sum()) for _, labels in made), n_learned)
        self.assertLessEqual(max(ids.numel() for ids, _ in made if len(ids) > 1), TOKENS_PER_BATCH)

    def test_going_on_at_a_step_gives_the_same_documents(self):
        whole = dict(iter(Steps(self.path, 0, 3, 0)))
        later = dict(iter(Steps(self.path, 2, 3, 0)))
        self.assertEqual(list(later), [2])
        for (ids, labels), (other_ids, other_labels) in zip(whole[2], later[2], strict=True):
            self.assertTrue(torch.equal(ids, other_ids) and torch.equal(labels, other_labels))


class Curve(unittest.TestCase):
    def test_draws_both_lines_inside_of_the_picture(self):
        picture = curve.draw([(1, 7.0), (50, 2.0), (100, 1.0)], [(50, 2.1), (100, 1.1)], 100)
        points = [point for line in picture.split('points="')[1:] for point in line.split('"')[0].split()]
        self.assertEqual(len(points), 5)
        for point in points:
            x, y = map(float, point.split(","))
            self.assertTrue(0 <= x <= curve.WIDTH and 0 <= y <= curve.HEIGHT, point)


if __name__ == "__main__":
    unittest.main()
