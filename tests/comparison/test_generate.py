"""Beam search and transformers' `generate` with `prefix_allowed_tokens_fn` find the same items."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from twofold.identifiers.identifiers import Identifiers, shared
from twofold.identifiers.trie import build_trie
from twofold.model.backbone import Backbone, Decoder
from twofold.model.decoding import steps_of
from twofold.model.t5 import EncoderDecoder
from twofold.model.vocabulary import Vocabulary, fresh_vocabulary, train_tokenizer
from twofold.records import Ints
from twofold.retrieval.beam_search import Scores, beam_search

ITEMS, BEAMS, LEVELS, CODES = 60, 9, 3, 6


def _vocabulary() -> Vocabulary:
    chosen = np.random.default_rng(0).permutation(CODES**LEVELS)[:ITEMS]
    codes = np.stack(np.unravel_index(chosen, (CODES,) * LEVELS), axis=1)
    spaces = shared(Identifiers("semantic", codes, (CODES,) * LEVELS))
    tokenizer = train_tokenizer(["a dark western film"] * 3, 300)
    return fresh_vocabulary(tokenizer, spaces, max_history=5, max_query_tokens=4)


def _backbone(family: str, vocabulary: Vocabulary) -> Backbone:
    torch.manual_seed(0)
    shape = {"vocab_size": vocabulary.size, "pad_token_id": vocabulary.pad, "eos_token_id": None}
    if family == "t5":
        config = T5Config(
            d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, tie_word_embeddings=False,
            decoder_start_token_id=vocabulary.pad, **shape,
        )  # fmt: skip
        return EncoderDecoder(T5ForConditionalGeneration(config), vocabulary).eval()
    llama = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        bos_token_id=None, **shape,
    )  # fmt: skip
    return Decoder(LlamaForCausalLM(llama), vocabulary).eval()


def _generated(backbone: Backbone, vocabulary: Vocabulary, tokens: torch.Tensor) -> Ints:
    """Items of each request by `generate`, (B, BEAMS)."""
    tokens_of_items = vocabulary.spaces.search.codes + vocabulary.code_tokens("search")
    item = {tuple(row): n for n, row in enumerate(tokens_of_items.tolist())}
    allowed: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for row in item:
        for level in range(LEVELS):
            allowed[row[:level]].add(row[level])
    before = 1 if isinstance(backbone, EncoderDecoder) else tokens.shape[1]
    sequences = backbone.model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        num_beams=BEAMS,
        num_return_sequences=BEAMS,
        max_new_tokens=LEVELS,
        do_sample=False,
        prefix_allowed_tokens_fn=lambda _, ids: sorted(allowed[tuple(ids[before:].tolist())]),
    )
    items = [item[tuple(row)] for row in sequences[:, -LEVELS:].tolist()]
    return np.array(items).reshape(len(tokens), BEAMS)


@pytest.mark.parametrize("family", ["t5", "decoder"])
def test_generate_finds_the_same_items_in_the_same_order(family: str) -> None:
    vocabulary = _vocabulary()
    backbone = _backbone(family, vocabulary)
    with torch.no_grad():
        for weights in backbone.parameters():
            if weights.ndim > 1:
                weights.mul_(3)  # fresh weights hardly distinguish codes
    nothing = np.zeros(0, np.int64)
    queries = ["dark film", "a western", "film dark"]
    batch = vocabulary.collate([vocabulary.encode_request(nothing, q) for q in queries])
    assert len(set(batch.lengths.tolist())) == 1, "without padding, which the two treat differently"
    codebooks = [vocabulary.spaces.codebooks[n] for n in vocabulary.spaces.codebooks_of("search")]
    rows = backbone.model.get_output_embeddings().weight

    with torch.inference_mode():
        steps = steps_of(backbone, batch, LEVELS - 1, BEAMS)

        def expand(level: int, codes: Ints, parents: Ints) -> Scores:
            """With a softmax over the whole vocabulary, as `generate` has it."""
            if level == 0:
                states = steps.first()[:, None]
            else:
                tokens = torch.from_numpy(codes + vocabulary.code_tokens("search")[level - 1])
                states = steps.next(tokens, torch.from_numpy(parents))
            start, codebook = vocabulary.code_start, codebooks[level]
            log_p = torch.log_softmax(states @ rows.T, dim=-1)
            own: Scores = log_p[..., codebook.start + start : codebook.stop + start].numpy()
            return own

        trie = build_trie(vocabulary.spaces.search)
        ours = beam_search(
            expand, trie, trie.counts(), [nothing] * len(queries), beams=BEAMS, k=BEAMS,
            tie_rank=np.arange(ITEMS), normalised=True,
        )  # fmt: skip
        theirs = _generated(backbone, vocabulary, batch.tokens)
    assert ours.items.tolist() == theirs.tolist()
