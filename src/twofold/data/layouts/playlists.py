"""Slices of the Million Playlist Dataset: `mpd.slice.0-999.json` and so on.

A playlist is a user whose history has its tracks in order, and its name is a query whose relevant
items are its tracks.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from twofold.data.formats import Table
from twofold.data.layouts.layout import Layout, Tables
from twofold.data.reading.decode import read_text
from twofold.records import InputError

_PATTERN = "mpd.slice.*.json"


def tables(folder: Path) -> Tables:
    """The tracks and playlists of all slices in a folder, or in its folder `data`.

    Raises:
        InputError: a slice is not JSON, or not in this layout.
    """
    paths = sorted([*folder.glob(_PATTERN), *folder.glob(f"data/{_PATTERN}")], key=_start)
    items: dict[str, dict[str, Any]] = {}
    events: list[tuple[str, str]] = []
    queries: list[tuple[str, str, str]] = []
    for path in paths:
        for playlist in _playlists(path):
            try:
                pid = str(playlist["pid"])
                tracks = sorted(playlist["tracks"], key=lambda track: int(track["pos"]))
                for track in tracks:
                    items.setdefault(str(track["track_uri"]), track)
                    events.append((pid, str(track["track_uri"])))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{path}: playlist {playlist.get('pid', '')} lacks {error}; a playlist has "
                    f"pid, name and tracks, and a track pos and track_uri"
                ) from error
            queries.append((f"playlist:{pid}", str(playlist.get("name") or ""), pid))
    return _as_tables(folder, items, events, queries)


def _as_tables(
    folder: Path,
    items: dict[str, dict[str, Any]],
    events: list[tuple[str, str]],
    queries: list[tuple[str, str, str]],
) -> Tables:
    """The four tables: a playlist is a user, and its name is a query for its tracks."""
    tracks = pl.DataFrame(
        [
            (uri, track.get("track_name"), track.get("artist_name"), track.get("album_name"))
            for uri, track in items.items()
        ],
        schema=dict.fromkeys(("item_id", "title", "artist", "album"), pl.String),
        orient="row",
    )
    follow = pl.DataFrame(
        events, schema=dict.fromkeys(("user_id", "item_id"), pl.String), orient="row"
    )
    names = pl.DataFrame(
        queries, schema=dict.fromkeys(("query_id", "text", "user_id"), pl.String), orient="row"
    )
    query_id = pl.concat_str(pl.lit("playlist:"), pl.col("user_id"))
    qrels = follow.select("item_id", query_id=query_id).unique(maintain_order=True)
    named = {"items": tracks, "interactions": follow, "queries": names, "qrels": qrels}
    return {name: [Table(folder, rows, derived=True)] for name, rows in named.items()}


def _start(path: Path) -> tuple[int, str]:
    """The number of a slice's first playlist, so that slice 1000 follows slice 0."""
    start = path.name.removeprefix("mpd.slice.").partition("-")[0]
    return (int(start) if start.isdecimal() else 0, path.name)


def _playlists(path: Path) -> list[dict[str, Any]]:
    try:
        read = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} line {error.lineno}: {error.msg}; unpack it again") from error
    playlists = read.get("playlists") if isinstance(read, dict) else None
    if not isinstance(playlists, list) or not all(isinstance(p, dict) for p in playlists):
        raise InputError(f"{path}: no list 'playlists', which a slice has; unpack it again")
    return playlists


LAYOUT = Layout(
    name="Million Playlist Dataset",
    needs=(f"{_PATTERN}|data/{_PATTERN}",),
    gives="tracks, playlists as histories, and their names as queries: both tasks",
    tables=tables,
)
