"""Exercises: every one has a solution and a computed answer, and page and kernel judge what a reader found alike."""

from __future__ import annotations

import dataclasses
import html
import importlib
import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
import yaml
from scipy.special import softmax
from scipy.stats import entropy

from book import exercises
from book.exercises import Answer, Exercise, Posed, chapters, collection, load, model, page
from figures.fingerprint import ROOT, closure
from figures.networks import Networks
from lskd import evidence
from lskd.data import load_dataset
from lskd.errors import LskdError
from lskd.records import load_record
from paper import store
from paper.embedding import Embedding, neighbor_accuracy

RECORDS = ROOT / "results" / "digit_pairs"
ALL = [(chapter, exercise) for chapter in chapters() for exercise in load(chapter).exercises]
NAMES = [f"{chapter}-{exercise.name}" for chapter, exercise in ALL]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """Networks that were never trained."""
    packs = {name: synthetic.pack(name) for name in ("teacher", "alone", "kd", "kd_ls")}
    files = {name: tmp_path_factory.getbasetemp() / f"{name}.evidence.npz" for name in packs}
    for name, pack in packs.items():
        evidence.save(pack, files[name])
    return Networks(packs, {}, files)


@pytest.fixture(scope="module")
def embeddings(networks: Networks) -> dict[str, Embedding]:
    out = {}
    for name, pack in networks.packs.items():
        assert pack.features is not None
        features = pack.features.astype(np.float32)
        out[name] = Embedding(features[:, :2], neighbor_accuracy(features, pack.label), 0.0, 0.0)
    return out


def answers_of(chapter: str, networks: Networks, **given: Any) -> dict[str, Answer | None]:
    """From what a chapter's notebook hands over: nothing, its networks, or something else that is given."""
    (sweep,) = store.aggregate(RECORDS / "wrn_16_2-resnet8-surface").values()
    of_chapter = importlib.import_module(f"book.exercises.{chapter}").answers
    usual = (networks,) if inspect.signature(of_chapter).parameters else ()
    return dict(of_chapter(*({"surface": (sweep, 0.5)} | given).get(chapter, usual)))


@pytest.fixture(scope="module")
def answers(networks: Networks, embeddings: dict[str, Embedding]) -> dict[str, dict[str, Answer | None]]:
    """Of every chapter, from networks that were never trained and from committed records."""
    given = {
        "data": (load_dataset("digit_pairs", train_size=200, test_size=100),),
        "tsne": (networks, embeddings),
        "results_table": (2000, store.aggregate(RECORDS / "wrn_16_2-resnet8")),
    }
    return {chapter: answers_of(chapter, networks, **given) for chapter in chapters()}


@pytest.fixture(scope="module")
def posed(answers: dict[str, dict[str, Answer | None]]) -> dict[str, Posed]:
    sheets = [exercises.pose(chapter, answers[chapter]) for chapter in chapters()]
    return {one.identity: one for sheet in sheets for one in sheet.exercises}


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_answers_every_mistake_and_has_a_form_and_a_solution(posed: dict[str, Posed], name: str) -> None:
    one = posed[name]
    exercise = one.exercise
    assert len(exercise.solution) > 150, "a solution explains"
    assert exercise.right, "a right answer is worth a sentence"
    assert bool(exercise.options) != bool(exercise.label), "a page judges: options, or a number"
    if exercise.options:
        assert len(exercise.options) >= 3
        assert set(exercise.wrong) == set(exercise.options)  # the run decides which one is right
    else:
        assert exercise.hint
        assert set(one.answer.near) == set(exercise.wrong)
        assert [(value, one.judge(value)[1]) for value, _ in one.mistakes] == one.mistakes  # none hides another
    assert bool(exercise.code) >= (exercise.kind == "code")
    short = [exercise.right, exercise.hint, exercise.label, exercise.title]
    short += [*exercise.options.values(), *exercise.wrong.values()]
    long = [exercise.question, exercise.start, exercise.solution]
    assert [text for text in short if "$" in text] == [], "these are shown without formulas"
    assert [text for text in long if re.search(r"\\\\[a-z]", text)] == [], "a literal string has single backslashes"
    text = page.to_markdown(one)
    assert "@{" not in text
    assert "<form" not in text, "a form could be sent, and its page left"
    for tag in ("section", "details", "div", "fieldset", "label"):
        assert text.count(f"<{tag}") == text.count(f"</{tag}>")
    assert "<details open" not in text
    assert text.count("<summary>") == 1 + bool(exercise.start)
    form = text[text.index('<div class="lskd-answer"') : text.index("</script>")]
    assert "\n\n" not in form, "an empty line ends a block of HTML in Markdown"
    stored = json.loads(form.rpartition("<script")[2].partition(">")[2].replace("<\\/", "</"))
    assert stored["answer"] == one.answer.right


