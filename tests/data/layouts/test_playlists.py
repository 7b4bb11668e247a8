"""Slices of the Million Playlist Dataset, made here."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_layouts import write
from twofold.data.sources import read_source
from twofold.records import InputError


def playlist(pid: int, name: str, *tracks: str) -> dict[str, Any]:
    """A playlist as a slice has it."""
    rows = [
        {
            "pos": pos,
            "artist_name": "Missy",
            "track_uri": f"spotify:track:{track}",
            "track_name": f"Song {track}",
            "album_name": "Best",
            "duration_ms": 226863,
        }
        for pos, track in enumerate(tracks)
    ]
    return {"name": name, "pid": pid, "num_tracks": len(rows), "tracks": rows[::-1]}


def slice_of(*playlists: dict[str, Any]) -> str:
    """The text of a slice."""
    return json.dumps({"info": {"version": "v1"}, "playlists": playlists})


def test_names_ask_for_tracks_and_tracks_follow_each_other(tmp_path: Path) -> None:
    files = {
        "data/mpd.slice.1000-1999.json": slice_of(playlist(1000, "gym", "c", "a")),
        "data/mpd.slice.0-999.json": slice_of(playlist(0, "Throwbacks", "a", "b", "a")),
    }
    dataset = read_source(write(tmp_path, files))
    assert dataset.catalog.items.row(0) == ("spotify:track:a", "Song a", "Missy", "Best")
    tracks = dataset.interactions["item_id"].str.strip_prefix("spotify:track:").to_list()
    assert tracks == ["a", "b", "a", "c", "a"]
    assert dataset.queries["text"].to_list() == ["Throwbacks", "gym"]
    assert dataset.qrels.height == 4


def test_a_broken_slice_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mpd.slice.0-999.json line 1: "):
        read_source(write(tmp_path / "a", {"mpd.slice.0-999.json": "{"}))
    with pytest.raises(InputError, match="no list 'playlists'"):
        read_source(write(tmp_path / "b", {"mpd.slice.0-999.json": "[]"}))
    without = slice_of({"pid": 3, "name": "x", "tracks": [{"pos": 0}]})
    with pytest.raises(InputError, match="playlist 3 lacks 'track_uri'"):
        read_source(write(tmp_path / "c", {"mpd.slice.0-999.json": without}))
