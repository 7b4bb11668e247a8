"""Train one small model on a simulated catalog, then search it and be recommended to.

Takes seconds; real use wants the default configuration.
"""

import twofold

dataset = twofold.load_dataset("simulate:catalog")
config = twofold.resolve_config(
    "quick",
    backbone="decoder:tiny",
    max_steps=150,
    max_validation_requests=200,
)
model = twofold.train(dataset, arm="joint", out="model", config=config)

print("dark western film")
for answer in model.search("dark western film", k=3):
    print(f"  {answer.rank}. {answer.title} ({answer.item_id})")

history = ["film-1", "film-2"]
print("after", " and ".join(dataset.catalog.title(item_id) for item_id in history))
for answer in model.recommend(history, k=3):
    print(f"  {answer.rank}. {answer.title} ({answer.item_id})")