@pytest.mark.parametrize("chapter", chapters())
def test_a_chapter_s_page_poses_its_exercises_at_its_end(chapter: str) -> None:
    found = load(chapter)
    assert 2 <= len(found.exercises) <= 4
    cells = json.loads((ROOT / f"{found.page}.ipynb").read_text(encoding="utf-8"))["cells"]
    assert "".join(cells[0]["source"]).split("\n")[0] == f"# {found.title}"
    head, asking = cells[-3:-1]
    assert "".join(head["source"]).split("\n")[0] == "## Exercises"
    assert f'exercises.pose("{chapter}", asked.answers(' in "".join(asking["source"])
    assert f"from book.exercises import {chapter} as asked" in "".join(asking["source"])
    assert asking["metadata"]["tags"] == ["remove-input"]
    toc = (ROOT / "book" / "chapters" / "_toc.yml").read_text(encoding="utf-8")
    assert f"- file: {found.page}\n" in toc


ROW = np.array([0.0, 3.0, 2.0, 1.0])


NUMBERS = {  # answers that a formula has
    "toy-content": 10.0,
    "temperature-odds": math.e,
    "temperature-shared": 0.25,
    "temperature-limit": (0.9 * ROW).var() / 2,
    "zscore-temperature": 2 * ROW.std(ddof=1),
    "zscore-bound": math.sqrt(10 - 1),
    "zscore-gradient": 1 / 10,
    "zscore-three_lines": 6 / np.std([1, 2, 3, 4, 10], ddof=1),
    "losses-switch": 8 * 9,
    "networks-depth": (56 - 2) / 6,
    "networks-legend": 2 * (32 + 64 + 128),
    "data-tens": 10,
    "data-digits": 95 * 0.95,
    "data-views": 2 * 9 * 9,
    "logit_statistics-thousand": math.sqrt(999 / 1000),
    "logit_gap-diagonal": 0.26958 * 100 / 99,
    "results_table-images": 90_000,
    "results_table-best": 0.3 * 1.5387527308351729,  # the largest of ten, of the tables of order statistics
    "audit-base": 2 * math.sqrt(10 / 9),
    "audit-pull": 5,
}
CHOICES = {
    **{"temperature-fade": "quarter", "losses-two_classes": "nothing", "logit_statistics-quiet": "spread"},
    **{"logit_gap-fifth": "raw", "audit-columns": "chance"},
}


def test_answers_that_a_formula_has(posed: dict[str, Posed]) -> None:
    right = {name: one.answer.right for name, one in posed.items()}
    assert {name: right[name] for name in NUMBERS} == pytest.approx(NUMBERS, rel=1e-6)
    loose = [name for name in NUMBERS if not posed[name].answer.tolerance < 0.15 * abs(NUMBERS[name])]
    assert loose == [], "so large a tolerance accepts anything"
    assert {name: right[name] for name in CHOICES} == CHOICES
    rows = np.array([(0, 1.8, 2.0, 1.0), (0, 6.0, 4.0, 2.0), 0.1 * ROW])  # the toy case's students
    cold, hot = ([entropy(softmax(ROW / t), softmax(row / t)) for row in rows] for t in (1, 8))
    assert right["toy-loud"] == ("more_than_wrong" if cold[1] > cold[0] else "less_than_wrong")
    assert right["toy-temperature"] == ("first" if hot[0] < hot[2] else "second")


