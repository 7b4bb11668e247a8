"""A trained model as a retriever.

Invariant: score(item) = log p(identifier), p normalised over the valid continuations of each prefix
in the whole catalog. Items that a request excludes are removed afterwards, so a filter does not
change the order of the other items. With semantic IDs and a hybrid part, an item's match with the
request is added to its score (`matched`).
"""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt
import torch

from twofold import artifact
from twofold.data.words import has_word, is_blank
from twofold.encoders.text_encoder import sentence_encoder_of
from twofold.model.backbone import resolve_device
from twofold.model.checkpoint import GenerativeModel, load_model_folder
from twofold.model.encoded import Batch, EncodedExample, batches_by_length
from twofold.model.hybrid import HybridPart
from twofold.records import (
    Filters,
    InputError,
    Ints,
    RankedItem,
    RankedItems,
    Ranking,
    Request,
    Run,
    Seen,
    Task,
    Where,
    item_ids_of,
    require_requests,
    require_text,
    where_of,
)
from twofold.retrieval.top_k import BATCH_SCORES, CatalogRanker

if TYPE_CHECKING:
    from twofold.identifiers.trie import Counts
    from twofold.retrieval.attributes import Attributes, Mask
    from twofold.retrieval.beam_search import Diversity, TopItems
    from twofold.retrieval.matched import Candidates

BEAMS = 50
"""The default number of hypotheses of the beam search."""
_CACHED_FILTERS, _CACHED_BYTES = 100, 64 << 20
"""The largest number of filters whose counts in the trie are cached, and about their bytes: users
write filters, so their number has no other limit.
"""


