"""The examples of "The loss in your own loop": each is run as a script, and all take the steps of one reference.

The reference spells the loss out with PyTorch's own functions. An example that let its teacher train, clipped
gradients, skipped a batch or used another weight would leave the path after a step.

Run as ``python test_examples.py EXAMPLE STEPS RESULT`` with ``examples`` on the path, this file does what one example
does in its framework's own train, validate, predict, accumulate and resume: frameworks set signal handlers, loggers
and warning filters. RESULT receives a dictionary of tensors.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from figures.fingerprint import ROOT
from lskd.losses import dkd_loss, kd_loss

sys.path.insert(0, str(ROOT / "examples"))
import generated

EXAMPLES = ROOT / "examples"
PACKAGES = {
    "plain_loop": [],
    "mdistiller_fork": [],
    "segmentation": [],
    "lightning_module": ["lightning"],
    "hf_trainer": ["transformers", "accelerate"],
    "hf_language_model": ["transformers", "accelerate"],
    "torchdistill_loss": ["torchdistill", "yaml"],
}
STEPS = 4


@pytest.fixture(scope="module")
def reference() -> tuple[dict[str, Tensor], list[float]]:
    """State dict of the student and losses after ``STEPS`` steps."""
    teacher, student = generated.teacher().eval(), generated.student().train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    losses = []
    for images, labels in DataLoader(generated.dataset(STEPS), batch_size=generated.BATCH_SIZE):
        z, v = student(images), teacher(images).detach()
        loss = spelled_out(z, v, labels) / len(labels)
        by_lskd = 0.1 * F.cross_entropy(z, labels) + 9 * kd_loss(z, v, temperature=2.0, standardize=True)
        torch.testing.assert_close(loss, by_lskd)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return student.state_dict(), losses


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*PACKAGES, "generated"}


@pytest.fixture(scope="module", params=PACKAGES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the example did as a script, in its ``main`` and, where it has one, in its framework's own routines."""
    name = request.param
    if absent := [package for package in PACKAGES[name] if importlib.util.find_spec(package) is None]:
        message = f"examples/{name}.py needs {', '.join(absent)}; install it: pip install '.[integrations]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp(name)
    paths = os.pathsep.join([str(EXAMPLES), str(ROOT)])
    done = subprocess.run(
        [sys.executable, __file__, name, str(STEPS), "result"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf_home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "step 8: loss " in done.stdout  # as a script it says what it did
    assert [*folder.glob("lightning_logs"), *folder.glob("checkpoints")] == []
    found = torch.load(folder / "result", weights_only=True)
    assert ("accumulated" in found) == bool(PACKAGES[name])  # a framework's own routines were run
    return found


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-3, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_example_takes_the_steps_of_the_reference(
    run: dict[str, Any], reference: tuple[dict[str, Tensor], list[float]]
) -> None:
    state, losses = reference
    expected = run.get("spelled_out", losses)
    assert run["losses"][: len(expected)] == pytest.approx(expected, rel=1e-4)
    assert run["losses"][0] > 1.5 * run["losses"][-1]
    if "spelled_out" not in run:
        equal(run["student"], state)
        untrained = generated.student().state_dict()
        assert [key for key, tensor in run["student"].items() if torch.equal(tensor, untrained[key])] == []


def test_small_batches_make_the_step_of_a_large_one(run: dict[str, Any]) -> None:
    for one, accumulated in zip(run.get("one_batch", []), run.get("accumulated", []), strict=True):
        equal(accumulated, one)


def test_a_resumed_run_ends_as_one_that_was_not_stopped_and_saves_no_teacher(run: dict[str, Any]) -> None:
    if "resumed" in run:
        equal(run["resumed"], run["straight"])
    if "sizes" in run:
        student, saved, teacher = run["sizes"]
        assert student < saved < teacher


def test_predictions_are_those_of_a_plain_loop(run: dict[str, Any]) -> None:
    for predicted in run.get("predicted", []):
        torch.testing.assert_close(predicted, run["expected"])
    if "accuracy" in run:
        labels = generated.dataset(4).tensors[1][: len(run["expected"])]
        accuracy = (run["expected"].argmax(1) == labels).float().mean().item()
        assert run["accuracy"] == pytest.approx(accuracy)


def test_torchdistill_finds_the_decoupled_loss(run: dict[str, Any]) -> None:
    if "decoupled" in run:
        settings = {"alpha": 9, "beta": 72, "temperature": 2, "standardize": True}
        torch.testing.assert_close(run["decoupled"], dkd_loss(*run["logits"], torch.arange(8), **settings))


def test_the_chapter_shows_every_example() -> None:
    chapter = (ROOT / "book" / "chapters" / "use.md").read_text(encoding="utf-8")
    assert [name for name in PACKAGES if f"../../examples/{name}.py" not in chapter] == []


# --- in a process of its own -----------------------------------------------------------------------------------------

ROWS = 49  # the last batch of 16 is a single row


class Linear(nn.Module):
    """No batch normalisation: several small batches can make the step of a large one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(3 * 16 * 16, generated.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


class TakesAnything(Linear):
    """A forward with ``**kwargs``, as every model of transformers has."""

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        return super().forward(x)


def expected_predictions(student: nn.Module) -> Tensor:
    with torch.no_grad():
        return student.eval()(generated.dataset(4).tensors[0][:ROWS])


def sizes(student: nn.Module, saved: Path, teacher: nn.Module) -> list[int]:
    """Bytes of the student, of a file that should hold it, and of the teacher."""
    parameters = (4 * sum(p.numel() for p in network.parameters()) for network in (student, teacher))
    return [next(parameters), saved.stat().st_size, next(parameters)]


def spelled_out(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Sum over rows ``[n, classes]`` of the examples' loss, in PyTorch's own functions."""
    scores = [(x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-7) / 2 for x in (student, teacher.detach())]
    q, p = scores[0].log_softmax(1), scores[1].softmax(1)
    return 0.1 * F.cross_entropy(student, labels, reduction="sum") + 9 * 4 * F.kl_div(q, p, reduction="sum")


def hf(example: dict[str, Any], name: str, student: nn.Module, teacher: nn.Module, data: Any, **changed: Any) -> Any:
    """A trainer of the example; it trains, evaluates and predicts on ``data``."""
    options = {"data_collator": changed.pop("collate")} if "collate" in changed else {}
    optimizer = generated.optimizer(student)
    return example[name](
        student,
        example["settings"]("hf", **changed),
        train_dataset=data,
        eval_dataset=data,
        optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)),
        teacher=teacher,
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
        **options,
    )


