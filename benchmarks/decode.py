"""Constrained decoding compared with `generate` of transformers under the same constraint.

    python benchmarks/decode.py [--out DIR] [--rounds 5] [--threads 1] [--only PART ...]
        [--tokens N ...] [--beams N ...] [--device cuda]

Both sides have the same weights (random, of Flan-T5-small's shape, and a decoder of that width),
read the same requests and must find the same items; `generate` is constrained by
`prefix_allowed_tokens_fn`. They run in turn in one process, and the fastest of the rounds counts,
in processor time with one thread. In `same softmax` both sides have the same precision and a
softmax over the whole vocabulary; `plain weights` is the same without packed weights, which a GPU
does not need. `trie's softmax`, by which the library ranks, is over the valid continuations, and
`bfloat16` is in that precision. `floor` is the least time of the same products on the machine
(`roofline.py`), and the share of the peak is that time over the time of `same softmax`. Requests
have 16 tokens, as a query, or 101: a history of 25 items of four codes. --beams takes one request
with each number of beams, 10 to 1,000 say. Further tables: the cost of the trie, time against the
size of the catalog, atomic identifiers.
"""

import argparse
import copy
import json
import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from publish import add_publish_option, publish_records
from roofline import floor_of, measured_rates, peak_mib, products_share
from scipy.special import log_softmax
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.activations import NewGELUActivation
from transformers.utils import logging

from twofold.identifiers.identifiers import Identifiers, IdSpaces, atomic, shared
from twofold.identifiers.trie import Trie, build_trie
from twofold.model.backbone import Backbone, Decoder
from twofold.model.decoding import steps_of
from twofold.model.encoded import Batch
from twofold.model.kernels import PackedLinear, can_pack
from twofold.model.t5 import EncoderDecoder
from twofold.model.vocabulary import Vocabulary, train_tokenizer
from twofold.records import Ints
from twofold.retrieval.beam_search import Scores, beam_search
from twofold.retrieval.top_k import top_k

ITEMS, LEVELS, CODES, TEXT = 100_000, 4, 256, 32_100
REQUESTS = (16, 101)
"""The tokens of a request: a query, and a history of 25 items."""
CASES = ((1, 10), (1, 50), (8, 10), (8, 50))
"""The requests of a batch, and the beams."""

Prefix = tuple[int, ...]


