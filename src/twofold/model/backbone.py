"""Hugging Face models behind one question: the states that generate, and the rows of the codes.

Invariant: a backbone's own `model` stays an ordinary transformers model, so that its saved
weights load there as they are, and its logits at the code tokens are `states @ code_rows.T`.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.activations import NewGELUActivation
from transformers.utils.logging import disable_progress_bar

from twofold.encoders.encoders import TextEncoder, Vectors
from twofold.identifiers.identifiers import IdSpaces
from twofold.model.packing import PackedLinear, can_pack, pack_layers
from twofold.model.vocabulary import Batch, Vocabulary, padded
from twofold.records import InputError, Task

SIZES = {
    "tiny": {"width": 64, "layers": 2, "heads": 2},
    "small": {"width": 128, "layers": 2, "heads": 2},
    "medium": {"width": 256, "layers": 2, "heads": 4},
    "base": {"width": 256, "layers": 4, "heads": 4},
}

_QUERY_MAP = "query_map.safetensors"
_ADDS = ("o_proj", "down_proj")
"""What a block of Llama adds to the stream passes through these."""
_SHARPNESS = 20.0
"""Of scores over cosines: what contrastive training of sentence encoders uses."""


class Backbone(nn.Module):
    """A sequence model over the vocabulary.

    Attributes:
        model: the transformers model.
        code_slice: the token ids of the codes.
        query_map: brings a query's vector to the model's width, (E -> D); None without an encoder.
        contexts_per_sequence: 1 where one pass generates from a single state, None for any.
    """

    contexts_per_sequence: int | None = None

    def __init__(self, model: PreTrainedModel, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.model = model
        self.code_slice = slice(vocabulary.code_start, vocabulary.size)
        self.query_map: nn.Linear | None = None
        if vocabulary.encoder:
            width = model.get_input_embeddings().embedding_dim
            self.query_map = nn.Linear(vocabulary.vector_width, width, bias=False)
        self._outputs: dict[tuple[int, int], PackedLinear] = {}

    @abstractmethod
    def states(self, batch: Batch) -> torch.Tensor:
        """The states that generate, shape (C, D), float32."""

    def inputs(self, batch: Batch) -> torch.Tensor:
        """What the model reads, (B, L, D): tokens, and at a query's end its vector as well."""
        embedded: torch.Tensor = self.model.get_input_embeddings()(batch.tokens)
        if self.query_map is None:
            return embedded
        rows = torch.arange(len(embedded), device=embedded.device)
        vectors = self.query_map(batch.query_vectors).to(embedded.dtype)
        return embedded.index_put((rows, batch.lengths - 1), vectors, accumulate=True)

    def code_rows(self) -> torch.Tensor:
        """Output rows of the codes, shape (codes, D); a view, so gradients reach the weights."""
        rows: torch.Tensor = self.model.get_output_embeddings().weight
        return rows[self.code_slice].float()

    def logits(self, states: torch.Tensor, codes: slice) -> torch.Tensor:
        """Scores of some codes before normalisation, (..., D) -> (..., codes), float32."""
        packed = self._outputs.get((codes.start, codes.stop))
        return states @ self.code_rows()[codes].T if packed is None else packed(states)

    def pack(self, precision: str, codebooks: Iterable[slice]) -> None:
        """Lay the weights out for answering on a CPU; this backbone then only answers.

        Args:
            precision: of matrix products, as the model was trained; scores stay float32.
            codebooks: the codes of each level, which are scored together.
        """
        if not can_pack(self.code_rows().device):
            return
        product = torch.bfloat16 if precision == "bfloat16" else torch.float32
        pack_layers(self, product, keep=self.model.get_output_embeddings())
        self._pack_outputs(codebooks)

    def repack(self, codebooks: Iterable[slice]) -> None:
        """Lay the output rows out again after they changed, where they were."""
        if self._outputs:
            self._outputs.clear()
            self._pack_outputs(codebooks)

    @torch.no_grad()
    def _pack_outputs(self, codebooks: Iterable[slice]) -> None:
        rows = self.code_rows()
        for codebook in codebooks:
            packed = PackedLinear(rows[codebook], None, torch.float32)
            self._outputs[codebook.start, codebook.stop] = packed

    def code_tables(self) -> list[torch.Tensor]:
        """The rows of the codes that the model reads and those that it writes by, (codes, D);
        one where they are tied."""
        reads, writes = self.model.get_input_embeddings(), self.model.get_output_embeddings()
        tables = (reads,) if reads.weight is writes.weight else (reads, writes)
        return [table.weight[self.code_slice] for table in tables]

    @torch.no_grad()
    def append_rows(self, new: Sequence[torch.Tensor]) -> None:
        """Let further codes follow the last one, in place.

        Args:
            new: their rows, (M, D), in each of `code_tables`.
        """
        reads, writes = self.model.get_input_embeddings(), self.model.get_output_embeddings()
        tied = reads.weight is writes.weight
        for table, rows in zip((reads,) if tied else (reads, writes), new, strict=True):
            grown = torch.cat([table.weight, rows.to(table.weight)])
            table.weight = nn.Parameter(grown, requires_grad=False)
        if tied:
            writes.weight = reads.weight
        size = reads.weight.shape[0]
        self.code_slice = slice(self.code_slice.start, size)
        reads.num_embeddings = writes.out_features = self.model.config.vocab_size = size

    def save(self, folder: Path) -> None:
        """Write the folder that transformers loads as it is."""
        disable_progress_bar()
        self.model.save_pretrained(folder)
        if self.query_map is not None:
            save_file(self.query_map.state_dict(), folder / _QUERY_MAP)


