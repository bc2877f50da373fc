"""Recipes and runs in words: what they say is what is done."""

from __future__ import annotations

from lskd.recipes import load_recipe
from paper.text import recipe_text


def test_a_recipe_is_told_with_its_own_optimiser_and_schedule() -> None:
    usual = recipe_text(load_recipe("cifar100/resnet56-resnet20", for_training=False))
    assert "optimiser SGD; momentum 0.9; epochs 240; batch 64; learning rate 0.05; " in usual
    assert "schedule times 0.1 after 150, 180, 210; weight decay 0.0005; " in usual
    transformer = recipe_text(load_recipe("vit/DeiT-Tiny", for_training=False)).partition("\n")[0]
    assert "optimiser AdamW; epochs 300; batch 128; learning rate" in transformer
    assert "schedule cosine; weight decay 0.05; β of AdamW 0.9, 0.999; warm-up epochs 20" in transformer
    assert "momentum" not in transformer
    assert "none" not in transformer
