"""The parts of README.md that come from measurements: the results table with its picture, and the cost of `make book`.

``lskd book readme`` writes them again, from the committed records; a test holds the README to them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from figures import accuracies, logit_gap, logit_range, ours_and_published, tsne
from figures import table as tables
from figures.fingerprint import ROOT
from figures.publish import Published
from lskd.errors import LskdError
from lskd.files import atomic_write, read_json, write_json
from paper import embedding, gains, statistics, store
from paper.text import duration, markdown_table

RECORDS = Path("results/digit_pairs/wrn_16_2-resnet8")
CIFAR100 = Path("results/cifar100/resnet56-resnet20")
COST = Path("benchmarks/results/make_book.json")
PICTURES, NAME = Path("figures/drawn/digit_pairs"), "digit_pairs_results"


def blocks(root: Path) -> dict[str, str]:
    """Markdown of every generated part, by the name in its markers."""
    out = {"results": _results(root), "cifar100": _cifar100(root)}
    if (root / COST).is_file():
        out["cost"] = _cost(read_json(root / COST))
    return out


def fill(text: str, parts: dict[str, str]) -> str:
    """The README with its parts between ``<!-- name -->`` and ``<!-- /name -->`` replaced.

    Raises:
        LskdError: a part has no markers.
    """
    for name, content in parts.items():
        first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
        found = re.findall(rf"{first}\n.*?{last}", text, flags=re.DOTALL)
        if len(found) != 1:
            raise LskdError(f"README.md: expected one pair of markers {first} and {last}")
        text = text.replace(found[0], f"{first}\n{content}\n{last}")
    return text


def write(root: Path = ROOT) -> None:
    """Write README.md, its pictures, and the paper's Figs. 3 to 5 from our longest run on CIFAR-100 again."""
    draw(root, root / PICTURES)
    networks, there = ours_and_published.committed(root / CIFAR100), root / "figures/drawn/cifar100"
    logit_range.bars(networks, folder=there)
    logit_range.spread(networks, folder=there)
    logit_gap.heatmaps(networks, folder=there)
    tsne.panels(networks, embedding.embed_all(networks.packs), folder=there, perplexity=30.0, seed=0)
    for data in there.glob("*.csv"):  # a megabyte a figure, which the committed evidence gives again
        data.unlink()
        sidecar = read_json(data.with_suffix(".json"))
        del sidecar["files"][data.name]
        write_json(data.with_suffix(".json"), sidecar)
    readme = root / "README.md"
    atomic_write(readme, fill(readme.read_text(encoding="utf-8"), blocks(root)))


def draw(root: Path, folder: Path | str) -> Published:
    """The picture of the default experiment."""
    group = _group(root)
    return accuracies.dots(group.records, folder=folder, files=[path for path, _ in group.runs], name=NAME)


def _group(root: Path) -> store.Group:
    found = store.groups(root / RECORDS)
    if not found:
        raise LskdError(f"{root / RECORDS}: expected records, found none")
    return found[0]


def _results(root: Path) -> str:
    records = _group(root).records
    first = records[0]
    found = statistics.results(records)
    table = tables.results_table(found, epoch="last", counts=True).to_markdown()
    seeds = ", ".join(map(str, dict.fromkeys(r["seed"] for r in records)))
    devices = " and ".join(sorted({r["device"]["name"] for r in records}))
    data = first["dataset"]
    return (
        "Test accuracy at the last epoch in percent, ± 95 % t-interval over seeds; differences are taken seed by seed. "
        f"{first['teacher']['network']} ({first['teacher']['test_accuracy']:.1f} %) teaches "
        f"{next(iter(first['members'].values()))['network']}; {data['train_size']:,} training and "
        f"{data['test_size']:,} test images of digit pairs, {first['config']['epochs']} epochs, seeds {seeds}, "
        f"{devices}, PyTorch {first['versions']['torch']}. "
        f"Records: [`{RECORDS.as_posix()}`]({RECORDS.as_posix()}).\n\n{table}\n\n"
        f"{_verdicts(found.to_dict('records'))} {gains.provenance(records)}".rstrip()
    )


def _cifar100(root: Path) -> str:
    records = [record for _, record in ours_and_published.records_of(root / CIFAR100)]
    table = ours_and_published.accuracy_table(records)
    words = re.sub(r"</?b\b[^>]*>", "**", table.caption)
    return f"{words} Records: [`{CIFAR100.as_posix()}`]({CIFAR100.as_posix()}).\n\n{table.to_markdown()}"


def _verdicts(rows: list[dict[Any, Any]]) -> str:
    """One sentence a method, by rule: an interval without zero tells, one with zero does not."""
    said = []
    for row in rows:
        if row["difference_n"] < statistics.ENOUGH_SEEDS:
            continue
        low, high = row["difference_low"], row["difference_high"]
        verdict = (
            "LS is better" if low > 0 else "LS is worse" if high < 0 else "the interval includes zero: nothing is shown"
        )
        said.append(f"{row['label']}: {verdict}")
    return f"On this data, at these settings: {'; '.join(said)}."


def _cost(cost: dict[str, Any]) -> str:
    titles = {"packages": "packages, once", "first": "`make book`, first call", "second": "`make book`, second call"}
    rows = [(t, duration(cost[k]["seconds"]), f"{cost[k]['peak_bytes'] / 2**30:.1f} GiB") for k, t in titles.items()]
    table = markdown_table(("", "time", "peak memory"), rows, align="lrr")
    machine = cost["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, no GPU"
    return f"{table}\n\nMeasured by `benchmarks/make_book.py` on {cost['date']}: {where}."
