"""`twofold sources`."""

from twofold.cli.options import Json


def sources(json: Json = False) -> None:
    """List what can be read: layouts of folders, datasets known by name, and simulators."""
    from twofold.data.sources import known_sources

    known = known_sources()
    if json:
        import json as as_json

        print(as_json.dumps(known, ensure_ascii=False))
        return
    for kind, title in (
        ("layouts", "Layouts of folders"),
        ("names", "Datasets by name, downloaded once"),
        ("simulators", "Simulated worlds, with parameters such as simulate:catalog:films=60"),
    ):
        print(f"{title}:")
        for entry in known[kind]:
            name, *rest = entry.items()
            print(f"  {name[1]}")
            for key, value in rest:
                print(f"      {key}: {value}")
        print()
