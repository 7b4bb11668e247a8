"""One catalog in ten languages, translated word by word, so that search should find the same.

An item is a colour, a material and a thing. Chinese, Japanese and Thai write no spaces.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from twofold.data.formats import Table
from twofold.data.validation import validate
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_dataset

_WORDS = {
    "English": (
        "red blue green black white yellow purple grey",
        "oak steel glass linen leather bamboo",
        "lamp chair table sofa shelf",
    ),
    "German": (
        "rote blaue grüne schwarze weiße gelbe lila graue",
        "Eiche Stahl Glas Leinen Leder Bambus",
        "Lampe Stühle Tische Sofa Regal",
    ),
    "Turkish": (
        "kırmızı mavi yeşil siyah beyaz sarı mor gri",
        "meşe çelik cam keten deri bambu",
        "ışık sandalye masa kanepe İskemle",
    ),
    "Arabic": (
        "أحمر أزرق أخضر أسود أبيض أصفر بنفسجي رمادي",
        "بلوط فولاذ زجاج كتان جلد خيزران",
        "مصباح كرسي طاولة أريكة رف",
    ),
    "Hindi": (
        "लाल नीला हरा काला सफेद पीला बैंगनी धूसर",
        "ओक इस्पात काँच लिनन चमड़ा बाँस",
        "दीपक कुर्सी मेज सोफा अलमारी",
    ),
    "Thai": (
        "แดง น้ำเงิน เขียว ดำ ขาว เหลือง ม่วง เทา",
        "โอ๊ค เหล็ก แก้ว ลินิน หนัง ไผ่",
        "โคมไฟ เก้าอี้ โต๊ะ โซฟา ชั้นวาง",
    ),
    "Chinese": (
        "红色 蓝色 绿色 黑色 白色 黄色 紫色 灰色",
        "橡木 钢制 玻璃 亚麻 皮革 竹子",
        "台灯 椅子 桌子 沙发 书架",
    ),
    "Japanese": (
        "赤い 青い 緑の 黒い 白い 黄色い 紫の 灰色の",
        "オーク スチール ガラス リネン 革 竹",
        "ランプ 椅子 テーブル ソファ 棚",
    ),
    "Korean": (
        "빨간 파란 초록 검은 하얀 노란 보라 회색",
        "참나무 강철 유리 린넨 가죽 대나무",
        "램프 의자 탁자 소파 선반",
    ),
    "Russian": (
        "красный синий зелёный чёрный белый жёлтый лиловый серый",
        "дуб сталь стекло лён кожа бамбук",
        "лампа стул стол диван полка",
    ),
}
LANGUAGES = tuple(_WORDS)
_WITHOUT_SPACES = {"Chinese", "Japanese", "Thai"}


def catalog_in(language: str) -> PreparedDataset:
    """240 items, users who like one colour, and queries of two words."""
    colours, materials, things = (words.split() for words in _WORDS[language])
    space = "" if language in _WITHOUT_SPACES else " "
    rng = np.random.default_rng(3)
    items = [(c, m, t) for c in range(8) for m in range(6) for t in range(5)]
    named = [space.join((colours[c], materials[m], things[t])) for c, m, t in items]
    item_ids = [f"i{n}" for n in range(len(items))]
    events = [
        (f"u{user}", item_ids[rng.choice(np.arange(30)) + 30 * (user % 8)], str(time))
        for user in range(80)
        for time in range(5)
    ]
    asked = [(colours[c], things[t], {"c": c, "t": t}) for c in range(8) for t in range(5)]
    asked += [(materials[m], things[t], {"m": m, "t": t}) for m in range(6) for t in range(5)]
    splits = rng.permutation([*["test"] * 20, *["validation"] * 15, *["train"] * 35])
    queries = [
        (f"q{n}", space.join(words), split)
        for n, ((*words, _), split) in enumerate(zip(asked, splits, strict=True))
    ]
    judged = [
        (f"q{n}", item_ids[place])
        for n, (*_, wanted) in enumerate(asked)
        for place, item in enumerate(items)
        if wanted.items() <= dict(zip("cmt", item, strict=True)).items()
    ]
    frames = {
        "items": pl.DataFrame({"item_id": item_ids, "title": named}),
        "interactions": _table(events, "user_id", "item_id", "timestamp"),
        "queries": _table(queries, "query_id", "text", "split"),
        "qrels": _table(judged, "query_id", "item_id"),
    }
    tables = {name: [Table(Path(f"{name}.csv"), rows)] for name, rows in frames.items()}
    return split_dataset(validate(tables), language)


def _table(rows: Sequence[tuple[str, ...]], *columns: str) -> pl.DataFrame:
    return pl.DataFrame(rows, list(columns), orient="row")