def random_identifiers(items: int, seed: int = 0) -> Identifiers:
    """Distinct random identifiers of `LEVELS` codes."""
    rng = np.random.default_rng(seed)
    codes = np.unique(rng.integers(0, CODES, (items + items // 10, LEVELS)), axis=0)
    chosen = codes[rng.permutation(len(codes))[:items]]
    return Identifiers("semantic", chosen, (CODES,) * LEVELS)


def made_vocabulary(spaces: IdSpaces) -> Vocabulary:
    """A vocabulary with as many text tokens as Flan-T5 has."""
    return Vocabulary(
        tokenizer=train_tokenizer(["no text is read here"], 256),
        text_size=TEXT,
        pad=0,
        spaces=spaces,
        max_history=25,
        max_query_tokens=101,
    )


def made_backbone(family: str, vocabulary: Vocabulary) -> Backbone:
    """Random weights of Flan-T5-small's shape, or a decoder as wide and as deep."""
    torch.manual_seed(0)
    model: PreTrainedModel
    if family == "t5":
        model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=vocabulary.size,
                d_model=512,
                d_kv=64,
                d_ff=1024,
                num_layers=8,
                num_heads=6,
                feed_forward_proj="gated-gelu",
                tie_word_embeddings=False,
                decoder_start_token_id=0,
                eos_token_id=None,
            )
        )
        return EncoderDecoder(model, vocabulary).eval()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary.size,
            hidden_size=512,
            intermediate_size=1024,
            num_hidden_layers=8,
            num_attention_heads=8,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    return Decoder(model, vocabulary).eval()


def requests(count: int, tokens: int, vocabulary: Vocabulary, device: torch.device) -> Batch:
    """Requests of random text tokens, without padding."""
    words = torch.randint(1, TEXT, (count, tokens), generator=torch.Generator().manual_seed(1))
    nothing, rows = torch.zeros(0, dtype=torch.long), torch.arange(count)
    codebooks = torch.from_numpy(vocabulary.spaces.codebooks_of("search")[:1]).expand(count)
    return Batch(
        tokens=words,
        lengths=torch.full((count,), tokens),
        token_indices=torch.arange(count * tokens),
        context_rows=rows,
        context_positions=torch.full((count,), tokens - 1),
        context_codebooks=codebooks,
        context_items=rows,
        time_buckets=torch.zeros_like(rows),
        target_contexts=nothing,
        targets=nothing,
        weights=nothing.float(),
        query_vectors=torch.zeros(count, 0),
        matches=torch.zeros(count, 0),
    ).to(device)


class Ours:
    """The library's beam search, with a choice of softmax and precision."""

    def __init__(self, backbone: Backbone, vocabulary: Vocabulary, trie: Trie) -> None:
        self._trie, self._counts = trie, trie.counts()
        self._ranks = np.arange(len(trie))
        self._tokens = vocabulary.code_tokens("search")
        codebooks = vocabulary.spaces.codebooks
        self._codebooks = [codebooks[number] for number in vocabulary.spaces.codebooks_of("search")]
        self._start = vocabulary.code_start
        self._outputs = backbone.model.get_output_embeddings().weight
        self._device = self._outputs.device
        self._packed_outputs: PackedLinear | None = None
        if can_pack(self._device):
            self._packed_outputs = PackedLinear(self._outputs, None, torch.float32)
        self._backbones = {"plain": backbone}
        for precision in ("float32", "bfloat16"):
            self._backbones[precision] = copy.deepcopy(backbone)
            self._backbones[precision].pack(precision, codebooks)

    @torch.inference_mode()
    def __call__(self, batch: Batch, beams: int, softmax: str, weights: str) -> Ints:
        """The items of each request, (B, beams).

        Args:
            batch: B requests.
            beams: hypotheses of a level, and items.
            softmax: `trie` for valid continuations, `vocabulary` for all tokens.
            weights: `plain`, or the precision that they are packed in.
        """
        backbone, product = self._backbones[weights], weights == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=product):
            steps = steps_of(backbone, batch, self._trie.levels - 1, beams)

        def expand(level: int, codes: Ints, parents: Ints) -> Scores:
            with torch.autocast(self._device.type, torch.bfloat16, enabled=product):
                if level == 0:
                    states = steps.first()[:, None]
                else:
                    tokens = torch.from_numpy(codes + self._tokens[level - 1]).to(self._device)
                    states = steps.next(tokens, torch.from_numpy(parents).to(self._device))
            codebook = self._codebooks[level]
            if softmax == "trie":
                scores = backbone.logits(states, codebook)
            else:
                wanted = slice(codebook.start + self._start, codebook.stop + self._start)
                scores = self._over_vocabulary(states, weights, wanted)
            on_cpu: Scores = scores.cpu().numpy()
            return on_cpu

        nothing = [np.zeros(0, np.int64)] * len(batch.lengths)
        return beam_search(
            expand,
            self._trie,
            self._counts,
            nothing,
            beams=beams,
            k=beams,
            tie_rank=self._ranks,
            normalised=softmax != "trie",
        ).items

    def _over_vocabulary(self, states: torch.Tensor, weights: str, wanted: slice) -> torch.Tensor:
        if weights == "plain" or self._packed_outputs is None:
            return torch.log_softmax(states @ self._outputs.T, dim=-1)[..., wanted]
        parts = []
        for rows in torch.split(states.reshape(-1, states.shape[-1]), 64):  # these fit a cache
            scores = torch.log_softmax(self._packed_outputs(rows), dim=-1)
            parts.append(scores[:, wanted].clone())
        return torch.cat(parts).reshape(*states.shape[:2], -1)


class Theirs:
    """The beam search of transformers, with a table of allowed tokens as its users build it."""

    def __init__(self, backbone: Backbone, vocabulary: Vocabulary) -> None:
        self._model = copy.deepcopy(backbone.model)
        for module in self._model.modules():  # as in transformers; our backbone replaces it
            if isinstance(getattr(module, "act", None), torch.nn.GELU):
                module.act = NewGELUActivation()
        self._is_encoder_decoder = isinstance(backbone, EncoderDecoder)
        identifiers = vocabulary.spaces.search
        tokens = identifiers.codes + vocabulary.code_tokens("search")
        self._levels = identifiers.levels
        self._item = {tuple(row): n for n, row in enumerate(tokens.tolist())}
        allowed: dict[Prefix, dict[int, None]] = defaultdict(dict)
        for row in self._item:
            for level in range(self._levels):
                allowed[row[:level]][row[level]] = None
        self._allowed = {prefix: list(codes) for prefix, codes in allowed.items()}

    @torch.inference_mode()
    def __call__(self, batch: Batch, beams: int) -> Ints:
        """The items of each request, (B, beams)."""
        skip = 1 if self._is_encoder_decoder else batch.tokens.shape[1]

        def allowed(_: int, ids: torch.Tensor) -> list[int]:
            return self._allowed[tuple(ids[skip:].tolist())]

        sequences = self._model.generate(
            batch.tokens,
            attention_mask=torch.ones_like(batch.tokens),
            num_beams=beams,
            num_return_sequences=beams,
            max_new_tokens=self._levels,
            do_sample=False,
            prefix_allowed_tokens_fn=allowed,
        )
        codes = sequences[:, -self._levels :].tolist()
        items = [self._item[tuple(row)] for row in codes]
        return np.array(items).reshape(len(batch.tokens), beams)


