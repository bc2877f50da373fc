"""Recipes and runs in words: what they say is what is done."""

from __future__ import annotations

from lskd.recipes import load_recipe
from paper.text import recipe_text


def test_a_recipe_is_told_with_its_own_optimiser_and_schedule() -> None:
    usual = recipe_text(load_recipe("cifar100/resnet56-resnet20", for_training=False))
    assert "240 epochs of SGD, batch 64, learning rate 0.05, multiplied by 0.1 after the epochs 150, 180, 210" in usual
    assert "; momentum 0.9, weight decay 0.0005." in usual
    transformer = recipe_text(load_recipe("vit/DeiT-Tiny", for_training=False)).partition("\n")[0]
    assert "300 epochs of AdamW, batch 128, learning rate" in transformer
    assert "falling along a cosine after 20 epochs of warm-up, weight decay 0.05." in transformer
    assert "momentum" not in transformer
    assert "none" not in transformer
