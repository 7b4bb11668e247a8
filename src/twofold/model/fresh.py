"""Backbones with fresh weights, and their initialisation."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from twofold.encoders.vectors import Vectors
from twofold.identifiers.identifiers import IdSpaces
from twofold.model.backbone import Backbone, Decoder, LlamaDecoder
from twofold.model.encoded import padded
from twofold.model.llama import Llama, LlamaConfig
from twofold.model.vocabulary import Vocabulary, longest_request
from twofold.records import InputError, Task

if TYPE_CHECKING:
    # Imported where they are used, as a decoder does not need them.
    from transformers import PreTrainedModel

SIZES = {
    "tiny": {"width": 64, "layers": 2, "heads": 2},
    "small": {"width": 128, "layers": 2, "heads": 2},
    "medium": {"width": 256, "layers": 2, "heads": 4},
    "base": {"width": 256, "layers": 4, "heads": 4},
}

_RESIDUAL_PROJECTIONS = ("o_proj", "down_proj")
"""The last layers of Llama's attention and feed-forward: their output is added to the residual
stream."""
_SCALE = 20.0
"""The initial scores of a model that is initialised from texts are cosines times this scale, the
usual one in contrastive training of sentence encoders.
"""


def is_fresh(name: str) -> bool:
    """Whether the backbone of this name is randomly initialised."""
    return name.partition(":")[0] in ("decoder", "t5", "sasrec")


def fresh_backbone(name: str, vocabulary: Vocabulary, dropout: float, seed: int) -> Backbone:
    """A backbone with random weights: `decoder:SIZE`, `t5:SIZE` or `sasrec:SIZE`.

    Raises:
        InputError: no such size.
    """
    family, shape = name.partition(":")[0], _shape_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "t5":
            from twofold.model.t5 import EncoderDecoder

            return EncoderDecoder(_fresh_t5(vocabulary, dropout, **shape), vocabulary)
        if family == "sasrec":
            return Decoder(_fresh_sasrec(vocabulary, dropout, **shape), vocabulary)
        return LlamaDecoder(_fresh_llama(vocabulary, dropout, **shape), vocabulary)


def width_of(name: str) -> int:
    """The width of the backbone of this name, whose weights are random at first."""
    return _shape_of(name)["width"]


def _shape_of(name: str) -> dict[str, int]:
    _, _, size = name.partition(":")
    if (size or "small") not in SIZES:
        raise InputError(f"backbone '{name}': no size '{size}'; choose one of {', '.join(SIZES)}")
    return SIZES[size or "small"]


def start_from_vectors(
    backbone: Backbone, spaces: IdSpaces, items: Vectors, query_map: Vectors | None = None
) -> None:
    """Initialise a backbone so that it scores items by the products of given vectors, times
    `_SCALE`.

    A code's embedding is initialised with the mean, over its items, of the residuals after the
    levels before. The untrained model then ranks items for a history by their similarity to its
    last item.

    Args:
        backbone: changed in place.
        spaces: the codes of the items.
        items: vectors of the items, (N, D), D at most the backbone's width.
        query_map: the map of a query's vector to theirs, (D, E); None leaves the backbone's own.
    """
    rows = backbone.model.get_output_embeddings().weight[backbone.code_slice]
    scale = np.float32(_SCALE / rows.shape[1] ** 0.5)
    with torch.no_grad():
        rows[:, : items.shape[1]] += torch.from_numpy(_code_vectors(spaces, items) * scale)
        if query_map is not None:
            assert backbone.query_map is not None
            backbone.query_map.weight.zero_()
            backbone.query_map.weight[: len(query_map)] = torch.from_numpy(query_map * scale)


def _code_vectors(spaces: IdSpaces, items: Vectors) -> Vectors:
    """A vector for each code, (codes, E); an item's vector is about the sum of its codes'."""
    vectors = np.zeros((spaces.size, items.shape[1]), np.float32)
    tasks: tuple[Task, ...] = ("recommendation", "search")
    for task in tasks:
        residuals = items
        for level, number in enumerate(spaces.codebooks_of(task)):
            codes, table = spaces.of(task).codes[:, level], vectors[spaces.codebooks[number]]
            table[:] = 0
            np.add.at(table, codes, residuals)
            table /= np.maximum(np.bincount(codes, minlength=len(table)), 1)[:, None]
            residuals = residuals - table[codes]
    return vectors


def zero_init_residuals(backbone: Backbone) -> None:
    """Zero-initialise the output projections of a fresh decoder's blocks, so that they add nothing.

    The query's vector then reaches the output embeddings unchanged. It is never done for a
    checkpoint, whose learned function depends on these weights.
    """
    with torch.no_grad():
        for name, module in backbone.model.named_modules():
            if name.endswith(_RESIDUAL_PROJECTIONS):
                module.weight.zero_()


def _positions(vocabulary: Vocabulary) -> int:
    """The number of positions of a fresh model: the length of the longest request, padded."""
    return padded(
        longest_request(vocabulary.spaces, vocabulary.max_history, vocabulary.max_query_tokens)
    )


def _fresh_llama(
    vocabulary: Vocabulary, dropout: float, width: int, layers: int, heads: int
) -> Llama:
    config = LlamaConfig(
        vocab_size=vocabulary.size,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=_positions(vocabulary),
        pad_token_id=vocabulary.pad,
    )
    return Llama.fresh(config, dropout)


def _fresh_sasrec(
    vocabulary: Vocabulary, dropout: float, width: int, layers: int, heads: int
) -> "PreTrainedModel":
    """SASRec (Kang and McAuley, ICDM 2018) is GPT-2 with a narrow feed-forward layer and ReLU.

    It has learned positions, pre-layer normalisation, dropout everywhere, and tied item embeddings.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary.size,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            n_inner=width,
            activation_function="relu",
            n_positions=_positions(vocabulary),
            embd_pdrop=dropout,
            resid_pdrop=dropout,
            attn_pdrop=dropout,
            pad_token_id=vocabulary.pad,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def _fresh_t5(
    vocabulary: Vocabulary, dropout: float, width: int, layers: int, heads: int
) -> "PreTrainedModel":
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=vocabulary.size,
            d_model=width,
            d_kv=width // heads,
            d_ff=4 * width,
            num_layers=layers,
            num_heads=heads,
            dropout_rate=dropout,
            pad_token_id=vocabulary.pad,
            decoder_start_token_id=vocabulary.pad,
        )
    )
