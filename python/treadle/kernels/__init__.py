"""Kernels: definitions, workloads, solutions and traces; their store, measurement and substitution.

Files follow the FlashInfer Trace format, version 1. `treadle.kernels.schema` alone needs msgspec
only; submodules are imported by name.
"""
