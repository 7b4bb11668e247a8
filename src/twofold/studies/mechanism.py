"""How one task reaches the other: through popularity (H1) or through the items' rows (H2)."""

import numpy as np

from twofold.model.checkpoint import GenerativeModel
from twofold.records import Ints, Run
from twofold.tasks.report import kullback_leibler, popularity_law


def retrieved_divergence(run: Run, positions: dict[str, int], test: Ints) -> float:
    """KL(test law || law of what was retrieved), nats, add-one smoothed: small where the model
    knows what is popular.

    Args:
        run: the ranked answers.
        positions: item_id -> catalog position.
        test: (N,), test targets of each item.
    """
    counts = np.zeros(len(test), dtype=np.int64)
    for request_id in run:
        np.add.at(counts, [positions[i] for i in run[request_id].item_ids], 1)
    return kullback_leibler(popularity_law(test), popularity_law(counts))


def pair_cosine(model: GenerativeModel, pairs: Ints) -> float:
    """Mean cosine between the output rows of pairs of items.

    Args:
        model: with atomic identifiers.
        pairs: (P, 2), catalog positions.
    """
    rows = model.backbone.code_rows().detach().cpu().double().numpy()
    codes = model.vocabulary.identifiers.codes[pairs, 0]
    first, second = rows[codes[:, 0]], rows[codes[:, 1]]
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(np.mean((first * second).sum(axis=1) / lengths))