def test_answers_from_evidence(posed: dict[str, Posed], networks: Networks, embeddings: dict[str, Embedding]) -> None:
    teacher, student = networks.teacher, networks.packs["kd_ls"]
    logits = teacher.logits.astype(np.float64)
    sure = np.median([softmax(row)[k] for row, k in zip(logits, teacher.label[teacher.logits_index], strict=True)])
    assert posed["losses-doubt"].answer.right == pytest.approx(1 - sure, rel=1e-6)
    spread = np.mean(student.logit_max - student.logit_min)
    assert posed["logit_statistics-range"].answer.right == pytest.approx(spread, rel=1e-6)
    gap = np.abs(student.class_mean_z - teacher.class_mean_z)
    assert posed["logit_gap-worst"].answer.right == pytest.approx(gap[~np.eye(len(gap), dtype=bool)].max(), rel=1e-5)
    better = [e.neighbors > 100 * networks.packs[name].correct.mean() for name, e in embeddings.items()]
    assert posed["tsne-votes"].answer.right == sum(better)
    assert posed["tsne-vote"].answer.right == embeddings["teacher"].neighbors


def test_answers_from_committed_records(posed: dict[str, Posed]) -> None:
    def last(record: dict[str, Any], member: str) -> float:
        return float(record["members"][member]["last"]["test_accuracy"])

    sweep = load_record(next((RECORDS / "wrn_16_2-resnet8-surface").glob("*.json")))
    gain = last(sweep, "t2_w81_ls") - last(sweep, "t2_w1_ls")
    assert posed["surface-playground"].answer.right == pytest.approx(gain)
    lost = [last(sweep, f"t2_w1{ls}") - last(sweep, f"t2_w9{ls}") for ls in ("", "_ls")]
    expected = "equal" if abs(lost[1] - lost[0]) < 1 else "with" if lost[1] < lost[0] else "without"
    assert posed["surface-weight"].answer.right == expected
    draws = np.random.default_rng(1).normal(size=(200_000, 15)).max(axis=1).mean()
    assert posed["surface-lucky"].answer.right == pytest.approx(draws, abs=0.01)

    seeds = [load_record(path) for path in (RECORDS / "wrn_16_2-resnet8").glob("*.json")]
    kd, ls = (np.array([last(record, member) for record in seeds]) for member in ("kd", "kd_ls"))
    ratio = (ls - kd).std(ddof=1) / math.hypot(kd.std(ddof=1), ls.std(ddof=1))
    expected = "smaller" if ratio < 0.9 else "same" if ratio < 1.1 else "larger"
    assert posed["results_table-paired"].answer.right == expected


