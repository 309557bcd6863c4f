"""What a tier adds to a bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Tier:
    """One way to run the model. `record` goes to plan.json under `tiers`, `needs` (features and
    limits of a device, bytes that it takes) to manifest.json, `files` to the folder."""

    record: dict[str, Any]
    files: dict[str, bytes]
    needs: dict[str, Any] = field(default_factory=dict[str, Any])
