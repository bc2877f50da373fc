"""What the paper's figures say in numbers: resnet32x4 to resnet8x4 on CIFAR-100's 10,000 test images.

From the released notebooks and the paper's figures (protocol section 7); shown beside this project's own numbers.
"""

from __future__ import annotations

from figures.table import Table
from lskd.recipes import load_recipe

# Fig. 3, first row: largest standard deviation among the 64 images of the batch that the plotted one is from.
BARS = {"teacher": 3.095, "kd": 3.784, "kd_ls": 0.476}

# Fig. 3, second row: (mean with the diagonal's zeros, largest).
GAPS = {
    ("KD", "raw"): (0.26958, 3.0274),
    ("KD + LS", "raw"): (0.93933, 7.3627),
    ("KD + LS", "standardised"): (0.18880, 1.1756),
    ("CTKD", "raw"): (0.36535, 3.1856),
    ("CTKD + LS", "raw"): (0.94215, 7.3923),
    ("CTKD + LS", "standardised"): (0.08591, 0.5982),
    ("DKD", "raw"): (0.13007, 0.9871),
    ("DKD + LS", "raw"): (0.53807, 4.3463),
    ("DKD + LS", "standardised"): (0.07542, 3.6119),
    ("MLKD", "raw"): (0.23145, 2.7452),
    ("MLKD + LS", "raw"): (0.18417, 1.9059),
    ("MLKD + LS", "standardised"): (0.05602, 0.4381),
}

# Fig. 5: (mean of means, mean of standard deviations) over test images.
SPREAD = {
    "teacher": (5.6e-6, 2.1117),
    "KD": (1.2e-5, 2.4193),
    "KD + LS": (1.8e-7, 0.2368),
    "CTKD": (1.5e-5, 2.6661),
    "CTKD + LS": (1.8e-7, 0.1811),
    "DKD": (6.8e-5, 2.0363),
    "DKD + LS": (5.4e-7, 0.9748),
    "MLKD": (2.6e-5, 2.3248),
    "MLKD + LS": (6.7e-7, 1.8250),
}

# The published students' schedule, for paper.statistics.mean_decay.
SCHEDULE = load_recipe("cifar100/resnet32x4-resnet8x4", for_training=False).config()
TRAIN_SIZE = 50_000

_CAPTION = "The paper's networks: resnet32x4 to resnet8x4, CIFAR-100, n = 10,000 test images, one run of each network."


def spread_table() -> Table:
    """Fig. 5's numbers."""
    rows = [[name, f"{mean:.1e}".replace("e-0", "e−"), f"{std:.3f}"] for name, (mean, std) in SPREAD.items()]
    return Table(["network", "mean of means", "mean of σ"], rows, _CAPTION)


def gap_table() -> Table:
    """The numbers below the panels of Fig. 3."""
    rows = [[name, kind, f"{mean:.4f}", f"{largest:.3f}"] for (name, kind), (mean, largest) in GAPS.items()]
    return Table(["student", "logits", "mean (with diagonal)", "largest"], rows, _CAPTION)
