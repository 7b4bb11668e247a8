"""Score any retriever under the same protocol: full catalog, same splits, same tie rule.

A retriever is anything with a name and `retrieve(requests, k) -> Run`.
"""

import twofold


class Alphabetical:
    """Answers everything with the first titles of the alphabet."""

    name = "alphabetical"

    def __init__(self, dataset) -> None:
        items = dataset.catalog.items.sort("title")
        self.item_ids = items["item_id"].to_list()

    def retrieve(self, requests, k):
        """One ranking a request, best first; the first title has the highest score."""
        return twofold.Run(self.name, {r.request_id: self.rank(r, k) for r in requests})

    def rank(self, request, k):
        """The first `k` titles that the request does not exclude."""
        kept = [item_id for item_id in self.item_ids if item_id not in request.exclude][:k]
        return twofold.Ranking(tuple(kept), tuple(-float(n) for n in range(len(kept))))


dataset = twofold.load_dataset("simulate:catalog")
evaluation = twofold.evaluate(Alphabetical(dataset), dataset)
for task, measures in evaluation.means().items():
    print(task, {name: round(value, 4) for name, value in measures.items()})