def hf_trainer(example: dict[str, Any], steps: int) -> dict[str, Any]:
    samples = [{"x": image, "labels": label} for image, label in generated.dataset(4)]

    def make(student: nn.Module, teacher: nn.Module, rows: int = 64, **changed: Any) -> Any:
        return hf(example, "DistillationTrainer", student, teacher, samples[:rows], **changed)

    def step(network: type[Linear], batch: int, accumulate: int) -> dict[str, Tensor]:
        changed = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
        one = make(network(1), network(0), rows=40, max_steps=1, **changed)
        one.train()
        return one.model.state_dict()

    networks = generated.student, generated.teacher
    straight, stopped, resumed = (
        make(*(network() for network in networks), max_steps=n, save_strategy="steps", save_steps=2) for n in (4, 2, 4)
    )
    straight.train()
    shutil.rmtree("hf")
    stopped.train()
    resumed.train(resume_from_checkpoint=True)
    (saved,) = Path("hf/checkpoint-2").glob("model.*")
    labelled, unlabelled = samples[:ROWS], [{"x": sample["x"]} for sample in samples[:ROWS]]
    return {
        "straight": straight.model.state_dict(),
        "resumed": resumed.model.state_dict(),
        "sizes": sizes(resumed.model, saved, resumed.teacher),
        "one_batch": [step(network, 40, 1) for network in (Linear, TakesAnything)],
        "accumulated": [step(network, 16, 3) for network in (Linear, TakesAnything)],  # 16, 16 and 8 rows
        "expected": expected_predictions(resumed.model),
        "predicted": [torch.from_numpy(resumed.predict(some).predictions) for some in (labelled, unlabelled)],
        "accuracy": resumed.evaluate(labelled)["eval_accuracy"],
    }