@pytest.mark.parametrize("name", [n for n, (_, e) in zip(NAMES, ALL, strict=True) if e.code])
def test_a_solution_s_code_prints_the_answer(posed: dict[str, Posed], name: str) -> None:
    one = posed[name]
    numbers = [float(x) for x in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", one.run())]
    assert isinstance(one.answer.right, float)
    assert any(abs(x - one.answer.right) <= one.answer.tolerance for x in numbers), numbers


def test_what_a_run_lacks_is_left_out(networks: Networks, embeddings: dict[str, Embedding]) -> None:
    from book.exercises import results_table, tsne

    packs = {name: dataclasses.replace(pack, features=None) for name, pack in networks.packs.items()}
    bare = dataclasses.replace(networks, packs=packs)
    (one,) = exercises.pose("tsne", tsne.answers(bare, embeddings)).exercises
    assert (one.identity, one.number) == ("tsne-votes", 1)
    without = exercises.pose("results_table", results_table.answers(100, {})).exercises
    assert [one.exercise.name for one in without] == ["images", "best"]


QUESTION = Exercise(
    name="one", title="It's a *title*", kind="paper", question="How many?", solution="Ten.", label="number",
    right="Ten, with `code`.", hint="Count again.", wrong={"half": "That is half of @{all}."},
)  # fmt: skip
TEN = Answer(right=10.0, tolerance=0.5, near={"half": 5.0}, shown={"all": "them"})
CHOICE = dataclasses.replace(
    QUESTION, label="", options={"a": "first", "b": "second", "c": "third"}, wrong={"b": "Not b.", "c": "Not c."}
)
GIVEN = {  # as a page has it, as a kernel has it, what both say
    **dict.fromkeys((("10", 10), ("10.5", 10.5), ("9,5", 9.5)), (True, "Ten, with `code`.")),
    **dict.fromkeys((("5", 5), ("4.6", 4.6), ("20/4", 20 / 4)), (False, "That is half of them.")),
    **dict.fromkeys((("10.51", 10.51), ("−10", -10), ("1000 %", 1000.0)), (False, "Count again.")),
}


def test_a_number_a_choice_and_a_function_are_judged() -> None:
    one = Posed("toy", 1, QUESTION, TEN)
    assert {given: one.judge(given[1]) for given in GIVEN} == GIVEN
    count = Posed("toy", 1, QUESTION, dataclasses.replace(TEN, whole=True))
    assert count.judge(10)[0]
    with pytest.raises(ValueError, match=r"10\.2 is no whole number"):
        count.judge(10.2)
    with pytest.raises(ValueError, match="nan is no whole number"):
        count.judge(float("nan"))
    for wrong in ("1/3", None):
        with pytest.raises(ValueError, match=f"toy-one: {wrong!r} is no number; give it one such as"):
            one.judge(wrong)
    with pytest.raises(ValueError, match="toy-one asks for no function"):
        one.judge(len)
    too_near = Posed("toy", 1, QUESTION, dataclasses.replace(TEN, near={"half": 10.9}))  # to be told from the answer
    assert too_near.mistakes == []
    assert too_near.judge(11) == (False, "Count again.")
    choice = Posed("toy", 1, CHOICE, Answer(right="a", shown={"all": ""}))
    assert choice.judge("a") == (True, "Ten, with `code`.")
    assert choice.judge("b") == (False, "Not b.")
    with pytest.raises(ValueError, match=r"toy-one: 'd' is no option; choose 'a', 'b', 'c'"):
        choice.judge("d")


@pytest.mark.parametrize(
    ("exercise", "change", "message"),
    [
        (CHOICE, {"right": "d"}, "the answer is 'd'; its options are a, b, c"),
        (CHOICE, {"right": "b", "near": {}}, "nothing is said to a; add it to 'wrong'"),
        (QUESTION, {"right": None}, "a number needs a label and a float as its answer; found None"),
        (QUESTION, {"tolerance": 0.0}, "the tolerance is 0.0; it has to be positive"),
        (QUESTION, {"near": {"third": 3.0}}, "nothing is said to third"),
        (QUESTION, {"shown": {}}, r"its text has @\{all\}; values: answer, half"),
    ],
)
def test_words_and_answer_have_to_fit(exercise: Exercise, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"exercise toy-one: {message}"):
        Posed("toy", 1, exercise, dataclasses.replace(TEN, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('kind = "guess"', "exercise 'one': kind is 'guess'; expected one of predict, paper, code"),
        ('sollution = "x"', "exercise 'one' has no key 'sollution'; did you mean 'solution'"),
        ("", "one is there twice"),
    ],
)
def test_exercise_files_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, message: str) -> None:
    key = change.partition(" ")[0]
    lines = {"name": '"one"', "title": '"t"', "kind": '"paper"', "question": '"q"', "solution": '"s"'}
    block = "\n".join(["[[exercise]]", *(f"{k} = {v}" for k, v in lines.items() if k != key), change])
    content = f'page = "p"\ntitle = "t"\n{block}\n' + (block if not change else "")
    (tmp_path / "toy.toml").write_text(content, encoding="utf-8")
    monkeypatch.setattr(model, "_FOLDER", tmp_path)
    with pytest.raises((ValueError, LskdError), match=message):
        load("toy")
    with pytest.raises(ValueError, match="no exercises named 'tea'; known: toy"):
        load("tea")


