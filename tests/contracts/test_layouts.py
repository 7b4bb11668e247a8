"""Every published layout keeps the contract of a source, over small files made as published."""

import json
from pathlib import Path
from typing import Any

import polars as pl

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


class TestGoodbooks(SourceContract):
    def source(self, folder: Path) -> Path:
        header = "book_id,goodreads_book_id,authors,original_publication_year,title,language_code\n"
        return write(
            folder,
            {
                "books.csv": header
                + "".join(f"{n},9{n},A,2000.0,Book {n},eng\n" for n in (1, 2, 3)),
                "ratings.csv": "user_id,book_id,rating\n"
                + "".join(f"{u},{b},5\n" for u in (1, 2) for b in (1, 2, 3)),
                "tags.csv": "tag_id,tag_name\n" + "".join(f"{t},tag-{t}\n" for t in range(12)),
                "book_tags.csv": "goodreads_book_id,tag_id,count\n"
                + "".join(f"9{1 + t % 3},{t},4\n" for t in range(12)),
            },
        )


class TestLastfm(SourceContract):
    def source(self, folder: Path) -> Path:
        words = ["jazz", "rock", "metal", "pop", "soul", "folk"]
        words += ["punk", "funk", "blues", "disco", "techno", "house"]
        tagged = "".join(
            f"{u}\t{1 + t % 3}\t{t}\t1\t4\t2009\n" for t in range(len(words)) for u in (1, 2)
        )
        return write(
            folder,
            {
                "artists.dat": "id\tname\turl\tpictureURL\n"
                + "".join(f"{n}\tBand é {n}\thttp://a\thttp://b\n" for n in (1, 2, 3)),
                "user_artists.dat": "userID\tartistID\tweight\n"
                + "".join(f"{u}\t{a}\t9\n" for u in (1, 2) for a in (1, 2, 3)),
                "tags.dat": "tagID\ttagValue\n"
                + "".join(f"{n}\t{word}\n" for n, word in enumerate(words)),
                "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\n" + tagged,
            },
            "latin-1",
        )


class TestMind(SourceContract):
    tasks = ("recommendation",)

    def source(self, folder: Path) -> Path:
        news = "".join(f"N{n}\tnews\tus\tTitle {n}\tText\thttp://x\t[]\t[]\n" for n in range(5))
        shown = "".join(
            f"{n}\tU{n}\t11/15/2019 8:0{n}:00 AM\tN0 N1\tN2-1 N3-0 N4-1\n" for n in range(4)
        )
        return write(folder, {"news.tsv": news, "behaviors.tsv": shown})


class TestPlaylists(SourceContract):
    def source(self, folder: Path) -> Path:
        playlists = [
            {
                "pid": pid,
                "name": f"mix {pid}",
                "tracks": [
                    {"pos": n, "track_uri": f"t{(pid + n) % 6}", "track_name": f"Song {n}"}
                    for n in range(4)
                ],
            }
            for pid in range(12)
        ]
        return write(folder, {"mpd.slice.0-999.json": json.dumps({"playlists": playlists})})


class TestKuaiSar(SourceContract):
    def source(self, folder: Path) -> Path:
        at = 1684742000000
        return write(
            folder,
            {
                "item_features.csv": "item_id,caption\n"
                + "".join(f'{n},"[{n}, 2{n}]"\n' for n in range(5)),
                "rec_inter.csv": "user_id,item_id,timestamp,click\n"
                + "".join(f"{u},{n},{at + 9000 * n}.0,1\n" for u in range(3) for n in range(4)),
                "src_inter.csv": "user_id,search_session_id,search_session_timestamp,keyword,"
                "item_id,click_cnt\n"
                + "".join(f'0,{n},{at + n},"[{n}, 7]",{n % 5},1\n' for n in range(12)),
            },
        )


class TestKuaiSearch(SourceContract):
    def source(self, folder: Path) -> Path:
        products = [{"item_id": n, "item_title": f"广场舞 {n}"} for n in range(6)]
        searches = [
            {
                "user_id": u,
                "session_id": 10 * u + n,
                "query": f"灯 {10 * u + n}",
                "time_index": 100 * n + u,
                "impressed_item_ids": [n, n + 1, n + 2],
                "clicked_item_ids": [n, n + 1],
                "purchased_item_ids": [n] if n % 2 else [],
                "split": "test" if n == 3 else "train",
            }
            for u in range(4)
            for n in range(4)
        ]
        return write(
            folder,
            {
                "items_lite/train.jsonl": json_lines(*products),
                "recall_lite/train.jsonl": json_lines(*searches),
            },
        )


class TestQilin(SourceContract):
    def source(self, folder: Path) -> Path:
        notes = {"note_idx": list(range(6)), "note_title": [f"笔记 {n}" for n in range(6)]}
        shown = [
            {"note_idx": (n + shift) % 6, "click": float(shift < 2), "request_timestamp": 1.7e9 + n}
            for n in range(12)
            for shift in range(3)
        ]
        lists = [shown[3 * n : 3 * n + 3] for n in range(12)]
        requests: dict[str, list[Any]] = {"user_idx": [n % 3 for n in range(12)]}
        for name, key, column in (
            ("recommendation", "request_idx", "rec_result_details_with_idx"),
            ("search", "search_idx", "search_result_details_with_idx"),
        ):
            rows = {**requests, key: list(range(12)), column: lists}
            if name == "search":
                rows["query"] = [f"灯 {n}" for n in range(12)]
            for split, kept in (("train", slice(0, 10)), ("test", slice(10, 12))):
                path = folder / f"{name}_{split}" / "train-00000-of-00001.parquet"
                path.parent.mkdir(parents=True)
                pl.DataFrame({c: v[kept] for c, v in rows.items()}).write_parquet(path)
        (folder / "notes").mkdir()
        pl.DataFrame(notes).write_parquet(folder / "notes" / "train-00000-of-00001.parquet")
        return folder


class TestAmazon(SourceContract):
    tasks = ("recommendation",)

    def source(self, folder: Path) -> Path:
        products = [{"parent_asin": f"B{n}", "title": f"Lamp {n}"} for n in range(4)]
        reviews = [
            {"user_id": f"A{u}", "parent_asin": f"B{n}", "timestamp": 1588687728923 + n}
            for u in range(3)
            for n in range(4)
        ]
        return write(
            folder,
            {"meta_Home.jsonl": json_lines(*products), "Home.jsonl": json_lines(*reviews)},
        )


class TestJdsearch(SourceContract):
    def source(self, folder: Path) -> Path:
        products = "".join("\t".join([n, n, "1", "2", *"34567890", "s"]) + "\n" for n in "1234")
        rows = "".join(
            f"7\x18{u}\t1_2\t1.0_0.0\t5_-1_6{u}\t2_3_4\tORD_CLICK_CART\t0_1_2_3\n" for u in range(5)
        )
        return write(folder, {"product_data.txt": products, "release_data.txt": rows})
