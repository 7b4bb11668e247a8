"""Build the datasets of the published figures from their published originals.

    python benchmarks/build_data.py ml-small-joint --out DIR --movielens ml-latest-small \\
        --tags ml-10M100K --questions Movies
    python benchmarks/build_data.py ml-1m-joint --out DIR --movielens ml-1m --tags ml-10M100K \\
        --questions Movies --links ml-25m/links.csv --tmdb ranklens/raw
    python benchmarks/build_data.py beauty --out DIR --sequences Beauty.txt

Each argument is the unpacked original; docs/results/data.md names version, publisher, licence and
citation, and says which parts come out exactly as measured. The script needs Python alone, and
prints the size of each table with the size that was measured.
"""

import argparse
import csv
import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Tables = dict[str, list[Row]]

MEASURED = {
    "ml-small-joint": {"items": 9742, "interactions": 100836, "queries": 8723, "qrels": 49279},
    "ml-1m-joint": {"items": 3416, "interactions": 999611, "queries": 4973, "qrels": 23794},
    "beauty": {"items": 12101, "interactions": 198502},
}
"""Rows of each table that the published figures were measured on."""

PERSONAL_TAGS = {"own", "seen"}
"""Tags about the person who gave them, not about the film. There may have been more."""

MIN_PEOPLE = 2
CORE = 5
CAST = 5
SIMILAR = 0.3
"""Jaccard similarity of words above which two questions about a film count as the same."""

AFTERTHOUGHT = re.compile(r"\b(?:edit\s*\d*\s*:|solved\b).*", re.IGNORECASE | re.DOTALL)
BRACKETS = re.compile(r"^(?:\s*\[[^\]]*\])+")


def read_csv(path: Path) -> list[Row]:
    """The rows of a table with a header, in UTF-8."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_dat(path: Path, columns: Iterable[str]) -> list[Row]:
    """The rows of an older MovieLens table: `::` between fields, Latin-1, no header."""
    lines = path.read_text(encoding="latin-1").splitlines()
    return [dict(zip(columns, line.split("::"), strict=True)) for line in lines]


def read_jsonl(path: Path) -> list[Row]:
    """The records of a file with one JSON object a line."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def film(movie: Row) -> Row:
    """An item of a row of a MovieLens table of movies."""
    year = re.search(r"\((\d{4})\)\s*$", movie["title"])
    return {
        "item_id": movie["movieId"],
        "title": movie["title"],
        "year": year[1] if year else "",
        "genres": movie["genres"],
    }


def small_films(folder: Path) -> Tables:
    """Items and interactions of MovieLens latest-small, as published."""
    ratings = read_csv(folder / "ratings.csv")
    return {
        "items": [film(movie) for movie in read_csv(folder / "movies.csv")],
        "interactions": [event(row, row["timestamp"]) for row in ratings],
    }


def event(rating: Row, timestamp: object) -> Row:
    """An interaction of a rating."""
    return {"user_id": rating["userId"], "item_id": rating["movieId"], "timestamp": timestamp}


def large_films(folder: Path) -> Tables:
    """Items and interactions of MovieLens 1M: 5-core, a user's events numbered in time order.

    Events of one second stay in the order of the file.
    """
    columns = ("userId", "movieId", "rating", "timestamp")
    ratings = keep_core(read_dat(folder / "ratings.dat", columns))
    histories = defaultdict(list)
    for rating in ratings:
        histories[rating["userId"]].append(rating)
    interactions = []
    for history in histories.values():
        history.sort(key=lambda rating: int(rating["timestamp"]))
        interactions += [event(rating, place) for place, rating in enumerate(history)]
    kept = {row["item_id"] for row in interactions}
    movies = read_dat(folder / "movies.dat", ("movieId", "title", "genres"))
    return {
        "items": [film(movie) for movie in movies if movie["movieId"] in kept],
        "interactions": interactions,
    }