class GenerativeRetriever:
    """Exact top-k in one step for atomic identifiers, constrained beam search for semantic IDs.

    Args:
        model: a trained model, whose weights are never changed.
        name: the name of its runs.
        beams: the number of hypotheses of the beam search; more if a request has a larger `k`.
        diversity: spreads the hypotheses over more prefixes.
    """

    def __init__(
        self,
        model: GenerativeModel,
        name: str = "generative",
        beams: int = BEAMS,
        diversity: "Diversity | None" = None,
    ) -> None:
        self.name = name
        self.model = model
        self.beams = beams
        self._diversity = diversity
        self._item_ids = np.asarray(model.catalog.item_ids, dtype=object)
        self._ranker = CatalogRanker(model.catalog.item_ids)
        self._tie_rank = np.argsort(self._ranker.order)
        self._alive = np.ones(len(model.catalog), bool)
        self._counts: dict[tuple[Task, Where], Counts] = {}

    def __repr__(self) -> str:
        return f"GenerativeRetriever(name={self.name!r}, {len(self._item_ids)} items)"

    def search(
        self,
        query: str,
        k: int = 10,
        history: Sequence[str] = (),
        *,
        filters: Filters | None = None,
    ) -> RankedItems:
        """Items for a query, best first; a history makes the ranking personal.

        If the model knows no word of the query, the result has `no_known_words`.

        Args:
            query: what someone typed.
            k: the number of items.
            history: item ids, oldest first.
            filters: attribute -> a value, or several values of which an item must have one:
                `{"genre": ["western", "crime"]}`.

        Raises:
            InputError: a query without a word, an unknown item or attribute, a `k` under 1, or a
                model that was not trained for search.
        """
        request = Request(
            "search",
            query=require_text(query),
            history=item_ids_of(history),
            where=where_of(filters),
        )
        self.require_word(request)
        return RankedItems(self._ranked_items(request, k), not self.has_known_word(request))

    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        *,
        seen: Seen | None = None,
        filters: Filters | None = None,
        time: float | None = None,
        last_event_time: float | None = None,
    ) -> list[RankedItem]:
        """Recommended items for a history, best first.

        Args:
            history: item ids, oldest first.
            k: the number of items.
            seen: whether to `exclude` or `keep` the items of the history; None for the protocol of
                the model's dataset, which keeps them where users repeat items.
            filters: as in `search`.
            time: the time of the request, in seconds since 1970, for a model that was trained with
                `request_time`; None if it is not known.
            last_event_time: the time of the last event of the history, given together with `time`.

        Raises:
            InputError: an empty history, an unknown item or attribute, a `k` under 1, another value
                of `seen`, a model that was not trained for recommendation, or a time that it does
                not read.
        """
        item_ids = item_ids_of(history)
        if not item_ids:
            raise InputError("the history is empty; give at least one item_id")
        if seen not in (None, *get_args(Seen)):
            raise InputError(f"seen is {seen!r}; give 'exclude' or 'keep'")
        excludes = (seen or self.model.seen) == "exclude"
        request = Request(
            "recommendation",
            history=item_ids,
            exclude=frozenset(item_ids) if excludes else frozenset(),
            where=where_of(filters),
            time=time,
            last_event_time=last_event_time,
        )
        self.require_time(request)
        return self._ranked_items(request, k)

    def recommend_for_user(
        self,
        user_id: str,
        k: int = 10,
        *,
        seen: Seen | None = None,
        filters: Filters | None = None,
        time: float | None = None,
        last_event_time: float | None = None,
    ) -> list[RankedItem]:
        """Recommended items for a user whose history is stored in the model folder.

        Args:
            user_id: the user.
            k: how many items.
            seen, filters, time, last_event_time: as in `recommend`.

        Raises:
            InputError: the folder has no histories, or not this user's.
        """
        if not self.model.histories:
            raise InputError("the model was saved without histories; give the history itself")
        if user_id not in self.model.histories:
            raise InputError(
                f"user '{user_id}' is not among the model's {len(self.model.histories)} users; "
                f"give the history itself"
            )
        positions = self.model.histories[user_id]
        history = self._item_ids[positions].tolist()
        times = {"time": time, "last_event_time": last_event_time}
        return self.recommend(history, k, seen=seen, filters=filters, **times)

    def _ranked_items(self, request: Request, k: int) -> list[RankedItem]:
        self.model.require_task(request.query, self.name)
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise InputError(f"k is {k!r}; it must be a whole number")
        if k < 1:
            raise InputError(f"k is {k}; it must be at least 1")
        ranking = self.retrieve([request], min(k, len(self.model.catalog)))[request.request_id]
        ranked = enumerate(zip(ranking.item_ids, ranking.scores, strict=True), start=1)
        title = self.model.catalog.title
        return [
            RankedItem(rank=rank, item_id=item_id, title=title(item_id), score=score)
            for rank, (item_id, score) in ranked
        ]

    def has_known_word(self, request: Request) -> bool:
        """Whether the model knows a word of the request's query; True without a query."""
        query = request.query
        return query is None or (not is_blank(query) and self.model.has_known_word(query))

    def require_word(self, request: Request) -> None:
        """Raise InputError if a request without a history has a query without a word.

        Such a query has neither a letter nor a digit, nor a visible character that the model knows.
        """
        query = request.query
        if not query or not query.strip() or request.history or has_word(query):
            return
        if is_blank(query) or not self.model.has_known_word(query):
            raise InputError(f"the query '{query}' has no word to search for; type one")

    @property
    def reads_time(self) -> bool:
        """See `GenerativeModel.reads_time`; an evaluation then passes the target event's time."""
        return self.model.reads_time

    def require_time(self, request: Request) -> None:
        """Raise InputError if a request has times that the model does not read, or that are
        invalid: the request must not be before the last event.
        """
        times = {"time": request.time, "last_event_time": request.last_event_time}
        given = {name: time for name, time in times.items() if time is not None}
        if not given:
            return
        if not self.model.reads_time:
            raise InputError(
                f"model '{self.name}' does not read the time of a request: leave "
                f"{' and '.join(given)} out, or train a model that does (--set request_time=true)"
            )
        if request.time is None or request.last_event_time is None:
            raise InputError(
                f"{next(iter(given))}: the model reads how long after the last event a request is "
                f"made; give both time and last_event_time, or neither"
            )
        # Imported here, as trainings and evaluations use only times of the dataset.
        from twofold.data.reading.time_values import is_seconds

        for name, time in given.items():
            if isinstance(time, bool) or not isinstance(time, int | float | np.number):
                raise InputError(f"{name} is {time!r:.100}; give seconds since 1970 as a number")
            if not is_seconds(float(time)):
                raise InputError(
                    f"{name} {time:g}: is no time in seconds since 1970, but a position or another "
                    f"unit; give seconds, or leave both times out"
                )
        if request.time < request.last_event_time:
            raise InputError(
                f"time {request.time:.0f}: lies before last_event_time "
                f"{request.last_event_time:.0f}; give the later one as time"
            )

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """The `k` best items for each request; see `twofold.records.Retriever`.

        Raises:
            InputError: a history or an exclusion names an unknown item, two requests have the same
                `request_id`, or one is not a `Request`.
        """
        require_requests(requests)
        encoded = [self._encode(request) for request in requests]
        rankings: dict[str, Ranking] = {}
        for task, rows in self._batches(requests, encoded, k):
            batch = [encoded[row] for row in rows]
            rankings |= self._rank(task, [requests[row] for row in rows], batch, k)
        return Run(
            self.name, {request.request_id: rankings[request.request_id] for request in requests}
        )

    def shards(self, requests: Sequence[Request], k: int, size: int) -> Iterator[list[Request]]:
        """Parts of the requests, each of which may be answered alone, in any process.

        A part consists of whole batches of `retrieve`, so its scores are the same to the last bit.

        Args:
            requests: the requests to divide.
            k: the number of items for each.
            size: the minimum number of requests of a part, except for the last one.

        Raises:
            InputError: a history names an unknown item.
        """
        if sentence := sentence_encoder_of(self.model.vocabulary.encoder):
            # All queries at once: cached, and with the time left in the log.
            sentence.encode([request.query for request in requests if request.query])
        shard: list[Request] = []
        encoded = [self._encode(request) for request in requests]
        for _, rows in self._batches(requests, encoded, k):
            shard += (requests[row] for row in rows)
            if len(shard) >= size:
                yield shard
                shard = []
        if shard:
            yield shard

    def candidates(
        self, requests: Sequence[Request], parts: Sequence[HybridPart]
    ) -> "Iterator[tuple[list[Request], list[Candidates]]]":
        """Yield some of the requests with their candidates for each hybrid part, until all are
        done. With semantic IDs and such a part, retrieval ranks these candidates.

        Args:
            requests: requests of one task.
            parts: hybrid parts of that task; the beam search runs once for all of them.
        """
        encoded = [self._encode(request) for request in requests]
        for task, rows in self._batches(requests, encoded, self.beams):
            batch = [requests[row] for row in rows]
            yield batch, self._candidates(task, batch, [encoded[row] for row in rows], parts)

    def best(self, candidates: "Candidates", k: int, factor: float = 1.0) -> list[Ranking]:
        """The `k` best candidates of each request, their matches multiplied by `factor`."""
        return self._rankings(candidates.top(k, self._tie_rank, factor))

    @property
    def alive(self) -> "Mask":
        """The items that may be returned, (N,); a copy."""
        return self._alive.copy()

    def is_retrievable(self, position: int) -> bool:
        """Whether an item may be returned."""
        return bool(self._alive[position])

    def remove(self, item_ids: Sequence[str]) -> None:
        """Exclude items from all rankings; a history may still contain them.

        Raises:
            InputError: an item is not in the catalog.
        """
        for item in self._ranker.positions(item_ids):
            self._set_alive(int(item), False)

    def restore(self, item_ids: Sequence[str]) -> None:
        """Allow removed items in rankings again.

        Raises:
            InputError: an item is not in the catalog.
        """
        for item in self._ranker.positions(item_ids):
            self._set_alive(int(item), True)

    def _set_alive(self, item: int, alive: bool) -> None:
        if self._alive[item] == alive:
            return
        self._alive[item] = alive
        # Counts without a filter are updated; those of a filter are computed again when it is used.
        self._counts = {key: counts for key, counts in self._counts.items() if not key[1]}
        for (task, _), counts in self._counts.items():
            self.model.tries[task].change(counts, item, 1 if alive else -1)

    def _encode(self, request: Request) -> EncodedExample:
        if request.query is not None and not request.query.strip():
            raise InputError(f"request '{request.request_id}': the query is empty; type a word")
        history = self._ranker.positions(request.history)
        return self.model.vocabulary.encode_request(
            history, request.query, request.since_last_event
        )

    def _batches(
        self, requests: Sequence[Request], encoded: Sequence[EncodedExample], k: int
    ) -> Iterator[tuple[Task, list[int]]]:
        """Batches of requests of one task and filter, as rows of `requests`."""
        groups: dict[tuple[Task, Where], list[int]] = {}
        for row, request in enumerate(requests):
            groups.setdefault((self._task(request), request.where), []).append(row)
        for (task, _), group in groups.items():
            for rows in batches_by_length(group, encoded, self._batch_size(task, k)):
                yield task, rows

    def _batch_size(self, task: Task, k: int) -> int:
        """The most requests of a batch whose scores fit in memory."""
        if not self.model.tries:
            return max(1, BATCH_SCORES // len(self._item_ids))
        widest = max(self.model.vocabulary.spaces.of(task).codebook_sizes)
        return max(1, BATCH_SCORES // (max(self.beams, k) * widest))

    def _task(self, request: Request) -> Task:
        return self.model.vocabulary.task(request.query)

    @torch.inference_mode()
    def _rank(
        self, task: Task, requests: Sequence[Request], encoded: Sequence[EncodedExample], k: int
    ) -> dict[str, Ranking]:
        """The rankings of requests of one task and filter, by request_id."""
        part, k = self.model.hybrid_part(task), min(k, len(self._item_ids))
        if not self.model.tries:
            scores = self._atomic_scores(task, self.model.batch_of(encoded))
            return self._ranker.rank(requests, scores, k, self._allowed(requests[0].where))
        if part is None:
            rankings = self._rankings(self._beam(task, requests, self.model.batch_of(encoded), k))
        else:
            (candidates,) = self._candidates(task, requests, encoded, [part], k)
            rankings = self.best(candidates, k)
        ids = [request.request_id for request in requests]
        return dict(zip(ids, rankings, strict=True))

    def _atomic_scores(self, task: Task, batch: Batch) -> npt.NDArray[np.float32]:
        """Log-probabilities of one-level identifiers, (B, N), columns in tie order."""
        spaces = self.model.vocabulary.spaces
        codebook = spaces.codebooks[spaces.codebooks_of(task)[0]]
        scores = self.model.log_probabilities(batch, codebook)
        codes = torch.from_numpy(spaces.of(task).codes[self._ranker.order, 0])
        by_item: npt.NDArray[np.float32] = scores[:, codes.to(scores.device)].cpu().numpy()
        return by_item

    @torch.inference_mode()
    def _candidates(
        self,
        task: Task,
        requests: Sequence[Request],
        encoded: Sequence[EncodedExample],
        parts: Sequence[HybridPart],
        k: int = 1,
    ) -> "list[Candidates]":
        """The best items by beam search, and those that match best by each part, at least `k` of
        each.
        """
        # Imported here, as models with atomic identifiers need no beam search.
        from twofold.retrieval.expansion import log_p
        from twofold.retrieval.matched import candidates

        batch, most = self.model.batch_of(encoded), max(self.beams, k)
        beam = self._beam(task, requests, batch, min(most, len(self._item_ids)))
        allowed, excluded = self._allowed(requests[0].where), self._excluded(requests)
        log_p_of = partial(log_p, self.model, task, batch)
        return [
            candidates(part.matches(encoded), log_p_of, beam, allowed, excluded, most)
            for part in parts
        ]

    def _beam(self, task: Task, requests: Sequence[Request], batch: Batch, k: int) -> "TopItems":
        """The `k` best items by constrained beam search."""
        # Imported here, as models with atomic identifiers need no beam search.
        from twofold.retrieval.beam_search import beam_search
        from twofold.retrieval.expansion import Expansion

        where, beams = requests[0].where, max(self.beams, k)
        allowed = self._allowed(where)
        return beam_search(
            Expansion(self.model, task, batch, beams),
            self.model.tries[task],
            self._counts_of(task, where, allowed),
            [items[allowed[items]] for items in self._excluded(requests)],
            beams=beams,
            k=k,
            tie_rank=self._tie_rank,
            diversity=self._diversity,
        )

    def _rankings(self, top: "TopItems") -> list[Ranking]:
        """The items of each request as rankings, without padding."""
        rankings = []
        for items, scores in zip(top.items, top.scores, strict=True):
            real = scores > -np.inf
            item_ids = tuple(self._item_ids[items[real]])
            rankings.append(Ranking(item_ids, tuple(scores[real].tolist())))
        return rankings

    def _counts_of(self, task: Task, where: Where, allowed: "Mask") -> "Counts":
        """The allowed items below each node; cached, as counting walks the whole trie."""
        if (task, where) not in self._counts:
            counts = self.model.tries[task].counts(allowed)
            cached = min(_CACHED_FILTERS, _CACHED_BYTES // sum(level.nbytes for level in counts))
            if len(self._counts) >= max(2, cached):
                self._counts.clear()
            self._counts[task, where] = counts
        return self._counts[task, where]

    def _excluded(self, requests: Sequence[Request]) -> list[Ints]:
        """The items that each request excludes, as catalog positions."""
        return [self._ranker.positions(request.exclude) for request in requests]

    def _allowed(self, where: Where) -> "Mask":
        """The items that a filter allows, (N,)."""
        allowed = self.alive
        if where:
            allowed &= self._attributes.mask(where)
        return allowed

    @cached_property
    def _attributes(self) -> "Attributes":
        # Imported here, as the requests of trainings and evaluations have no filter.
        from twofold.retrieval.attributes import Attributes

        return Attributes(self.model.catalog)


def load_model(
    folder: str | Path, device: str = "cpu", name: str | None = None
) -> GenerativeRetriever:
    """Load a model folder, verified by its hashes, to answer requests.

    Args:
        folder: the model folder.
        device: `cpu`, `cuda`, or `auto`.
        name: the name of its runs; the folder's name by default.

    Raises:
        InputError: the folder is incomplete, changed, or of a newer format; no such device.

    Example:
        import twofold

        model = twofold.load_model("out/study/models/joint/seed-0")
        for item in model.search("quiet haunted house", k=3):
            print(item.rank, item.title, round(item.score, 2))
    """
    if not isinstance(folder, str | Path):
        raise InputError(f"{type(folder).__name__} is no model folder; give its path")
    folder = artifact.at_home(folder)
    model = load_model_folder(folder, resolve_device(device))
    model.backbone.pack(model.retrieval_precision, model.vocabulary.spaces.codebooks)
    return GenerativeRetriever(model, name or folder.name)
