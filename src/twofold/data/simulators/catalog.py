"""`simulate:catalog`: a small film catalog with readable titles.

Each film has a genre and a theme. Users prefer a few genres, and a film often has the theme of the
one before, so histories show which films are similar. Queries are words for genres and themes, so
they show it as well.
"""

from itertools import product

import numpy as np
import polars as pl

from twofold.data.simulators.world import Frames
from twofold.records import Floats, InputError, Ints

_GENRES = {
    "science fiction": ("Orbital", "Quantum", "Distant", "Silver"),
    "crime": ("Crooked", "Broken", "Midnight", "Cold"),
    "comedy": ("Clumsy", "Accidental", "Cheerful", "Borrowed"),
    "horror": ("Hollow", "Whispering", "Crimson", "Buried"),
    "romance": ("Tender", "Summer", "Secret", "Gentle"),
    "western": ("Dusty", "Lonesome", "Golden", "Wild"),
    "fantasy": ("Enchanted", "Ancient", "Emerald", "Forgotten"),
    "war": ("Iron", "Fallen", "Last", "Burning"),
}
_THEMES = {
    "heist": ("Vault", "Diamond", "Getaway"),
    "robots": ("Machine", "Android", "Automaton"),
    "road trip": ("Highway", "Journey", "Miles"),
    "haunted house": ("Manor", "Attic", "Corridor"),
    "wedding": ("Bride", "Vows", "Honeymoon"),
    "revenge": ("Reckoning", "Debt", "Vengeance"),
    "dragons": ("Dragon", "Wyrm", "Scale"),
    "spies": ("Agent", "Cipher", "Embassy"),
    "time travel": ("Clock", "Yesterday", "Paradox"),
    "music": ("Melody", "Concert", "Violin"),
}
_MOST_EVENTS = 30
"""The largest number of events of a user, each with another film."""
_MOODS = ("slow", "funny", "dark", "classic", "quiet", "fast")


def catalog(films: int = 480, users: int = 1600, queries: int = 1100, seed: int = 0) -> Frames:
    """The film catalog: events and clicks are drawn by popularity (Zipf, exponent 0.7) times fit.

    Args:
        films: size of the catalog, at least 30; genres and themes are drawn for each film.
        users: each has two favourite genres and 6 to 30 events, none repeated.
        queries: each has words for a theme, a genre, a mood or two of them, and 1 to 8 relevant
            items. Few are for training (3 in 11) and many for testing (6 in 11), as in a busy shop
            with a new search function, so that search can learn from the other task.
        seed: the random seed.

    Raises:
        InputError: there are fewer films than a user may have events.
    """
    if films < _MOST_EVENTS:
        raise InputError(f"films={films}: must be at least {_MOST_EVENTS}")
    rng = np.random.default_rng(seed)
    genre, theme, mood = (rng.integers(n, size=films) for n in (8, 10, 6))
    popularity = np.asarray((1.0 + rng.permutation(films)) ** -0.7, dtype=np.float64)
    items = _films(rng, genre, theme, mood)
    interactions = _events(rng, users, genre, theme, popularity)
    searches, clicks = _clicks(rng, queries, genre, theme, mood, popularity)
    return {"items": items, "interactions": interactions, "queries": searches, "qrels": clicks}


def _films(rng: np.random.Generator, genre: Ints, theme: Ints, mood: Ints) -> pl.DataFrame:
    """The items: a title of two words of genre and theme, and a text that also names the mood."""
    genres, themes = list(_GENRES), list(_THEMES)
    years = rng.integers(1950, 2024, size=len(genre))
    seen: dict[str, int] = {}
    titles = []
    for g, t in zip(genre, theme, strict=True):
        words = list(product(_GENRES[genres[g]], _THEMES[themes[t]]))
        first, second = words[rng.integers(len(words))]
        title = f"The {first} {second}"
        seen[title] = seen.get(title, 0) + 1
        titles.append(title if seen[title] == 1 else f"{title} {seen[title]}")
    return pl.DataFrame(
        {
            "item_id": [f"film-{n}" for n in range(len(genre))],
            "title": titles,
            "year": [str(year) for year in years],
            "genre": [genres[g] for g in genre],
            "text": [
                f"A {_MOODS[m]} {genres[g]} film: {themes[t]}."
                for g, t, m in zip(genre, theme, mood, strict=True)
            ],
        }
    )


def _events(
    rng: np.random.Generator, users: int, genre: Ints, theme: Ints, popularity: Floats
) -> pl.DataFrame:
    """The events of users who like two genres, and often stay with a theme."""
    rows: list[tuple[str, str, str]] = []
    for user in range(users):
        likes = np.full(8, 0.15)
        likes[rng.choice(8, size=2, replace=False)] = 1.0
        left = popularity * likes[genre]
        time = 1_600_000_000 + int(rng.integers(10**7))
        previous = -1
        for _ in range(rng.integers(6, _MOST_EVENTS + 1)):
            # Films with the theme of the previous film have eight times the weight.
            fit = left if previous < 0 else left * np.where(theme == theme[previous], 8.0, 1.0)
            previous = int(rng.choice(len(fit), p=fit / fit.sum()))
            left[previous] = 0.0
            time += int(rng.integers(3600, 86400))
            rows.append((f"user-{user}", f"film-{previous}", str(time)))
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


def _clicks(
    rng: np.random.Generator,
    queries: int,
    genre: Ints,
    theme: Ints,
    mood: Ints,
    popularity: Floats,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Queries that name properties of a film, and the clicked films with these properties."""
    words = [(list(_GENRES), genre), (list(_THEMES), theme), (list(_MOODS), mood)]
    facets = [(1,), (0,), (1, 0), (2, 0), (2, 1), (2, 1, 0)]
    hints = [
        *(a for pool in _GENRES.values() for a in pool),
        *(b for p in _THEMES.values() for b in p),
    ]
    texts: list[str] = []
    qrels: list[tuple[str, str]] = []
    while len(texts) < queries:
        film = int(rng.choice(len(popularity), p=popularity / popularity.sum()))
        facet = facets[rng.integers(len(facets))]
        text = " ".join(words[f][0][words[f][1][film]] for f in facet)
        text += f" {hints[rng.integers(len(hints))].lower()}" if rng.random() < 0.5 else " film"
        fits = np.logical_and.reduce([words[f][1] == words[f][1][film] for f in facet])
        weight = popularity * fits
        clicked = rng.choice(
            len(weight),
            size=min(int(fits.sum()), int(rng.integers(1, 9))),
            replace=False,
            p=weight / weight.sum(),
        )
        qrels += [(f"query-{len(texts)}", f"film-{n}") for n in clicked]
        texts.append(text)
    splits = ["train"] * 3 + ["validation"] * 2 + ["test"] * 6
    split_of: dict[str, str] = {}  # equal texts are in the same split
    rows = [
        (f"query-{n}", text, split_of.setdefault(text, splits[len(split_of) % 11]))
        for n, text in enumerate(texts)
    ]
    return (
        pl.DataFrame(rows, schema=["query_id", "text", "split"], orient="row"),
        pl.DataFrame(qrels, schema=["query_id", "item_id"], orient="row"),
    )