def keep_core(ratings: list[Row]) -> list[Row]:
    """The ratings left when users and items with fewer than 5 are removed until none remains."""
    while True:
        users = Counter(row["userId"] for row in ratings)
        movies = Counter(row["movieId"] for row in ratings)
        kept = [r for r in ratings if min(users[r["userId"]], movies[r["movieId"]]) >= CORE]
        if len(kept) == len(ratings):
            return kept
        ratings = kept


def add_texts(items: list[Row], folder: Path, links: list[Row]) -> None:
    """Add director, the first five of the cast and the plot, as TMDB had them."""
    plots = {str(movie["id"]): movie["overview"] for movie in _json(folder, "tmdb_movies.json.gz")}
    people = {str(movie["id"]): movie for movie in _json(folder, "tmdb_cast.json.gz")}
    tmdb = {link["movieId"]: link["tmdbId"] for link in links}
    for item in items:
        key = tmdb.get(item["item_id"], "")
        credits = people.get(key, {"cast": [], "crew": []})
        directors = [person["name"] for person in credits["crew"] if person["job"] == "Director"]
        item["director"] = ",".join(directors)
        item["cast"] = ",".join(person["name"] for person in credits["cast"][:CAST])
        item["text"] = plots.get(key, "")


def _json(folder: Path, name: str) -> Any:
    with gzip.open(folder / name, "rt", encoding="utf-8") as file:
        return json.load(file)


def tag_queries(folder: Path, items: set[str]) -> tuple[list[Row], list[Row]]:
    """The tags of MovieLens 10M that two people used, and the films of the catalog that have them.

    Tags are numbered in alphabetical order before films outside of the catalog are left out, so
    that a tag has one id in both datasets.
    """
    people, movies = defaultdict(set), defaultdict(set)
    for row in read_dat(folder / "tags.dat", ("userId", "movieId", "tag", "timestamp")):
        tag = row["tag"].strip().lower()
        people[tag].add(row["userId"])
        movies[tag].add(row["movieId"])
    used = [tag for tag in sorted(people) if len(people[tag]) >= MIN_PEOPLE]
    queries, qrels = [], []
    for number, tag in enumerate(tag for tag in used if tag not in PERSONAL_TAGS):
        text, answers = tag.strip("\"'"), movies[tag] & items
        if answers:
            queries.append(query(f"t{number}", text, "tag", tag_split(text)))
            qrels += [judgment(f"t{number}", movie) for movie in sorted(answers, key=int)]
    return queries, qrels


def query(query_id: str, text: str, kind: str, split: str) -> Row:
    """A row of the table of queries."""
    return {"query_id": query_id, "text": text, "kind": kind, "split": split}


def judgment(query_id: str, item_id: str) -> Row:
    """A row of the table of judgments."""
    return {"query_id": query_id, "item_id": item_id, "relevance": 1}


def tag_split(text: str) -> str:
    """80/10/10 by a hash of the words without case, punctuation and a final s.

    >>> tag_split("space opera"), tag_split("Space-Operas")
    ('train', 'train')
    """
    words = [w[:-1] if w.endswith("s") and len(w) > 2 else w for w in words_of(text)]
    bucket = int(hashlib.md5(" ".join(words).encode(), usedforsecurity=False).hexdigest(), 16) % 10
    return {0: "test", 1: "validation"}.get(bucket, "train")


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"\w+", text.lower())


def questions(folder: Path, links: list[Row], items: Mapping[str, Row]) -> list[tuple[Row, Row]]:
    """Solved questions of Reddit-TOMT about films of the catalog, each with its judgment.

    Left out are questions that name their answer, and training questions that are nearly a test
    question about the same film.
    """
    movie_of = {f"tt{link['imdbId']}": link["movieId"] for link in links}
    asked = []
    for split in ("train", "validation", "test"):
        answers = dict(_answers(folder / "splits" / split / "qrels.txt"))
        for record in read_jsonl(folder / "splits" / split / "queries.json"):
            movie = movie_of.get(answers[record["id"]], "")
            text = question_text(record)
            if movie in items and not names_answer(text, items[movie]["title"]):
                name = f"q{record['id']}"
                asked.append((query(name, text, "question", split), judgment(name, movie)))
    return without_near_tests(asked)


