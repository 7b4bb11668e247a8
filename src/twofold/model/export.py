"""Export of a decoder with semantic IDs for an inference engine with wide beams on GPUs.

The folder has a transformers checkpoint with its tokenizer, the trie as a sparse matrix, the tokens
of every item, and `export.json`, which describes the files. It can be used without this package, as
the code of `docs/guides/export.md` does, which a test runs. Only query vectors and the matches of
the hybrid parts need this package.

Shapes: N items, P nodes of the trie, the root among them.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import save_file

from twofold import artifact
from twofold.identifiers.trie import Trie
from twofold.model.backbone import QUERY_MAP
from twofold.model.checkpoint import GenerativeModel
from twofold.model.t5 import EncoderDecoder
from twofold.records import TASKS, InputError, Ints, Task

KIND = "export"


def require_exportable(model: GenerativeModel, name: str) -> None:
    """Raise InputError if such an engine cannot decode the model.

    Args:
        model: the model.
        name: what it is called in the message.
    """
    if isinstance(model.backbone, EncoderDecoder):
        raise InputError(
            f"{name}: its backbone is an encoder-decoder, which engines for wide beams do not "
            f"decode; export a model with a decoder (--backbone decoder:small)"
        )
    if model.reads_time:
        raise InputError(
            f"{name}: reads the time of a request (request_time), which such an engine does not; "
            f"export a model that was trained without"
        )
    if not model.tries:
        raise InputError(
            f"{name}: has atomic identifiers, which are answered in one step without beams; export "
            f"a model that was trained with --identifiers semantic"
        )


def export_model(
    model: GenerativeModel, checkpoint: Path, allowed: npt.NDArray[np.bool_], out: Path
) -> None:
    """Write the folder.

    Args:
        model: one that `require_exportable` accepts; items may have been added after training.
        checkpoint: the folder `backbone` that it was read from: new items have existing codes, so
            the weights are those of the file.
        allowed: the items that may be returned, (N,).
        out: the folder to write.

    Raises:
        InputError: `out` exists already.
    """
    # Imported here, as a decoder from fresh weights is loaded without transformers.
    from transformers import PreTrainedTokenizerFast

    vocabulary = model.vocabulary
    with artifact.write(out, KIND, {"stamp": model.stamp.as_dict()}) as folder:
        shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
        PreTrainedTokenizerFast(tokenizer_object=vocabulary.tokenizer).save_pretrained(folder)
        for part in (vocabulary.encoder, model.hybrid, model.history_match):
            if part is not None:
                part.save(folder)
        for task in _tries(model).values():
            tokens = vocabulary.code_tokens(task)
            save_file(trie_transitions(model.tries[task], tokens, allowed), folder / _file(task))
        _items(model, allowed).write_parquet(folder / "items.parquet")
        artifact.write_json(folder / "export.json", describe(model))


def describe(model: GenerativeModel) -> dict[str, Any]:
    """The content of `export.json`: how a request is written, and which file is which."""
    vocabulary = model.vocabulary
    query_vectors = None
    if vocabulary.encoder:
        query_vectors = {"width": vocabulary.vector_width, "map": QUERY_MAP}
    return {
        "tokens": {
            **{
                name: vocabulary.special_token(f"<{name}>")
                for name in ("history", "query", "answer")
            },
            "pad": vocabulary.pad,
        },
        "max_history": vocabulary.max_history,
        "max_query_tokens": vocabulary.max_query_tokens,
        "query_vectors": query_vectors,
        "hybrid": model.hybrid is not None,
        "history_match": model.history_match is not None,
        "precision": model.precision,
        "seen": model.seen,
        "tasks": {
            task: {"levels": model.tries[task].levels, "trie": _file(trie_task)}
            for task, trie_task in _tries(model).items()
        },
    }


def _tries(model: GenerativeModel) -> dict[Task, Task]:
    """For each task of the model the task whose trie is written for it."""
    shared = model.vocabulary.spaces.are_shared
    return {task: "recommendation" if shared else task for task in TASKS if task in model.tasks}


def _file(task: Task) -> str:
    return f"trie-{task}.safetensors"


def trie_transitions(
    trie: Trie, code_tokens: Ints, allowed: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.int32]]:
    """A trie as the sparse matrix node x token -> next node, in compressed rows.

    Nodes are numbered level by level, from the root, 0, to the leaves, which are the last N.

    Args:
        trie: the trie.
        code_tokens: the token id of code 0 at each level, (levels,).
        allowed: the items that may be returned, (N,).

    Returns:
        `offsets`: where the transitions of each node begin, and the end, (P + 1,). `tokens` and
        `next`: the token of each transition, and the node that it leads to, (P - 1,). `counts`: the
        allowed items below each node, (P,). `items`: the catalog position at each leaf, (N,).
    """
    before = np.cumsum([0, *(len(codes) for codes in trie.codes)])
    nodes = before[-1] + 1
    begins = [
        first[:-1] + start.astype(np.int64)
        for first, start in zip(trie.first, before[:-1], strict=True)
    ]
    tokens = [
        codes + token.astype(np.int64) for codes, token in zip(trie.codes, code_tokens, strict=True)
    ]
    counts = trie.counts(allowed)
    arrays = {
        "offsets": np.concatenate([*begins, np.full(len(trie) + 1, nodes - 1)]),
        "tokens": np.concatenate(tokens),
        "next": np.arange(1, nodes),
        "counts": np.concatenate([[allowed.sum()], *counts]),
        "items": trie.items,
    }
    return {name: array.astype(np.int32) for name, array in arrays.items()}


def _items(model: GenerativeModel, allowed: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """A row for each item: id, title, whether it may be returned, and its tokens in each task."""
    vocabulary = model.vocabulary
    columns = {
        task: (vocabulary.spaces.of(task).codes + vocabulary.code_tokens(task)).astype(np.int32)
        for task in TASKS
    }
    return model.catalog.items.select("item_id", "title").with_columns(
        pl.Series("allowed", allowed), *(pl.Series(task, rows) for task, rows in columns.items())
    )
