"""Builders: a solution's sources → an artefact that lies complete in a content-addressed cache.

`build` runs compilers in a confined child and turns their errors into data; `load` runs what was
built and belongs into the process that nobody trusts.
"""

from treadle.kernels.build.artefact import Artefact, BuildFailure
from treadle.kernels.build.builder import build
from treadle.kernels.build.loading import load

__all__ = ["Artefact", "BuildFailure", "build", "load"]