def _answers(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        query_id, _, document, _ = line.split()
        yield query_id, document


def question_text(record: Row) -> str:
    """Title without its tags in brackets, then the description up to what was added later."""
    title = BRACKETS.sub("", record["title"])
    description = AFTERTHOUGHT.sub("", record["description"])
    return " ".join(f"{title} {description}".split())


def names_answer(text: str, title: str) -> bool:
    """Whether the words of a film's title, without its year, stand in a text one after another."""
    name = " ".join(words_of(re.sub(r"\(.*", "", title)))
    return f" {name} " in f" {' '.join(words_of(text))} "


def without_near_tests(asked: list[tuple[Row, Row]]) -> list[tuple[Row, Row]]:
    """The questions without training questions that nearly repeat a test question on the film."""
    tests = defaultdict(list)
    for row, answer in asked:
        if row["split"] == "test":
            tests[answer["item_id"]].append(set(words_of(row["text"])))
    return [
        (row, answer)
        for row, answer in asked
        if row["split"] != "train"
        or all(jaccard(set(words_of(row["text"])), t) <= SIMILAR for t in tests[answer["item_id"]])
    ]


def jaccard(one: set[str], other: set[str]) -> float:
    """The shared part of two sets: {a, b} and {b, c} -> 1 / 3."""
    return len(one & other) / max(len(one | other), 1)


def beauty(sequences: Path) -> Tables:
    """Amazon Beauty, 5-core, from lines `user item item ...` in time order; nothing has a text."""
    interactions = []
    for line in sequences.read_text(encoding="utf-8").splitlines():
        user, *history = line.split()
        interactions += [
            {"user_id": user, "item_id": item, "timestamp": place}
            for place, item in enumerate(history)
        ]
    names = sorted({str(row["item_id"]) for row in interactions}, key=int)
    return {
        "items": [{"item_id": name, "title": ""} for name in names],
        "interactions": interactions,
    }


def films(arguments: argparse.Namespace) -> Tables:
    """One of the two datasets of films, with tags and questions as queries."""
    small = arguments.dataset == "ml-small-joint"
    tables = (small_films if small else large_films)(arguments.movielens)
    items = {item["item_id"]: item for item in tables["items"]}
    links = read_csv(arguments.links or arguments.movielens / "links.csv")
    if arguments.tmdb:
        add_texts(tables["items"], arguments.tmdb, links)
    queries, qrels = tag_queries(arguments.tags, set(items))
    for row, answer in questions(arguments.questions, links, items):
        queries.append(row)
        qrels.append(answer)
    return tables | {"queries": queries, "qrels": qrels}


def write_tables(tables: Tables, out: Path, dataset: str) -> None:
    """Write the tables as CSV, and print their sizes with those that were measured."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        with (out / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{name}: {len(rows):,} rows; measured: {MEASURED[dataset][name]:,}")


def main() -> None:
    """Build one dataset."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", choices=list(MEASURED))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--movielens", type=Path, help="folder of ml-latest-small or ml-1m")
    parser.add_argument("--tags", type=Path, help="folder of MovieLens 10M (tags.dat)")
    parser.add_argument("--questions", type=Path, help="folder Movies of Reddit-TOMT")
    parser.add_argument("--links", type=Path, help="links.csv of a larger MovieLens, for ml-1m")
    parser.add_argument("--tmdb", type=Path, help="folder raw of RankLens, for people and plots")
    parser.add_argument("--sequences", type=Path, help="Beauty.txt of S3-Rec")
    arguments = parser.parse_args()
    tables = beauty(arguments.sequences) if arguments.dataset == "beauty" else films(arguments)
    write_tables(tables, arguments.out, arguments.dataset)


if __name__ == "__main__":
    main()