def fastest(sides: Sequence[Callable[[], Any]], rounds: int, device: torch.device) -> list[float]:
    """The seconds of each side, which run in turn; the minimum of the rounds.

    With one thread, seconds of processor time, which do not include those of other programs.
    """
    one_core = torch.get_num_threads() == 1 and device.type == "cpu"
    clock = time.process_time if one_core else time.perf_counter
    seconds = [[0.0] * rounds for _ in sides]
    for number in range(-1, rounds):  # the first round warms up
        for side, run in enumerate(sides):
            start = clock()
            run()
            seconds[side][max(number, 0)] = clock() - start
    return [min(values) for values in seconds]


def compared_with_generate(
    family: str,
    device: torch.device,
    rounds: int,
    lengths: Sequence[int] = REQUESTS,
    cases: Sequence[tuple[int, int]] = CASES,
) -> list[dict[str, Any]]:
    """Times, ratios and memory of both sides for each case, and the floor."""
    spaces = shared(random_identifiers(ITEMS))
    vocabulary = made_vocabulary(spaces)
    backbone = made_backbone(family, vocabulary).to(device)
    ours = Ours(backbone, vocabulary, build_trie(spaces.search))
    theirs = Theirs(backbone, vocabulary)
    rates = measured_rates(device)
    print(f"{rates.operations / 1e9:.0f} GFLOP/s, {rates.bytes / 1e9:.1f} GB/s", flush=True)
    rows = []
    for tokens, (count, beams) in product(lengths, cases):
        batch = requests(count, tokens, vocabulary, device)

        def own(softmax: str, weights: str, batch: Batch = batch, beams: int = beams) -> Ints:
            return ours(batch, beams, softmax, weights)

        sides: dict[str, Callable[[], Ints]] = {
            "generate": partial(theirs, batch, beams),
            "plain weights": partial(own, "vocabulary", "plain"),
            "same softmax": partial(own, "vocabulary", "float32"),
            "trie's softmax": partial(own, "trie", "float32"),
            "bfloat16": partial(own, "trie", "bfloat16"),
        }
        agree = float((sides["same softmax"]() == sides["generate"]()).mean())
        runs: list[Callable[[], Any]] = list(sides.values())
        seconds = dict(zip(sides, fastest(runs, rounds, device), strict=True))
        floor = floor_of(sides["plain weights"], rates)
        rows.append(
            {"backbone": family, "tokens": tokens, "batch": count, "beams": beams}
            | {"same items": agree, "load": os.getloadavg()[0]}
            | {f"{name}, ms": value * 1e3 for name, value in seconds.items()}
            | {f"{n}, times": seconds["generate"] / seconds[n] for n in list(sides)[1:]}
            | {"floor, ms": floor * 1e3, "share of the peak": floor / seconds["same softmax"]}
            | {"products' share": products_share(sides["same softmax"], device)}
            | {"generate, MiB": peak_mib(sides["generate"], device)}
            | {"same softmax, MiB": peak_mib(sides["same softmax"], device)}
            | {"gigaflops": rates.operations / 1e9, "gigabytes": rates.bytes / 1e9}
        )
        print(_line(rows[-1]), flush=True)
    return rows


