"""The agent loop: a model proposes kernels, the referee measures them, the store remembers all.

`endpoint` asks, `proposal` reads, `attempts` records, `feedback` and `prompt` answer back, `search`
chooses what to improve, `budget` ends it, `final` scores the best on what the model never saw,
`loop` ties them together. Nothing that a model writes runs in this process.
"""