def hf_language_model(example: dict[str, Any], steps: int) -> dict[str, Any]:
    texts, network = generated.texts(8 * steps), example["language_model"]

    def one(student: nn.Module, teacher: nn.Module, some: Any) -> Tensor:
        """The mean over tokens, text by text and so without padding."""
        total, count = torch.zeros(()), 0
        for text in some:
            z, v = (net(text["input_ids"][None], use_cache=False).logits[0, :-1] for net in (student, teacher))
            labels = text["labels"][1:]
            counts = labels != -100
            total, count = total + spelled_out(z[counts], v[counts], labels[counts]), count + int(counts.sum())
        return total / count

    def make(batch: int = 4, accumulate: int = 1, **changed: Any) -> Any:
        changed |= {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
        networks = network(16, seed=2), network(32, seed=1)
        return hf(example, "LanguageModelTrainer", *networks, texts, collate=example["collate"], **changed)

    def step(batch: int, accumulate: int) -> dict[str, Tensor]:
        trainer = make(batch, accumulate, max_steps=1)
        trainer.train()
        return trainer.model.state_dict()

    student = network(16, seed=2)
    optimizer = generated.optimizer(student)
    loss = one(student, network(32, seed=1), texts[:8])
    loss.backward()
    optimizer.step()
    trained = make(max_steps=2)
    trained.train()
    predicted = torch.from_numpy(trained.predict(texts[:17]).predictions)  # 8 in a batch, the last one alone
    assert len(predicted) == 17
    with torch.no_grad():
        rows = [trained.model.eval()(text["input_ids"][None]).logits[0] for text in texts[:17]]
    return {
        "spelled_out": [loss.item()],
        "one_batch": [student.state_dict()] * 3,
        "accumulated": [step(8, 1), step(4, 2), step(2, 4)],
        "predicted": [torch.cat([x[: len(row)] for x, row in zip(predicted, rows, strict=True)])],
        "expected": torch.cat(rows),
    }


def segmentation(example: dict[str, Any], steps: int) -> dict[str, Any]:
    student, teacher = example["network"](8, seed=2), example["network"](32, seed=1)
    images, maps = (x[: generated.BATCH_SIZE] for x in example["dataset"](steps).tensors)
    counts = maps != example["IGNORED"]
    z, v = (net(images).movedim(1, -1)[counts] for net in (student, teacher))
    return {"spelled_out": [(spelled_out(z, v, maps[counts]) / counts.sum()).item()]}


def lightning_module(example: dict[str, Any], steps: int) -> dict[str, Any]:
    import lightning

    data = generated.dataset(4)
    some = DataLoader(Subset(data, range(ROWS)), generated.BATCH_SIZE)
    names = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    quiet = {"accelerator": "cpu", **dict.fromkeys(names, False)}

    def fit(networks: tuple[nn.Module, nn.Module] | None = None, batch: int = 16, path: Any = None, **how: Any) -> Any:
        student, teacher = networks or (generated.student(), generated.teacher())
        module = example["Distillation"](teacher, student)
        trainer = lightning.Trainer(**quiet, **how)
        trainer.fit(module, DataLoader(data, batch), some, ckpt_path=path)
        return trainer, module

    def step(batch: int, accumulate: int) -> dict[str, Tensor]:
        module = fit((Linear(1), Linear(0)), batch, max_epochs=1, accumulate_grad_batches=accumulate)[1]
        return module.student.state_dict()

    straight = fit(max_epochs=2)[1]
    fit(max_epochs=1)[0].save_checkpoint("half.ckpt")
    trainer, resumed = fit(max_epochs=2, path="half.ckpt")
    (validated,) = trainer.validate(resumed, some, verbose=False)
    return {
        "one_batch": [step(64, 1)],
        "accumulated": [step(16, 4)],
        "straight": straight.student.state_dict(),
        "resumed": resumed.student.state_dict(),
        "sizes": sizes(resumed.student, Path("half.ckpt"), generated.teacher()),
        "predicted": [torch.cat(trainer.predict(resumed, some))],
        "expected": expected_predictions(resumed.student),
        "accuracy": validated["accuracy"],
    }


def torchdistill_loss(example: dict[str, Any], steps: int) -> dict[str, Any]:
    from torchdistill.common.main_util import load_ckpt, save_ckpt

    data = generated.dataset(4)

    def step(batch: int, accumulate: int) -> dict[str, Tensor]:
        student = Linear(1)
        box = example["box"](Linear(0), student, data, grad_accum_step=accumulate)
        box.train_data_loader = DataLoader(box.train_data_loader.dataset, batch)
        example["train"](box)
        return student.state_dict()

    def epoch(student: nn.Module, restore: bool) -> nn.Module:
        box = example["box"](generated.teacher(), student, data)
        if restore:
            load_ckpt("half.pt", student, box.optimizer)
        example["train"](box)
        save_ckpt(student, box.optimizer, None, 0.0, None, "half.pt")
        return student

    student = generated.student()
    box = example["box"](generated.teacher(), student, data)
    example["train"](box)
    example["train"](box)
    epoch(generated.student(), restore=False)
    generator = torch.Generator().manual_seed(5)
    logits = [3 * torch.randn(8, 10, generator=generator) for _ in range(2)]
    settings = {"alpha": 9.0, "beta": 72.0, "temperature": 2.0, "standardize": True}
    decoupled = example["DecoupledLoss"](**settings)
    return {
        "one_batch": [step(64, 1)],
        "accumulated": [step(16, 4)],
        "straight": student.state_dict(),
        "resumed": epoch(generated.student(), restore=True).state_dict(),
        "decoupled": decoupled(*({".": {"output": x}} for x in logits), torch.arange(8)),
        "logits": logits,
    }


def main(name: str, steps: str, result: str) -> None:
    example = runpy.run_path(f"{EXAMPLES}/{name}.py", run_name="__main__")
    student, losses = example["main"](int(steps))
    found = {"losses": losses, "student": student.state_dict()}
    if name in globals():
        found |= globals()[name](example, int(steps))
    torch.save(found, result)


if __name__ == "__main__":
    main(*sys.argv[1:])
