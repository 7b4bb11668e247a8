"""`simulate:taste`: what a query wants depends on the history before it."""

from twofold.tasks.storage import load_dataset


def test_a_query_wants_what_its_user_likes() -> None:
    dataset = load_dataset("simulate:taste:users=80,topics=4,items=6")
    judged = dataset.task("search").requests("test")
    titles, words = dataset.catalog.title, {r.request_id: r.query or "" for r in judged.requests}
    # Items of one taste are those that histories show together.
    together: dict[str, set[str]] = {}
    for request in judged.requests:
        assert len(request.history) >= 8
        (wanted,) = judged.qrels[request.request_id]
        assert titles(wanted) == words[request.request_id].split()[0]
        together.setdefault(wanted, set()).update(request.history)
    for request in judged.requests:
        (wanted,) = judged.qrels[request.request_id]
        alike = [i for i in together if together[i] & set(request.history)]
        assert len({i for i in alike if titles(i) == titles(wanted)}) <= 6
