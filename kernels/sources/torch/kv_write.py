"""Keys and values of new tokens written into their slots"""

from .pages import written


def run(kv, k, v, slots):
    return written(kv, k, v, slots)