def one_step(device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """Atomic identifiers: exact top-k of one step compared with `generate` with k beams."""
    spaces = shared(atomic(ITEMS))
    vocabulary = made_vocabulary(spaces)
    backbone = made_backbone("t5", vocabulary).to(device)
    theirs, batch = Theirs(backbone, vocabulary), requests(1, REQUESTS[0], vocabulary, device)
    backbone.pack("float32", spaces.codebooks)

    @torch.inference_mode()
    def ours(k: int) -> Ints:
        states = backbone.states(batch)
        scores = torch.log_softmax(backbone.logits(states, spaces.codebooks[0]), dim=1)
        return top_k(scores.cpu().numpy(), k)[0]

    rows = []
    for k in (10, 100):
        same = float(np.mean(ours(k) == theirs(batch, k)))
        their, own = fastest([partial(theirs, batch, k), partial(ours, k)], rounds, device)
        rows.append(
            {"k": k, "same items": same, "generate, ms": their * 1e3, "ours, ms": own * 1e3}
            | {"times": their / own, "load": os.getloadavg()[0]}
        )
        print(_line(rows[-1]), flush=True)
    return rows


def by_catalog(device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of a request, and of its search without the model, by catalog size."""
    catalogs = []
    for items in (10_000, 100_000, 1_000_000):
        spaces = shared(random_identifiers(items))
        vocabulary, trie = made_vocabulary(spaces), build_trie(spaces.search)
        ours = Ours(made_backbone("t5", vocabulary).to(device), vocabulary, trie)
        catalogs.append((items, trie, partial(ours, requests(1, REQUESTS[0], vocabulary, device))))
    rows = []
    for beams in (10, 50):
        runs: list[Callable[[], Any]] = []
        for _, trie, ours_of in catalogs:
            runs += [partial(ours_of, beams, "trie", "float32"), *search_alone(trie, beams)]
        seconds = np.array(fastest(runs, max(rounds, 20), device)).reshape(-1, 3)
        for (items, *_), (whole, constrained, free) in zip(catalogs, seconds.tolist(), strict=True):
            rows.append(
                {
                    "items": items,
                    "beams": beams,
                    "request, ms": whole * 1e3,
                    "of 10,000 items, times": whole / float(seconds[0, 0]),
                    "search with trie, ms": constrained * 1e3,
                    "without, ms": free * 1e3,
                    "trie's share": (constrained - free) / whole,
                    "load": os.getloadavg()[0],
                }
            )
            print(_line(rows[-1]), flush=True)
    return rows


def search_alone(trie: Trie, beams: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The search over fixed scores: constrained by the trie, and with all codes of a level
    allowed."""
    rng = np.random.default_rng(0)
    tables = [
        rng.normal(size=(1, beams if level else 1, CODES)).astype(np.float32)
        for level in range(trie.levels)
    ]
    counts, ranks = trie.counts(), np.arange(len(trie))

    def expand(level: int, codes: Ints, _: Ints) -> Scores:
        return tables[level][:, : codes.shape[1]]

    def constrained() -> None:
        nothing = [np.zeros(0, np.int64)]
        beam_search(expand, trie, counts, nothing, beams=beams, k=beams, tie_rank=ranks)

    def free() -> None:
        scores = np.zeros((1, 1), np.float32)
        for table in tables:
            log_p = log_softmax(table[:, : scores.shape[1]], axis=2)
            candidates = (scores[:, :, None] + log_p).reshape(1, -1)
            _, scores = top_k(candidates, beams)

    return constrained, free


def _line(row: dict[str, Any]) -> str:
    cells = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()]
    return " · ".join(f"{name} {cell}" for name, cell in zip(row, cells, strict=True))


TITLES = {
    "t5": "T5 and generate",
    "decoder": "Decoder and generate",
    "atomic": "Atomic identifiers and generate",
    "catalog": "The cost of the trie",
}


def main() -> None:
    """Run all tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the fastest counts")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument(
        "--only",
        nargs="*",
        help="tables to run; all by default",
        choices=["t5", "decoder", "atomic", "catalog"],
    )
    parser.add_argument(
        "--tokens", nargs="*", type=int, default=REQUESTS, help="tokens of a request"
    )
    parser.add_argument(
        "--beams", nargs="*", type=int, help="one request with so many beams, in place of the cases"
    )
    add_publish_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    device, rounds = arguments.device, arguments.rounds
    cases = [(1, beams) for beams in arguments.beams] if arguments.beams else CASES
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        family: partial(compared_with_generate, family, device, rounds, arguments.tokens, cases)
        for family in ("t5", "decoder")
    } | {
        "atomic": partial(one_step, device, rounds),
        "catalog": partial(by_catalog, device, rounds),
    }
    results: dict[str, Any] = {
        name: part()
        for name, part in parts.items()
        if arguments.only is None or name in arguments.only
    }
    for name, rows in results.items():
        publish_records(
            arguments.publish and f"{arguments.publish}-{name}",
            *("decode", TITLES[name], rows),
            seeds="random weights, one",
            protocol=f"{rounds} rounds, {arguments.threads} threads, {device}; see the script",
        )
    results["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {results['peak MiB']:.0f} MiB")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "decode.json").write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