class Decoder(Backbone):
    """A causal model: every position of one pass may generate."""

    def states(self, batch: Batch) -> torch.Tensor:
        # Padding stands on the right, where a causal mask hides it: no other mask is needed.
        hidden = self.model.base_model(inputs_embeds=self.inputs(batch), use_cache=False)
        states: torch.Tensor = hidden.last_hidden_state
        return states[batch.context_rows, batch.context_positions].float()


class EncoderDecoder(Backbone):
    """A T5-family model: the encoder reads the request, the decoder spells one identifier."""

    contexts_per_sequence = 1

    def __init__(self, model: PreTrainedModel, vocabulary: Vocabulary) -> None:
        super().__init__(model, vocabulary)
        for module in model.modules():
            # The same function in one pass over memory instead of eight.
            if isinstance(getattr(module, "act", None), NewGELUActivation):
                module.act = nn.GELU(approximate="tanh")

    def states(self, batch: Batch) -> torch.Tensor:
        encoded, mask = self.encoded(batch)
        steps = batch.context_positions - (batch.lengths - 1)[batch.context_rows]
        spelled = torch.arange(int(steps.max()), device=steps.device)
        places = (batch.lengths[:, None] + spelled).clamp(max=batch.tokens.shape[1] - 1)
        start = self.model.config.decoder_start_token_id
        first = torch.full_like(batch.tokens[:, :1], start)
        hidden = self.model.get_decoder()(
            input_ids=torch.cat([first, batch.tokens.gather(1, places)], dim=1),
            encoder_hidden_states=encoded,
            encoder_attention_mask=mask,
            use_cache=False,
        )
        states: torch.Tensor = hidden.last_hidden_state[batch.context_rows, steps].float()
        return states * self.output_scale

    def encoded(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder made of the requests, (B, S, D), and which of it is one, (B, S)."""
        # What was asked is read with its padding; of examples their answers are cut off.
        longest = int(batch.lengths.max()) if len(batch.targets) else batch.tokens.shape[1]
        places = torch.arange(longest, device=batch.tokens.device)
        mask = (places < batch.lengths[:, None]).long()
        read = self.inputs(batch)[:, :longest]
        found = self.model.get_encoder()(inputs_embeds=read, attention_mask=mask)
        return found.last_hidden_state, mask

    @property
    def output_scale(self) -> float:
        """What T5 multiplies its last states by."""
        config = self.model.config
        scales = getattr(config, "scale_decoder_outputs", False)
        return float(config.d_model**-0.5) if scales else 1.0


def fresh_backbone(name: str, vocabulary: Vocabulary, dropout: float, seed: int) -> Backbone:
    """A backbone with random weights: `decoder:SIZE`, `t5:SIZE` or `sasrec:SIZE`.

    Raises:
        InputError: no such size.
    """
    family, _, size = name.partition(":")
    if (size or "small") not in SIZES:
        raise InputError(f"backbone '{name}': no size '{size}'; there is {', '.join(SIZES)}")
    shape = SIZES[size or "small"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "t5":
            return EncoderDecoder(_fresh_t5(vocabulary, dropout, **shape), vocabulary)
        if family == "sasrec":
            return Decoder(_fresh_sasrec(vocabulary, dropout, **shape), vocabulary)
        decoder = Decoder(_fresh_llama(vocabulary, **shape), vocabulary)
    add_dropout(decoder.model, dropout)
    return decoder


def start_from_text(backbone: Backbone, spaces: IdSpaces, items: Vectors, queries: Vectors) -> None:
    """Let a backbone begin where its text encoder stands: near texts, near items.

    Code rows and query map become the encoder's vectors along their main axes, scaled so that
    scores are `_SHARPNESS` times their cosine. The vector of a code is the mean over the items
    that have it of what the levels before it leave.

    Args:
        backbone: with a query map; changed in place.
        spaces: the codes of the items.
        items: vectors of the items' texts, (items, E).
        queries: of training queries, (Q, E): their share in the axes.
    """
    assert backbone.query_map is not None
    width = backbone.query_map.out_features
    axes = np.linalg.svd(np.vstack([items, queries]).astype(np.float64), full_matrices=False)[2]
    axes = np.asarray(axes[:width] * _SHARPNESS / width**0.5, dtype=np.float32)
    with torch.no_grad():
        backbone.query_map.weight.zero_()
        backbone.query_map.weight[: len(axes)] = torch.from_numpy(axes)
        rows = backbone.model.get_output_embeddings().weight[backbone.code_slice]
        rows[:, : len(axes)] += torch.from_numpy(_code_vectors(spaces, items) @ axes.T)


def start_from_histories(backbone: Backbone, spaces: IdSpaces, items: Vectors) -> None:
    """Let code rows begin at vectors of the items; after an item, then, what is near it.

    Args:
        backbone: changed in place.
        spaces: the codes of the items.
        items: (items, E), unit length, E at most the backbone's width.
    """
    rows = backbone.model.get_output_embeddings().weight[backbone.code_slice]
    vectors = _code_vectors(spaces, items) * (_SHARPNESS / rows.shape[1] ** 0.5)
    with torch.no_grad():
        rows[:, : vectors.shape[1]] += torch.from_numpy(vectors)


def _code_vectors(spaces: IdSpaces, items: Vectors) -> Vectors:
    """What each code adds to the vectors of its items, (codes, E)."""
    found = np.zeros((spaces.size, items.shape[1]), np.float32)
    tasks: tuple[Task, ...] = ("recommendation", "search")
    for task in tasks:
        rest = items
        for level, number in enumerate(spaces.codebooks_of(task)):
            codes, table = spaces.of(task).codes[:, level], found[spaces.codebooks[number]]
            table[:] = 0
            np.add.at(table, codes, rest)
            table /= np.maximum(np.bincount(codes, minlength=len(table)), 1)[:, None]
            rest = rest - table[codes]
    return found


def zero_init_residuals(backbone: Backbone) -> None:
    """Let what each block of a fresh decoder adds start at zero.

    Then nothing stands between a query's vector and the rows. Never for a checkpoint: what it has
    learned goes through these weights.
    """
    with torch.no_grad():
        for name, module in backbone.model.named_modules():
            if name.endswith(_ADDS):
                module.weight.zero_()


def is_fresh(name: str) -> bool:
    """Whether a backbone's name asks for random weights."""
    return name.partition(":")[0] in ("decoder", "t5", "sasrec")


def _fresh_llama(vocabulary: Vocabulary, width: int, layers: int, heads: int) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary.size,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=_longest(vocabulary),
            tie_word_embeddings=True,
            pad_token_id=vocabulary.pad,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def _fresh_sasrec(
    vocabulary: Vocabulary, dropout: float, width: int, layers: int, heads: int
) -> PreTrainedModel:
    """SASRec (Kang and McAuley, ICDM 2018) is GPT-2 with a narrow feed-forward layer and ReLU.

    Learned positions, layer norm before each part, dropout everywhere, tied item rows.
    """
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary.size,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            n_inner=width,
            activation_function="relu",
            n_positions=_longest(vocabulary),
            embd_pdrop=dropout,
            resid_pdrop=dropout,
            attn_pdrop=dropout,
            pad_token_id=vocabulary.pad,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def _longest(vocabulary: Vocabulary) -> int:
    """Tokens of the longest request, with its padding."""
    longest = 3 + vocabulary.max_query + longest_codes(vocabulary.spaces, vocabulary.max_history)
    return padded(longest)


def longest_codes(spaces: IdSpaces, max_history: int) -> int:
    """Code tokens of the longest history and its answer."""
    answer = max(spaces.search.levels, spaces.recommendation.levels) - 1
    return max_history * spaces.recommendation.levels + answer


def _fresh_t5(
    vocabulary: Vocabulary, dropout: float, width: int, layers: int, heads: int
) -> PreTrainedModel:
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


def add_dropout(model: nn.Module, rate: float) -> None:
    """Dropout of whole input tokens and of what each block adds; Llama has none of its own.

    Without some of its words a query must be answered from the others, and a rare word learns
    to say little (measured in docs/project/log). Hooks keep the weights' names, so that the saved
    model stays an ordinary Llama.
    """

    def drop_tokens(module: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        return output * F.dropout(torch.ones_like(output[..., :1]), rate, module.training)

    def drop(module: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        return F.dropout(output, rate, module.training)

    for name, module in model.named_modules():
        if name.endswith("embed_tokens"):
            module.register_forward_hook(drop_tokens)
        elif name.endswith(_ADDS):
            module.register_forward_hook(drop)


def pretrained_backbone(
    name: str,
    spaces: IdSpaces,
    max_history: int,
    max_query: int,
    seed: int,
    encoder: TextEncoder | None = None,
) -> tuple[Backbone, Vocabulary]:
    """A checkpoint by name or folder, its vocabulary extended by the marks and codes.

    Raises:
        InputError: it can neither be found nor downloaded.
    """
    try:
        config = AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = family.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise InputError(
            f"backbone '{name}': not a folder with a checkpoint, and it could not be downloaded; "
            f"fetch it where the network is open (huggingface-cli download {name}) and give its "
            f"folder, or use decoder:small ({str(error).splitlines()[0]})"
        ) from error
    _require_fit(name, config, tokenizer, 3 + max_query + longest_codes(spaces, max_history))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    text_size = max(model.get_input_embeddings().num_embeddings, len(tokenizer))
    vocabulary = Vocabulary(
        tokenizer.backend_tokenizer, text_size, pad, spaces, max_history, max_query, encoder
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.resize_token_embeddings(vocabulary.size, mean_resizing=False)
        kind = EncoderDecoder if config.is_encoder_decoder else Decoder
        backbone = kind(model, vocabulary)
    _require_plain_scores(name, backbone)
    return backbone, vocabulary


def _require_fit(name: str, config: Any, tokenizer: Any, tokens: int) -> None:
    """Raise InputError where the checkpoint cannot read what a request may hold."""
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise InputError(
            f"backbone '{name}': its tokenizer {type(tokenizer).__name__} has no fast version; "
            f"use a checkpoint with a tokenizer.json"
        )
    places = getattr(config, "max_position_embeddings", None)
    if not config.is_encoder_decoder and places is not None and places < tokens:
        raise InputError(
            f"backbone '{name}': reads {places} tokens, a request may hold {tokens}; "
            f"lower max_history or max_query (--set max_history=N)"
        )


def _require_plain_scores(name: str, backbone: Backbone) -> None:
    """Raise InputError where the model's logits are not `states @ code_rows.T`.

    Some families scale or cap their logits, or add a bias: their saved weights would score
    otherwise in transformers than here.
    """
    model, code = backbone.model.eval(), torch.tensor([[backbone.code_slice.start]])
    zero, one = torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.long)
    nothing = torch.zeros(1, backbone.query_map.in_features if backbone.query_map else 0)
    batch = Batch(
        code, one, zero, zero, zero, zero, zero, zero, one.float(), nothing, nothing[:, :0]
    )
    with torch.inference_mode():
        given = {"input_ids": code}
        if isinstance(backbone, EncoderDecoder):
            given["decoder_input_ids"] = zero[None] + model.config.decoder_start_token_id
        theirs = model(**given).logits[0, -1, backbone.code_slice]
        ours = (backbone.states(batch) @ backbone.code_rows().T)[0]
    if not torch.allclose(ours, theirs.float(), rtol=1e-3, atol=1e-3):
        raise InputError(
            f"backbone '{name}': {type(model).__name__} changes its logits after the output rows; "
            f"use a Llama, Qwen, GPT-2 or T5 checkpoint"
        )


def load_backbone(folder: Path, vocabulary: Vocabulary) -> Backbone:
    """Read what `Backbone.save` wrote, to answer with (dropout is a matter of training)."""
    disable_progress_bar()
    config = AutoConfig.from_pretrained(folder)
    family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = family.from_pretrained(folder, dtype=torch.float32)
    # They are mapped from the file: whoever writes over it would change or end a served model.
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    kind = EncoderDecoder if config.is_encoder_decoder else Decoder
    backbone = kind(model, vocabulary)
    if backbone.query_map is not None:
        backbone.query_map.load_state_dict(load_file(folder / _QUERY_MAP))
    return backbone


def resolve_device(device: str) -> torch.device:
    """`cpu`, `cuda`, or what `auto` finds.

    Raises:
        InputError: it is not usable here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device '{device}': not usable here; use cpu") from error
    return place


def resolve_precision(precision: str, device: torch.device) -> str:
    """`bfloat16` where asked for, or where `auto` finds hardware that multiplies it fast."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bfloat16" if device.type == "cpu" and has_instructions() else "float32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Matrix products in `precision` (resolved); everything else stays float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
