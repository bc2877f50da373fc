"""What one example does in its framework's own train, validate, predict, accumulate and resume.

Run as ``python framework_runs.py EXAMPLE STEPS RESULT`` with ``examples`` on the path, because frameworks set signal
handlers, loggers and warning filters; RESULT receives a dictionary of tensors.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import generated
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

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


def hf_trainer(example: dict[str, Any]) -> dict[str, Any]:
    samples = [{"x": image, "labels": label} for image, label in generated.dataset(4)]

    def trainer(student: nn.Module, teacher: nn.Module, rows: int, **changed: Any) -> Any:
        optimizer = generated.optimizer(student)
        constant = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        settings = example["settings"](str(Path("hf").resolve()), **changed)
        return example["DistillationTrainer"](
            student,
            settings,
            train_dataset=samples[:rows],
            eval_dataset=samples[:ROWS],
            optimizers=(optimizer, constant),
            teacher=teacher,
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(1) == p.label_ids).mean())},
        )

    def step(network: type[Linear], batch: int, accumulate: int) -> dict[str, Tensor]:
        changed = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
        one = trainer(network(1), network(0), 40, max_steps=1, **changed)
        one.train()
        return one.model.state_dict()

    def steps(stop: int, resume: bool) -> Any:
        some = trainer(
            generated.student(), generated.teacher(), 64, max_steps=stop, save_strategy="steps", save_steps=2
        )
        some.train(resume_from_checkpoint=resume)
        return some

    straight = steps(4, False)
    steps(2, False)
    resumed = steps(4, True)
    (saved,) = Path("hf/checkpoint-2").glob("model.*")
    labelled = resumed.predict(samples[:ROWS])
    unlabelled = resumed.predict([{"x": sample["x"]} for sample in samples[:ROWS]])
    return {
        "one_batch": [step(network, 40, 1) for network in (Linear, TakesAnything)],
        "accumulated": [step(network, 16, 3) for network in (Linear, TakesAnything)],  # 16, 16 and 8 rows
        "straight": straight.model.state_dict(),
        "resumed": resumed.model.state_dict(),
        "saved_bytes": saved.stat().st_size,
        "expected": expected_predictions(resumed.model),
        "predicted": [torch.from_numpy(found.predictions) for found in (labelled, unlabelled)],
        "labels": torch.from_numpy(labelled.label_ids),
        "accuracy": resumed.evaluate()["eval_accuracy"],
    }


def lightning_module(example: dict[str, Any]) -> dict[str, Any]:
    import lightning

    data = generated.dataset(4)
    some = DataLoader(Subset(data, range(ROWS)), generated.BATCH_SIZE)
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}

    def fit(
        student: nn.Module, teacher: nn.Module, batch: int = 16, path: str | None = None, **options: Any
    ) -> tuple[Any, Any]:
        module = example["Distillation"](teacher, student)
        trainer = lightning.Trainer(**quiet, enable_checkpointing=False, **options)
        trainer.fit(module, DataLoader(data, batch), some, ckpt_path=path)
        return trainer, module

    def step(batch: int, accumulate: int) -> dict[str, Tensor]:
        return fit(Linear(1), Linear(0), batch, max_epochs=1, accumulate_grad_batches=accumulate)[
            1
        ].student.state_dict()

    networks = generated.student, generated.teacher
    straight = fit(*(make() for make in networks), max_epochs=2)[1]
    trainer, _ = fit(*(make() for make in networks), max_epochs=1)
    trainer.save_checkpoint("half.ckpt")
    trainer, resumed = fit(*(make() for make in networks), max_epochs=2, path="half.ckpt")
    (validated,) = trainer.validate(resumed, some, verbose=False)
    return {
        "one_batch": [step(64, 1)],
        "accumulated": [step(16, 4)],
        "straight": straight.student.state_dict(),
        "resumed": resumed.student.state_dict(),
        "saved_bytes": Path("half.ckpt").stat().st_size,
        "predicted": [torch.cat(trainer.predict(resumed, some))],
        "expected": expected_predictions(resumed.student),
        "accuracy": validated["accuracy"],
    }


def torchdistill_loss(example: dict[str, Any]) -> dict[str, Any]:
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
    example = runpy.run_path(f"{sys.path[1]}/{name}.py", run_name="__main__")
    student, losses = example["main"](int(steps))
    found = {"losses": losses, "student": student.state_dict()}
    if name in globals():
        found |= globals()[name](example)
    torch.save(found, result)


if __name__ == "__main__":
    main(*sys.argv[1:])
