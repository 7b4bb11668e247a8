"""Score any retriever under the same protocol: full catalog, same splits, same tie rule.

A retriever is anything with a name and `retrieve(requests, k) -> Run`.
"""

import twofold


class Alphabetical:
    """Answers everything with the first titles of the alphabet."""

    name = "alphabetical"

    def __init__(self, dataset) -> None:
        items = dataset.catalog.items.sort("title", descending=True)
        self.item_ids = items["item_id"].to_list()

    def retrieve(self, requests, k):
        """One ranking a request; the last title has the lowest score."""
        from twofold.evaluation.runs import rank

        ranked = {}
        for request in requests:
            scored = ((item, n) for n, item in enumerate(self.item_ids))
            allowed = rank(pair for pair in scored if pair[0] not in request.exclude)
            ranked[request.request_id] = type(allowed)(allowed.item_ids[:k], allowed.scores[:k])
        return twofold.Run(self.name, ranked)


dataset = twofold.load_dataset("simulate:catalog")
found = twofold.evaluate(Alphabetical(dataset), dataset)
for task, measures in found.means().items():
    print(task, {name: round(value, 4) for name, value in measures.items()})
