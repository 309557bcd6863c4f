"""Hashes as `hashlib` has them, without OpenSSL: it loads that library, 3 MB, for the same sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import blake2b, sha256
else:
    try:  # CPython's own, which `random` of the standard library imports likewise
        from _blake2 import blake2b

        try:
            from _sha2 import sha256  # Python 3.12 on
        except ImportError:
            from _sha256 import sha256
    except ImportError:
        from hashlib import blake2b, sha256

__all__ = ["blake2b", "sha256"]
