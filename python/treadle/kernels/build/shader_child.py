"""The compiler's process of a WGSL solution: the modules and their pipelines through wgpu.

Run as a script by path: `shader_child.py FOLDER SYMBOL FILE`, where FOLDER holds the package wgpu.
Exit status 3: there is no adapter here.
"""

# wgpu has no annotations that strict mode could use.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false, reportMissingImports=false

from __future__ import annotations

import os
import sys
from pathlib import Path

NO_ADAPTER = 3


def main() -> None:
    """Compiles; what the compiler says goes to stderr."""
    folder, symbol, file = sys.argv[1:4]
    sys.path.append(folder)
    os.environ.setdefault("XDG_RUNTIME_DIR", os.environ.get("TMPDIR", "/tmp"))  # noqa: S108
    import wgpu

    adapters = wgpu.gpu.enumerate_adapters_sync()
    if not adapters:
        sys.exit(NO_ADAPTER)
    device = adapters[0].request_device_sync()
    try:
        module = device.create_shader_module(code=Path(file).read_text(encoding="utf-8"))
        device.create_compute_pipeline(
            layout="auto", compute={"module": module, "entry_point": symbol}
        )
    except wgpu.GPUError as problem:
        sys.exit(f"error: {problem}")


if __name__ == "__main__":
    main()
