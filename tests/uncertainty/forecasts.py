"""Forecasts of three members and their truths, for the tests of the streaming metrics."""

from __future__ import annotations

import torch

from rwmu.uncertainty.functional import scores

E, K, B, D = 3, 4, 24, 2
LEVELS = (0.5, 0.9)
GENERATOR = torch.Generator().manual_seed(0)
MEAN, STD = torch.randn(E, K, B, D, generator=GENERATOR), torch.randn(E, K, B, D, generator=GENERATOR).exp()
TRUTH, LOGITS = torch.randn(K, B, D, generator=GENERATOR), 3.0 * torch.randn(E, K, B, D, generator=GENERATOR)
LABELS = (torch.rand(K, B, D, generator=GENERATOR) < LOGITS.mean(0).sigmoid()).float()
LOWER, UPPER = scores.gaussian_interval(MEAN, STD, LEVELS)
VALID = torch.rand(K, B, generator=GENERATOR) < 0.8
SIZES = {"steps": K, "dims": D, "members": E}
ALL = ("member", "step", "dim")
