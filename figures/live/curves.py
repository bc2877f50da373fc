"""Learning curves of any record, live: choose networks, quantity and smoothing; read any epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from figures import theme
from figures.live import figure as live
from paper.members import order

QUANTITIES = {  # what it is called, digits to read
    "test_accuracy": ("test accuracy [%]", 2),
    "train_accuracy": ("training accuracy [%]", 2),
    "test_loss": ("cross-entropy on the test set", 3),
    "train_loss": ("training loss, all terms", 3),
    "learning_rate": ("learning rate", 5),
    "temperature": ("learned temperature", 3),
}
TERMS = {
    "ce": "cross-entropy term",
    "kd": "distillation term",
    "tckd": "target-class term of DKD",
    "nckd": "non-target term of DKD",
}
FIRST = ("alone", "kd", "kd_ls")


def series(member: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Every quantity of a member by epoch; terms of the loss as ``term-NAME``; None where it was not measured."""
    epochs = member["epochs"]
    found = {name: [e.get(name) for e in epochs] for name in QUANTITIES}
    for term in dict.fromkeys(t for e in epochs for t in e.get("terms") or {}):
        found[f"term-{term}"] = [(e.get("terms") or {}).get(term) for e in epochs]
    return {name: values for name, values in found.items() if any(v is not None for v in values)}


def titles(records: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, tuple[str, int]]:
    """Quantities that some member of some record has: name to (title, digits)."""
    present = dict.fromkeys(q for _, r in records for m in r["members"].values() for q in series(m))
    terms = [q for q in present if q.startswith("term-")]
    known = {q: shown for q, shown in QUANTITIES.items() if q in present}
    return known | {q: (TERMS.get(q[5:], f"term {q[5:]}"), 3) for q in terms}


def curves(records: Sequence[tuple[str, Mapping[str, Any]]]) -> live.Live:
    """Curves of every member of every record.

    Args:
        records: (what a reader calls it, the record); the first is shown first.

    Raises:
        ValueError: no record.
    """
    if not records:
        raise ValueError("curves: there is no record; pass at least one (text, record)")
    described = {name: member for _, record in reversed(records) for name, member in record["members"].items()}
    names = order(described)
    looks = {name: theme.look_of(name, described[name]) for name in names}
    quantities = titles(records)
    made = live.plot("epoch", next(iter(quantities.values()))[0], height=340)
    made.xaxis.ticker.min_interval = 1
    for name, look in looks.items():
        dashes = {"-": "solid", ":": "dotted"}.get(str(look.linestyle), "dashed")
        tooltips = "<div><b>@member</b>, epoch @x: <b>@y{0.00[00]}</b></div>"
        live.curve(made, f"curve-{name}", look.color, line_dash=dashes, tooltips=tooltips)
    live.points(made, "read", [], theme.look("teacher").color, size=8, marker="circle", fill_alpha=0, line_width=1.5)
    longest = max(len(m["epochs"]) for _, r in records for m in r["members"].values())
    first = [name for name in FIRST if name in names] or names[:3]
    return live.Live(
        name="curves",
        controls=[
            live.Choice("record", "record", [(str(i), text) for i, (text, _) in enumerate(records)], numbers=True),
            live.Choice("quantity", "quantity", [(q, text) for q, (text, _) in quantities.items()]),
            live.Slider("start", "from epoch", 1, max(2, longest - 1), 1, 1, digits=0),
            live.Slider("smoothing", "mean of epochs", 1, max(2, min(20, longest)), 1, 1, digits=0),
            live.Slider("epoch", "read at epoch", 1, max(2, longest), 1, longest, digits=0),
            live.Several("members", "networks", [(n, look.label, look.color) for n, look in looks.items()], first),
        ],
        plots={"curves": made},
        data={
            "members": names,
            "labels": {name: look.label for name, look in looks.items()},
            "quantities": {q: text for q, (text, _) in quantities.items()},
            "digits": {q: digits for q, (_, digits) in quantities.items()},
            "records": [
                {
                    "source": f"Recipe {r['name']}, seed {r['seed']}, {r['dataset']['test_size']:,} test images.",
                    "members": {
                        name: {"epochs": [e["epoch"] for e in m["epochs"]], "values": rounded(series(m))}
                        for name, m in r["members"].items()
                    },
                }
                for _, r in records
            ],
        },
        readout='[values]. <span data-say="missing"></span> <span data-say="source"></span>',
        caption="<b>Any curve of any record.</b> <i>Mean of epochs</i> averages each epoch with those before it. "
        "Solid: with LS; dashed: without; dotted: trained alone. One run of "
        "each network (n = 1): a difference between two curves is not yet a difference between two methods.",
        alt="One curve a network over the epochs of training; the values at the chosen epoch are in the text below.",
    )


def rounded(values: Mapping[str, list[float | None]]) -> dict[str, list[float | None]]:
    """Six digits: more than any reading shows, a third of the page's weight."""
    return {name: [None if v is None else float(f"{v:.6g}") for v in found] for name, found in values.items()}
