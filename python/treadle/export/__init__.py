"""Bundles for the browser: plans, weights, tokeniser and template of one model as plain data.

    write(load("smollm2-135m"), Path("out"), ("cpu",))
    check(Path("out"))

`web/src` runs what lies in such a folder; docs of the format: `bundle.py`.
"""

from treadle.export.bundle import TIERS, Options, write
from treadle.export.check import check
from treadle.export.shards import Weight
from treadle.export.tier import Tier

__all__ = ["TIERS", "Options", "Tier", "Weight", "check", "write"]
