"""Passes: graph in, new graph out, verified on both sides."""
