"""The leaderboard: static pages from a dataset, and the proof that their numbers stand in it."""

from treadle.kernels.board.site import Problem, build, check

__all__ = ["Problem", "build", "check"]
