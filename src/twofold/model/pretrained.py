"""Backbones from a pretrained checkpoint, and the requirements for a checkpoint.

A checkpoint is refused if its states or logits differ between training and retrieval, since its
answers would then be wrong without an error.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from twofold.encoders.hub import is_unreachable
from twofold.encoders.vectors import TextEncoder
from twofold.identifiers.identifiers import IdSpaces
from twofold.model.backbone import Backbone
from twofold.model.checkpoint import class_of
from twofold.model.decoding import steps_of
from twofold.model.encoded import Batch
from twofold.model.t5 import EncoderDecoder
from twofold.model.vocabulary import Vocabulary, longest_request
from twofold.records import InputError, Ints
from twofold.training_examples import Example


def pretrained_backbone(
    name: str,
    spaces: IdSpaces,
    max_history: int,
    max_query_tokens: int,
    seed: int,
    encoder: TextEncoder | None = None,
    reads_time: bool = False,
) -> tuple[Backbone, Vocabulary]:
    """A checkpoint by name or folder, and its vocabulary with the special tokens and codes added.

    Raises:
        InputError: the checkpoint can neither be found nor downloaded, or is not supported.
    """
    try:
        cached = not Path(name).is_dir() and is_unreachable(name)
        config = AutoConfig.from_pretrained(name, local_files_only=cached)
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=cached)
        family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = family.from_pretrained(name, dtype=torch.float32, local_files_only=cached)
    except (OSError, ValueError) as error:
        raise InputError(
            f"backbone '{name}': not a folder with a checkpoint, and it could not be downloaded; "
            f"download it on a machine with network access (hf download {name}) and "
            f"give its folder, or use decoder:small ({str(error).splitlines()[0]})"
        ) from error
    _require_fit(name, config, tokenizer, longest_request(spaces, max_history, max_query_tokens))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    text_size = max(model.get_input_embeddings().num_embeddings, len(tokenizer))
    vocabulary = Vocabulary(
        tokenizer=tokenizer.backend_tokenizer,
        text_size=text_size,
        pad=pad,
        spaces=spaces,
        max_history=max_history,
        max_query_tokens=max_query_tokens,
        encoder=encoder,
        reads_time=reads_time,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.resize_token_embeddings(vocabulary.size, mean_resizing=False)
        backbone = class_of(config)(model, vocabulary)
    _require_plain_scores(name, backbone)
    return backbone, vocabulary


def _require_fit(name: str, config: Any, tokenizer: Any, tokens: int) -> None:
    """Raise InputError if the checkpoint cannot read the longest request."""
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise InputError(
            f"backbone '{name}': its tokenizer {type(tokenizer).__name__} has no fast version; "
            f"use a checkpoint with a tokenizer.json"
        )
    positions = getattr(config, "max_position_embeddings", None)
    if not config.is_encoder_decoder and positions is not None and positions < tokens:
        raise InputError(
            f"backbone '{name}': reads {positions} tokens, a request may hold {tokens}; "
            f"lower max_history or max_query_tokens (--set max_history=N)"
        )


def _require_plain_scores(name: str, backbone: Backbone) -> None:
    """Raise InputError if the model's logits are not `states @ output_embeddings.T`.

    Some model families scale or cap their logits, or add a bias: with the same weights,
    transformers would compute other scores than this package.
    """
    model, code = backbone.model.eval(), torch.tensor([[backbone.code_slice.start]])
    with torch.inference_mode():
        inputs = {"input_ids": code}
        if isinstance(backbone, EncoderDecoder):
            inputs["decoder_input_ids"] = torch.tensor([[model.config.decoder_start_token_id]])
        theirs = model(**inputs).logits[0, -1, backbone.code_slice]
        ours = (backbone.states(_one_token(backbone, code)) @ backbone.output_embeddings().T)[0]
    if not torch.allclose(ours, theirs.float(), rtol=1e-3, atol=1e-3):
        raise InputError(
            f"backbone '{name}': {type(model).__name__} changes its logits after the output "
            f"embeddings; use a Llama, Qwen, GPT-2 or T5 checkpoint"
        )


def _one_token(backbone: Backbone, token: torch.Tensor) -> Batch:
    """One request of one token, (1, 1), with one target."""
    zero, one = torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.long)
    vector_width = backbone.query_map.in_features if backbone.query_map else 0
    return Batch(
        tokens=token,
        lengths=one,
        token_indices=zero,
        context_rows=zero,
        context_positions=zero,
        context_codebooks=zero,
        context_items=zero,
        time_buckets=zero,
        target_contexts=zero,
        targets=zero,
        weights=one.float(),
        query_vectors=torch.zeros(1, vector_width),
        matches=torch.zeros(1, 0),
    )


def require_decoding_steps(name: str, backbone: Backbone, vocabulary: Vocabulary) -> None:
    """Raise InputError if the checkpoint cannot decode hypotheses side by side.

    Some model families have a sliding attention window, or compute positions from the place in the
    sequence: the states of the decoding steps then differ from those in training.
    """
    backbone.eval()
    items = np.unique(np.linspace(0, len(vocabulary.spaces.recommendation) - 1, 3).astype(np.int64))
    try:
        with torch.inference_mode():
            trained = _states_in_training(backbone, vocabulary, items)
            decoded = _states_in_decoding(backbone, vocabulary, items)
        tolerance = 1e-3 * float(trained.abs().max())
        alike = torch.allclose(decoded, trained, atol=tolerance)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise _no_steps(name, backbone) from error
    if not alike:
        raise _no_steps(name, backbone)


def _states_in_training(backbone: Backbone, vocabulary: Vocabulary, items: Ints) -> torch.Tensor:
    """The states that generate the codes of each of the items, (items, levels, D)."""
    history = _longest_history(vocabulary)
    visible = np.array([len(history)])
    examples = [
        Example(history=history, query=None, targets=items[n : n + 1], visible=visible)
        for n in range(len(items))
    ]
    batches = [vocabulary.collate(vocabulary.encode(example)) for example in examples]
    return torch.stack([backbone.states(batch) for batch in batches])


def _states_in_decoding(backbone: Backbone, vocabulary: Vocabulary, items: Ints) -> torch.Tensor:
    """The states that generate the codes of each of the items, (items, levels, D), if the items are
    decoded as hypotheses of one request.
    """
    spaces = vocabulary.spaces.recommendation
    codes = torch.from_numpy(spaces.codes[items] + vocabulary.code_tokens("recommendation"))
    batch = vocabulary.collate([vocabulary.encode_request(_longest_history(vocabulary), None)])
    steps = steps_of(backbone, batch, spaces.levels - 1, len(items))
    states = [steps.first().expand(len(items), -1)]
    columns = torch.arange(len(items))
    for level in range(spaces.levels - 1):
        parents = columns if level else torch.zeros_like(columns)
        states.append(steps.next(codes[None, :, level], parents[None])[0])
    return torch.stack(states, dim=1)


def _longest_history(vocabulary: Vocabulary) -> Ints:
    return np.arange(vocabulary.max_history) % len(vocabulary.spaces.recommendation)


def _no_steps(name: str, backbone: Backbone) -> InputError:
    return InputError(
        f"backbone '{name}': {type(backbone.model).__name__} cannot decode semantic IDs side by "
        f"side; use a Llama, Qwen, GPT-2 or T5 checkpoint, or atomic identifiers"
    )
