"""The byte alphabet of byte-level BPE: every byte has one printable character of its own.

Source: Radford et al., Language Models are Unsupervised Multitask Learners (GPT-2), 2.2.
"""

from __future__ import annotations


def _alphabet() -> dict[str, int]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(printable)]
    letters = {chr(byte): byte for byte in printable}
    letters.update({chr(0x100 + i): byte for i, byte in enumerate(hidden)})
    return letters


BYTE_OF = _alphabet()
LETTER_OF = {byte: letter for letter, byte in BYTE_OF.items()}


def piece_bytes(piece: str) -> bytes | None:
    """The bytes that a byte-level piece stands for; None when a character is no letter of it."""
    try:
        return bytes([BYTE_OF[letter] for letter in piece])
    except KeyError:
        return None


def fallback_byte(piece: str) -> int | None:
    """The byte of a SentencePiece byte piece `<0xNN>`; None for every other piece."""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        try:
            return int(piece[3:5], 16)
        except ValueError:
            return None
    return None
