"""Recipes and runs in words and Markdown tables, so that a page never holds a typed number."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lskd.recipes import Recipe

OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}
WORDS = {
    "nesterov": "Nesterov momentum",
    "warmup_epochs": "warm-up epochs",
    "first_rate": "first learning rate",
    "final_rate": "last learning rate",
    "drop_last_batch": "last, smaller batch dropped",
    "drop_path": "drop path, last block",
    "exempt_from_decay": "not decayed",
    "betas": "β of AdamW",
}
SYMBOLS = {
    "temperature": "T",
    "kd_weight": "weight",
    "ce_weight": "CE weight",
    "alpha": "α",
    "beta": "β",
    "warmup": "warm-up epochs",
    "t_start": "T from",
    "t_end": "range of T",
    "loops": "curriculum epochs",
}


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[object]], *, align: str = "") -> str:
    """A Markdown table; ``align`` has one letter a column: l, r, or - for the reader's usual."""
    header = list(header)
    marks = {"l": ":--", "r": "--:", "-": "---"}
    align = align or "l" * len(header)
    lines = [" | ".join(_cell(h) for h in header), " | ".join(marks[a] for a in align)]
    lines += [" | ".join(_cell(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def aligned(lines: Sequence[Sequence[str]], *, right: int | None = None) -> list[str]:
    """Lines of cells in columns, that of number ``right`` set at the right; a column without text is left out."""
    columns = []
    for i, cells in enumerate(zip(*lines, strict=True)):
        width = max(map(len, cells))
        columns += [[cell.rjust(width) if i == right else cell.ljust(width) for cell in cells]] * bool(width)
    return ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]


def csv_table(lines: Iterable[Iterable[object]]) -> str:
    """Lines of cells as CSV."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue().rstrip("\n")


def latex_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, align: str = "", caption: str = "") -> str:
    """A table with rules of booktabs, to be pasted; numbers are as they are printed, ``\\(...\\)`` is a formula."""
    import latexcodec  # noqa: F401  # brings the codec

    def escaped(text: str) -> str:
        pieces = re.split(r"(\\\(.*?\\\))", text)
        pieces[::2] = (codecs.encode(piece.replace("\\", "/"), "ulatex", "keep") for piece in pieces[::2])
        return "".join(pieces)

    first, *others = (" & ".join(map(escaped, line)) + r" \\" for line in (header, *rows))
    top = [r"\begin{table}", r"\centering", *([rf"\caption{{{escaped(caption)}}}"] if caption else [])]
    top += [rf"\begin{{tabular}}{{{align or 'l' + 'r' * (len(header) - 1)}}}", r"\toprule", first, r"\midrule"]
    return "\n".join([*top, *others, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _cell(content: object) -> str:
    return str(content).replace("|", r"\|")


def data_name(dataset: str) -> str:
    """A data set as its makers write it, "CIFAR-100" for ``cifar100``."""
    from lskd.data import DATASETS  # with PyTorch, which most who write words do without

    return DATASETS[dataset].title if dataset in DATASETS else dataset


def counted(n: int, thing: str) -> str:
    """A number of things: "1 seed", "5 seeds", "2,000 images"."""
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign, plus or a true minus; one that rounds to zero is +0."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def with_symbols(settings: str) -> str:
    """Settings in words, such as "temperature 4 → 2", by their symbols: "T 4 → 2"."""
    for name, symbol in SYMBOLS.items():
        settings = settings.replace(name, symbol)
    return settings


def settings_text(settings: Mapping[str, Any]) -> str:
    """An objective's settings as "T 2, weight 9, CE weight 0.1"."""
    shown = {k: v for k, v in settings.items() if k not in ("method", "standardize")}
    return ", ".join(f"{SYMBOLS.get(k, k.replace('_', ' '))} {written(v)}" for k, v in shown.items()) or "–"


def protocol(recipe: Recipe) -> dict[str, str]:
    """How a recipe trains and on what, by what readers call each setting; networks and objectives are not settings."""
    given = dict(recipe.optimization)
    optimizer, schedule = str(given.pop("optimizer", "sgd")), given.pop("schedule", None)
    out = {"optimiser": OPTIMIZERS[optimizer]}
    if optimizer == "sgd":
        out["momentum"] = written(recipe.momentum)
    out |= {"epochs": written(recipe.epochs), "batch": written(recipe.batch_size)}
    out["learning rate"] = written(recipe.learning_rate)
    if recipe.milestones:
        schedule = f"times {written(recipe.decay)} after {written(recipe.milestones)}"
    if schedule:
        out["schedule"] = str(schedule)
    out["weight decay"] = written(recipe.weight_decay)
    out |= {WORDS.get(key, key.replace("_", " ")): written(value) for key, value in given.items()}
    out |= {f"data: {key.replace('_', ' ')}": written(value) for key, value in recipe.data.items()}
    if recipe.teacher:
        own = "trained by " + recipe.teacher.recipe if recipe.teacher.recipe else str(recipe.teacher.checkpoint)
        out["teacher's weights"] = own.replace("torchvision:", "torchvision, ")
        if recipe.teacher.input_size:
            out["teacher sees images of size"] = written(recipe.teacher.input_size)
    return out


def recipe_text(recipe: Recipe) -> str:
    """What a recipe trains: one sentence, then one row a member."""
    from paper.members import label  # it needs PyTorch, which the rest of this file does not

    teacher = f"Teacher **{recipe.teacher.network}**, student" if recipe.teacher else "Network"
    how = "; ".join(f"{word} {value}" for word, value in protocol(recipe).items())
    text = f"{teacher} **{recipe.student}**, data set **{recipe.dataset}**: {how}."
    rows = [
        (
            f"`{name}`",
            label("", method=m["method"], standardize=False) if m["method"] != "plain" else "cross-entropy",
            "yes" if m.get("standardize") else "–",
            settings_text(m),
        )
        for name, m in recipe.members.items()
    ]
    return f"{text}\n\n{markdown_table(('member', 'method', 'LS', 'settings'), rows)}"


def run_text(record: Mapping[str, Any]) -> str:
    """Where and how a run was made, in one paragraph and its command."""
    device, teacher = record["device"], record["teacher"]
    hardware = device["name"] + (f", {device['threads']} threads" if device.get("threads") else "")
    images = sum(record["dataset"]["train_size"] * len(m["epochs"]) for m in record["members"].values())
    behind = stopped = ""
    if teacher:
        behind = f" behind a **{teacher['network']}** that scores {teacher['test_accuracy']:.2f} % on the test set"
    for name, member in record["members"].items():
        if member.get("failure"):
            stopped += f" **{name} stopped: {member['failure']['reason']}.**"
    return (
        f"Seed {record['seed']}: {counted(len(record['members']), 'network')}{behind}, trained in "
        f"{duration(record['wall_seconds'])} on {hardware} "
        f"({images / max(record['wall_seconds'], 1e-9):,.0f} student images a second, evaluation included), "
        f"PyTorch {record['versions']['torch']}, in {counted(record['sessions'], 'session')}.{stopped}\n\n"
        f"```\n{record['command']}\n```"
    )


def run_table(record: Mapping[str, Any]) -> str:
    """Last and best test accuracy of every member, one seed; held-out choice and top five where a record has them."""
    held = any(member.get("selected") for member in record["members"].values())
    five = any("test_top5" in (member["last"] or {}) for member in record["members"].values())
    rows = []
    for name, member in record["members"].items():
        if not member["epochs"]:
            rows.append([f"`{name}`", *["–"] * (4 + held + five)])
            continue
        last, best, selected = member["last"], member["best"], member.get("selected")
        row = [f"`{name}`", f"{member['epochs'][-1]['train_accuracy']:.2f}", f"**{last['test_accuracy']:.2f}**"]
        row += [f"{best['test_accuracy']:.2f}", str(best["epoch"])]
        row += [f"{selected['test_accuracy']:.2f}" if selected else "–"] * held
        rows.append(row + ([f"{last['test_top5']:.2f}"] if five else []))
    header = [
        "member",
        "training accuracy, last epoch (%)",
        "test, last epoch (%)",
        "test, best epoch (%)",
        "best epoch",
    ]
    header += ["test, epoch chosen on a held-out part (%)"] * held
    header += ["test, among the five largest logits, last epoch (%)"] * five
    return markdown_table(header, rows, align="l" + "r" * (len(header) - 1)) + (
        f"\n\nOne seed (n = 1), {record['dataset']['test_size']:,} test images."
    )


def written(value: Any) -> str:
    """A setting for readers, floats without zeros: "9", "150, 180, 210", "yes"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(written, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes above, with the unit."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
