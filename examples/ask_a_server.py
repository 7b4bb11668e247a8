"""Ask a server: search, recommendation, both at once, and why an item came back.

    python ask_a_server.py http://127.0.0.1:8000

Without an address it serves a model to itself, trained for a moment.
"""

import sys
from pathlib import Path

import twofold
from twofold.serving.app_from_folders import app_from_folders
from twofold.serving.client import Client
from twofold.serving.in_process_transport import InProcessTransport


def own_server() -> Client:
    """The same application that `twofold serve` runs, without a socket."""
    dataset = twofold.load_dataset("simulate:catalog:users=200,queries=200")
    small = {"backbone": "decoder:tiny", "max_steps": 20}
    twofold.train(dataset, out="model", config=twofold.resolve_config("quick", **small))
    app = app_from_folders({"joint": Path("model")})
    return Client("http://localhost", transport=InProcessTransport(app))


with Client(sys.argv[1]) if sys.argv[1:] else own_server() as client:
    first, second = client.titles(k=2)
    history = [first.item_id, second.item_id]
    print("popular:", first.title, "and", second.title)
    word = first.title.split()[-1].lower()
    for what, answer in (
        (f"for '{word}'", client.search(word, k=3)),
        ("after both", client.recommend(history, k=3)),
        (f"for '{word}', after both", client.retrieve(word, history, k=3)),
    ):
        print(what, "->", ", ".join(f"{item.title} ({item.score:.2f})" for item in answer.items))
    best = answer.items[0]
    contributions = client.explain(best.item_id, word, history).contributions
    parts = [f"{part.title} {part.score:+.2f}" for part in contributions]
    print("what carries", best.title, "->", ", ".join(parts))
