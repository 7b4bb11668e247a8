"""Every published layout keeps the contract of a source, over small files made as published."""

import json
from pathlib import Path

from twofold.testing import SourceContract


def write(folder: Path, files: dict[str, str], encoding: str = "utf-8") -> Path:
    """Write files of a layout, in folders where their names have some."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding=encoding)
    return folder


def json_lines(*records: object) -> str:
    """Records as JSON Lines."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


class TestBeirFolder(SourceContract):
    tasks = ("search",)

    def source(self, folder: Path) -> Path:
        documents = [
            {"_id": f"d{n}", "title": f"Lamp {n}", "text": "oak", "metadata": {}} for n in range(6)
        ]
        queries = [{"_id": f"q{n}", "text": f"lamp {n}", "metadata": {}} for n in range(6)]
        judged = {
            f"qrels/{name}.tsv": "query-id\tcorpus-id\tscore\n"
            + "".join(f"q{n}\td{n}\t1\n" for n in numbers)
            for name, numbers in (("train", (0, 1, 2)), ("dev", (3,)), ("test", (4, 5)))
        }
        tables = {"corpus.jsonl": json_lines(*documents), "queries.jsonl": json_lines(*queries)}
        return write(folder, {**tables, **judged})


class TestRecBole(SourceContract):
    tasks = ("recommendation",)

    def source(self, folder: Path) -> Path:
        rows = "".join(f"u{u}\ti{i}\t5\t{10 * u + i}\n" for u in range(3) for i in range(4))
        header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        items = "".join(f"i{i}\tLamp {i}\tOak Tall\n" for i in range(4))
        return write(
            folder,
            {
                "toy.inter": header + rows,
                "toy.item": "item_id:token\tmovie_title:token_seq\tclass:token_seq\n" + items,
                "toy.user": "user_id:token\tage:float\nu0\t30\n",
            },
        )


class TestMovieLensDat(SourceContract):
    def source(self, folder: Path) -> Path:
        words = ("space", "house", "car", "love", "war", "heist", "dog", "sea", "ice", "gold")
        files = {
            "movies.dat": "".join(f"{m}::Café {m} (2001)::Drama\n" for m in (1, 2, 3)),
            "ratings.dat": "".join(
                f"{u}::{m}::4::{978300760 + 10 * u + m}\n" for u in (1, 2, 3) for m in (1, 2, 3)
            ),
            "tags.dat": "".join(
                f"{u}::{1 + n % 3}::{w}::1200000000\n" for n, w in enumerate(words) for u in (1, 2)
            ),
        }
        return write(folder, files)


class TestMovieLens100k(SourceContract):
    tasks = ("recommendation",)

    def source(self, folder: Path) -> Path:
        flags = "|".join("1" if n == 5 else "0" for n in range(19))
        items = "".join(f"{m}|Café {m} (1995)|01-Jan-1995||http://x|{flags}\n" for m in range(1, 5))
        rows = "".join(
            f"{u}\t{m}\t3\t{881250949 + u + 7 * m}\n" for u in range(3) for m in range(1, 5)
        )
        return write(folder, {"u.item": items, "u.data": rows}, "latin-1")


class TestUbi(SourceContract):
    def source(self, folder: Path) -> Path:
        at = "2024-05-0{}T10:0{}:00Z".format
        queries = [
            {
                "query_id": f"q{n}",
                "user_query": f"lamp {n}",
                "client_id": "c1",
                "timestamp": at(n, 0),
            }
            for n in range(1, 9)
        ]
        events = [
            {
                "action_name": "click",
                "query_id": f"q{n}",
                "client_id": f"c{n % 2}",
                "timestamp": at(n, minute),
                "event_attributes": {
                    "object": {"object_id": n + minute, "name": f"Lamp {n + minute}"},
                    "position": {"ordinal": minute},
                },
            }
            for n in range(1, 9)
            for minute in (1, 2)
        ]
        return write(
            folder,
            {"ubi_queries.ndjson": json_lines(*queries), "ubi_events.ndjson": json_lines(*events)},
        )
