"""The playground: choose a method and its setting, train it without and with LS in about a minute, see what changed.

Needs a kernel and ipywidgets; :func:`train` and :func:`show` work without either.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from figures import learning_curves, logit_range, table
from figures import networks as inputs
from lskd.errors import LskdError
from lskd.recipes import load_recipe, teacher_training
from lskd.trainer.run import publish, train_cached
from paper import statistics
from paper.text import duration

METHODS = {"kd": "KD", "dkd": "DKD", "ctkd": "CTKD (learns its temperature)"}
RECIPE = "playground"
PAIRS = ("wrn_16_2 -> resnet8", "wrn_16_2 -> resnet14", "wrn_16_2 -> wrn_16_1", "resnet20 -> resnet8")
DATASETS = ("digit_pairs", "cifar100")  # others can be typed; the larger, the longer it takes


def settings(method: str, *, temperature: float | None = None, weight: float | None = None) -> dict[str, float]:
    """Changes to the recipe, the same for both members of a method; ``weight`` is the distillation term's.

    Raises:
        LskdError: unknown method, a temperature for CTKD, which learns it, a value that is not positive.
    """
    if method not in METHODS:
        raise LskdError(f"playground: method is {method!r}; expected one of {', '.join(METHODS)}")
    if method == "ctkd" and temperature is not None:
        raise LskdError("playground: CTKD learns its temperature; give none")
    given = {"temperature": temperature, "kd_weight": weight}
    changes = {key: float(value) for key, value in given.items() if value is not None}
    for key, value in changes.items():
        if not value > 0:
            raise LskdError(f"playground: {key} is {value}; it must be positive")
    return {f"members.{member}.{key}": value for member in (method, f"{method}_ls") for key, value in changes.items()}


def train(
    method: str,
    *,
    temperature: float | None = None,
    weight: float | None = None,
    dataset: str = DATASETS[0],
    pair: str = PAIRS[0],
    seed: int = 0,
    runs: Path | str = "build/runs",
    output: Path | str = "build/playground",
    more: Mapping[str, Any] | None = None,
) -> tuple[Path, Path]:
    """Train a method without and with LS, or find it trained before; returns folders of teacher and students.

    Args:
        dataset: of both networks; the default one takes a minute.
        pair: "TEACHER -> STUDENT", names of networks; another teacher than the default one is trained first.
        runs: where runs live; the teacher of the default experiment is found or trained there.
        output: receives ``teacher/`` and ``students/``, with records and evidence.
        more: further changes to the recipe by dotted key.

    Raises:
        LskdError: a setting, data set or pair that cannot be.
    """
    teacher, arrow, student = (word.strip() for word in pair.partition("->"))
    if not (teacher and arrow and student):
        raise LskdError(f"playground: pair is {pair!r}; expected TEACHER -> STUDENT, such as {PAIRS[0]}")
    changes = settings(method, temperature=temperature, weight=weight)
    chosen = {"dataset": dataset, "student": student, "teacher.network": teacher}
    usual = load_recipe(RECIPE, for_training=False)
    assert usual.teacher is not None
    known = {"dataset": usual.dataset, "student": usual.student, "teacher.network": usual.teacher.network}
    changes |= {key: value for key, value in chosen.items() if value != known[key]} | dict(more or {})
    recipe = load_recipe(RECIPE, settings=changes, members=[method, f"{method}_ls"])
    assert recipe.teacher is not None
    name, own = teacher_training(recipe)
    taught, _ = train_cached(name, seed=recipe.teacher.seed, settings=own, runs=runs)
    folder, _ = train_cached(RECIPE, seed=seed, settings=changes, members=[method, f"{method}_ls"], runs=runs)
    places = Path(output) / "teacher", Path(output) / "students"
    publish(taught, places[0])
    publish(folder, places[1])
    return places


def show(teacher: Path | str, students: Path | str, *, output: Path | str = "build/playground") -> list[Any]:
    """What a notebook displays of two folders of :func:`train`: accuracies, spread of logits, curves."""
    networks = inputs.load(teacher, students)
    record = networks.record
    paired = {a: statistics.paired_error(networks.packs[a], networks.packs[b])[1] for a, b in networks.methods}
    return [
        table.results_table(statistics.results([record]), epoch="last", paired=paired),
        logit_range.spread(networks, folder=output),
        learning_curves.figure(record, folder=output, source=Path(students) / "record.json"),
    ]


def panel(*, runs: str = "build/runs", output: str = "build/playground") -> Any:
    """Controls, a button and a place for the figures; an ipywidgets box.

    Raises:
        LskdError: ipywidgets is not installed.
    """
    try:
        import ipywidgets as widgets
    except ModuleNotFoundError:
        raise LskdError("the playground's controls need ipywidgets; pip install -e '.[lab]', or use make lab") from None
    from IPython.display import Markdown, clear_output, display

    def start(**given: Any) -> None:
        if given["method"] == "ctkd":
            given["temperature"] = None
        try:
            places = train(**given, runs=runs, output=output)
        except (LskdError, FileNotFoundError) as error:  # also data that are not there
            print(f"lskd: error: {error}")
            return
        clear_output(wait=True)  # of the progress bar
        took = duration(inputs.load(*places).record["wall_seconds"])
        display(Markdown(f"Trained in {took}. One seed: read differences with care."), *show(*places, output=output))

    wide = {"style": {"description_width": "8rem"}, "layout": {"width": "28rem"}}
    controls = {
        "dataset": widgets.Combobox(value=DATASETS[0], options=DATASETS, description="data set", **wide),
        "pair": widgets.Combobox(value=PAIRS[0], options=PAIRS, description="pair", **wide),
        "method": widgets.Dropdown(
            options=[(text, key) for key, text in METHODS.items()], description="method", **wide
        ),
        "temperature": widgets.FloatSlider(2.0, min=0.5, max=8, step=0.5, description="temperature", **wide),
        "weight": widgets.FloatLogSlider(9.0, base=3, min=0, max=4, step=0.5, description="weight", **wide),
        "seed": widgets.BoundedIntText(0, min=0, max=1_000_000, description="seed", **wide),
    }
    ends = (controls["method"], "value"), (controls["temperature"], "disabled")
    widgets.dlink(*ends, transform=lambda method: method == "ctkd")  # which learns its temperature
    box = widgets.interactive(start, {"manual": True, "manual_name": "train"}, **controls)
    for typed in ("dataset", "pair"):  # a choice there is none of the button
        controls[typed].unobserve(box.update, "value")
    return box