def test_a_kernel_judges_what_it_has_shown(answers: dict[str, dict[str, Answer | None]]) -> None:
    exercises.pose("toy", answers["toy"])
    assert exercises.check("toy-content", 10).startswith("Right. Then its logits are the teacher's")
    assert exercises.check("toy-content", 0.1).startswith("Not yet. That is the teacher's spread turned upside down")
    assert exercises.check("toy-loud", "zero").startswith("Not yet. ")
    with pytest.raises(ValueError, match=r"exercise 'toy-lod' is not known here; known: .*toy-loud"):
        exercises.check("toy-lod", 1)
    with pytest.raises(ValueError, match="exercises of toy: loud, wrong has no answer, or is no exercise"):
        exercises.pose("toy", {"wrong": TEN, **{k: v for k, v in answers["toy"].items() if k != "loud"}})


FUNCTIONS = {
    "Right": lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-7),
    "divides by K, as": lambda x: (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0),
    "over the whole batch": lambda x: (x - x.mean()) / x.std(),
    "over the batch, class by class": lambda x: (x - x.mean(0)) / x.std(0),
    "does not subtract": lambda x: x / x.std(-1, keepdim=True),
    "does not divide": lambda x: x - x.mean(-1, keepdim=True),
    "not Z-scores": lambda x: 2 * x,
    "returned shape": lambda x: x.mean(-1),
    "returned NoneType": lambda x: None,
    "RuntimeError": lambda x: (x - x.mean(-1)) / x.std(-1),
}


def test_a_function_is_judged_by_what_it_does(posed: dict[str, Posed]) -> None:
    exercises.pose("zscore", {e.name: posed[f"zscore-{e.name}"].answer for e in load("zscore").exercises})
    for words, function in FUNCTIONS.items():
        said = exercises.check("zscore-three_lines", function)
        assert words in said
        assert said.startswith("Right. " if words == "Right" else "Not yet. ")


def test_a_reader_is_told_how_near_is_near_enough(posed: dict[str, Posed]) -> None:
    said = {
        name: html.unescape(found[1])
        for name, one in posed.items()
        if (found := re.search(r'id="[\w-]+-tolerance">([^<]+)<', page.to_markdown(one)))
    }
    assert said["data-views"] == said["tsne-votes"] == said["networks-legend"] == "a whole number"
    assert said["zscore-bound"] == "± 0.03 will do"
    assert [w for w in said.values() if not re.fullmatch(r"a whole number|± (100|0\.0*[1-9]5?) will do", w)] == []
    assert (model.one_digit(0.0041976), model.one_digit(0.96)) == (0.004, 1.0)


def test_short_texts_are_safe_and_typeset_and_a_notebook_says_how_to_ask_its_kernel(posed: dict[str, Posed]) -> None:
    assert page.inline("It's *so* <b>, `a*b*c`\n&") == "It’s <em>so</em> &lt;b&gt;, <code>a*b*c</code> &amp;"
    number, choice = (page._call(posed[name]) for name in ("toy-content", "toy-loud"))
    assert number == '<code>exercises.check("toy-content", your number)</code>'
    assert [key for key in posed["toy-loud"].exercise.options if f'"{key}"' not in choice] == []


def test_the_list_has_all_chapters_in_the_order_of_the_book(tmp_path: Path) -> None:
    toc = yaml.safe_load((ROOT / "book" / "chapters" / "_toc.yml").read_text(encoding="utf-8"))
    order = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    pages = [load(name).page for name in collection.CHAPTERS]
    assert sorted(collection.CHAPTERS) == chapters()
    assert set(chapters()) <= {path.stem for path in closure("book.exercises.collection")}, "a change draws it again"
    assert pages == sorted(pages, key=order.index)
    found = collection.collect()
    assert len(found) == len(ALL)
    linked = [
        (Path(load(name).page).name, f"{name}-{e.name}") for name in collection.CHAPTERS for e in load(name).exercises
    ]
    assert re.findall(r'href="(\w+)\.html#exercise-([\w-]+)"', found.to_html()) == linked
    lines = found.write(tmp_path).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "chapter,name,title,kind"
    assert len(lines) == 1 + len(ALL)
