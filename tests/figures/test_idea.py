"""The first picture of the book says what the losses say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from figures import idea
from figures.theme import figure
from lskd.losses import kd_loss
from paper.toy import TOY


@pytest.mark.parametrize(("standardized", "preferred"), [(False, "s1"), (True, "s2")])
def test_the_loss_prefers_the_wrong_student_until_rows_are_standardised(standardized: bool, preferred: str) -> None:
    import torch

    fig = figure(3, 6)
    ax = fig.subplots()
    idea.panel(ax, standardized=standardized)
    shown = {text.get_position()[1]: text.get_text() for text in ax.texts if text.get_text().startswith("loss")}
    row = {name: torch.tensor([values], dtype=torch.float64) for name, values in TOY.items()}
    for name in ("s1", "s2"):
        value = kd_loss(row[name], row["teacher"], temperature=1.0, standardize=standardized).item()
        expected = f"loss {abs(value):.2f}" + ("\npreferred" if name == preferred else "")
        assert shown[idea.HEIGHTS[name]] == expected
    said = [text.get_text() for text in ax.texts if text.get_text().startswith("“")]
    assert said == ["“bird”", "“dog”"]


def test_a_right_student_lies_below_the_teacher_once_rows_are_standardised(tmp_path: Path) -> None:
    data = pd.read_csv(idea.picture(tmp_path).paths[1])
    wide = data.pivot(index=["values", "class"], columns="network", values="value")
    z = wide.loc["Z-score"]
    np.testing.assert_allclose(z["student 2"], z["teacher"], atol=1e-5)
    assert abs(z["student 1"] - z["teacher"]).max() > 0.1
    np.testing.assert_allclose(wide.loc["logit"]["student 2"] * 10, wide.loc["logit"]["teacher"])
