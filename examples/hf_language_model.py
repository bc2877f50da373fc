"""Distillation of a causal language model, token by token, in the same Trainer: python examples/hf_language_model.py"""

from __future__ import annotations

import tempfile

import generated
import torch
import torch.nn.functional as F
from hf_trainer import DistillationTrainer, settings
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

from lskd.losses import kd_loss


class LanguageModelTrainer(DistillationTrainer):
    def logits(self, network: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        return network(**{name: x for name, x in inputs.items() if name != "labels"}, use_cache=False).logits

    def summed_loss(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        student_logits, teacher_logits, labels = student_logits[:, :-1], teacher_logits[:, :-1], labels[:, 1:]
        cross_entropy = F.cross_entropy(student_logits.flatten(0, 1), labels.flatten(), reduction="sum")
        distillation = kd_loss(
            student_logits, teacher_logits, temperature=2.0, standardize=True,
            mask=labels != -100, chunk=64, reduction="sum",
        )  # fmt: skip
        return 0.1 * cross_entropy + 9.0 * distillation


def language_model(width: int, seed: int) -> nn.Module:
    """At random. Yours: ``AutoModelForCausalLM.from_pretrained(...)``, both of one vocabulary."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=generated.TOKENS, max_position_embeddings=32, **sizes))


def collate(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    tokens, labels = ([sample[name] for sample in samples] for name in ("input_ids", "labels"))
    return {
        "input_ids": pad_sequence(tokens, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(x) for x in tokens], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


def main(steps: int = 8) -> tuple[nn.Module, list[float]]:
    """Train for some steps; returns the student and the loss of every step."""
    student, teacher = language_model(16, seed=2), language_model(32, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        some = settings(folder, learning_rate=1e-2, per_device_train_batch_size=4, gradient_accumulation_steps=2)
        trainer = LanguageModelTrainer(
            student, some, train_dataset=generated.texts(8 * steps), data_collator=collate, teacher=teacher
        )
        trainer.train()
    return student, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


if __name__ == "__main__":
    for step, value in enumerate(main()[1], start=1):
        print(f"step {step}: loss {value:.4f}")
