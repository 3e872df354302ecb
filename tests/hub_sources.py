"""Small versions of the paper's nine sources, in their layouts on the hub."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from leaf_st.texts.paper.sources import SOURCES

ROWS = 40


def make_sources(folder: Path) -> dict[str, Path]:
    """Write the datasets to ``folder``; return their folders by hub id."""
    folders = {source.hub_id: folder / name for name, source in SOURCES.items() if source.hub_id}
    for name, source in SOURCES.items():
        if source.hub_id:
            (folder / name).mkdir(parents=True)
            _MAKERS[name](folder / name)
    return folders


def _texts(what: str, count: int = ROWS) -> list[str]:
    return [f"{what} number {row} of the {what} texts" for row in range(count)]


def _parquet(path: Path, columns: dict[str, list], rows_per_group: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)


def _jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def _card(folder: Path, configs: dict[str, dict[str, str]]) -> None:
    """Write the README, whose head lists the files of each configuration and split."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f'- config_name: "{config}"', "  data_files:"]
        for split, path in splits.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", "# A card", ""]))


def _fineweb(folder: Path) -> None:
    for file in range(2):
        texts = [text + " and so on" * 500 for text in _texts(f"web page {file}")]
        columns = {"text": texts, "id": _texts("id"), "language": ["en"] * ROWS}
        _parquet(folder / "sample" / "10BT" / f"{file:03}_00000.parquet", columns, rows_per_group=8)
    _parquet(folder / "data" / "CC-MAIN-2013-20" / "000_00000.parquet", {"text": _texts("other page")})
    _card(folder, {"default": {"train": "data/*/*"}, "sample-10BT": {"train": "sample/10BT/*"}})


def _cc_news(folder: Path) -> None:
    years = [str(year) for year in range(2016, 2025)]
    for year in years:
        columns = {
            "requested_url": _texts("address"),
            "plain_text": [*_texts(f"article of {year}")],
            "title": [None, *_texts("headline", ROWS - 1)],
            "language": ["en", "de"] * (ROWS // 2),
        }
        _parquet(folder / f"{year}_0000.parquet", columns, rows_per_group=10)
    _card(folder, {year: {"train": f"{year}_*.parquet"} for year in years})


def _vocabulary(folder: Path) -> None:
    columns = {
        "word": _texts("word", ROWS),
        "definitions": [[f"{text}, {sense}" for sense in ("first", "second")] for text in _texts("meaning")],
    }
    _parquet(folder / "data" / "train-00000-of-00001.parquet", columns)


def _amazon_qa(folder: Path) -> None:
    rows = [{"query": text, "pos": [text]} for text in [*_texts("product question"), *_texts("product question", 1)]]
    _jsonl(folder / "Amazon-QA.jsonl.gz", rows)


def _lotte(folder: Path) -> None:
    configs = {}
    for config in SOURCES["lotte"].configs:
        for split in ("dev", "test"):
            texts = _texts(f"{config} {split}", 4)
            _parquet(folder / config / f"{split}-00000-of-00001.parquet", {"_id": texts, "text": texts})
        configs[config] = {split: f"{config}/{split}-*" for split in ("dev", "test")}
    _card(folder, configs)


def _msmarco(folder: Path) -> None:
    _jsonl(folder / "queries.jsonl", [{"_id": str(row), "text": text} for row, text in enumerate(_texts("search"))])
    _jsonl(folder / "qrels" / "train.jsonl", [{"query-id": str(row), "corpus-id": "7", "score": 1} for row in range(9)])
    _card(folder, {"default": {"train": "qrels/train.jsonl"}, "queries": {"queries": "queries.jsonl"}})


def _pubmedqa(folder: Path) -> None:
    configs = SOURCES["pubmedqa"].configs
    for config in configs:
        texts = _texts(f"{config} question")
        for part, half in enumerate((texts[: ROWS // 2], texts[ROWS // 2 :])):
            columns = {"pubid": list(range(len(half))), "question": half}
            _parquet(folder / config / f"train-{part:05}-of-00002.parquet", columns)
    _card(folder, {config: {"train": f"{config}/train-*"} for config in configs})


def _triviaqa(folder: Path) -> None:
    columns = {"query": _texts("trivia"), "answer": _texts("answer")}
    _parquet(folder / "pair" / "train-00000-of-00001.parquet", columns)
    _card(folder, {"pair": {"train": "pair/train-*"}})


_MAKERS = {
    "fineweb": _fineweb,
    "cc-news": _cc_news,
    "vocabulary": _vocabulary,
    "amazon-qa": _amazon_qa,
    "lotte": _lotte,
    "msmarco": _msmarco,
    "pubmedqa": _pubmedqa,
    "triviaqa": _triviaqa,
}
