"""The browser's bundles: plans, kernels and weights as plain data."""
