"""``~/.cos.yaml``, the configuration of Tencent's coscli: which keys, or which role, it names.

Of YAML only what coscli itself writes is read: the block ``cos:`` / ``base:`` with a ``name: value`` in each line. A
YAML library would be a requirement of every mount for the sake of these lines; what is in another shape is refused with
its line number, never guessed at.

coscli keeps the secrets AES-128-ECB encrypted under a key that is in its source: that is obfuscation, and the cipher is
done here (FIPS-197, decryption only) because the standard library has none. Threading: pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Dict, Iterator, List, Optional, Tuple

from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError

_KEY = b"coscli-secret".ljust(16, b"\0")
_LINE = re.compile(r"""([ ]*)([A-Za-z0-9_.-]+):                                            # indent, name
                       (?:\s+(?:"([^"\\]*)"|'([^']*)'|([^\s"'{\[&*!|>%@`\#-].*?)))?  # value: quoted, or plain
                       \s*(?:\s\#.*)?                                               # comment""", re.VERBOSE)


@dataclass(frozen=True)
class CoscliBase:
    """What the file says: keys, or that the machine's role is to be used. ``role`` "": whichever it has."""

    credentials: Optional[Credentials] = field(default=None, repr=False)
    use_role: bool = False
    role: str = ""


def parse_coscli(text: str, name: str) -> CoscliBase:
    """Raises: CredentialsError, with the file's name and the line, for what is not understood."""
    values = dict(_base_lines(text, name))
    if values.get("mode", "").lower() == "cvmrole":
        return CoscliBase(use_role=True, role=values.get("cvmrolename", ""))
    plain = values.get("disableencryption", "").lower() == "true"
    secrets = [value if plain else _decrypted(value)
               for value in (values.get(item, "") for item in ("secretid", "secretkey", "sessiontoken"))]
    secret_id, secret_key, token = secrets
    if not secret_id and not secret_key:
        return CoscliBase()
    if not secret_id or not secret_key:
        raise CredentialsError(f"{name} has one of secretid and secretkey; write both into it")
    return CoscliBase(Credentials(secret_id, secret_key, token or None))


def _base_lines(text: str, name: str) -> Iterator[Tuple[str, str]]:
    """Names, in small letters, and values of the block ``cos:`` / ``base:``."""
    path: List[Tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip() or line.lstrip().startswith("#") or line in ("---", "..."):
            continue
        indent = len(line) - len(line.lstrip(" "))
        while path and path[-1][0] >= indent:
            path.pop()
        above = [word for _, word in path]
        if above[:2] not in ([], ["cos"], ["cos", "base"]):
            continue  # of the buckets, which are in another shape
        match = _LINE.fullmatch(line)
        if match is None:
            if above == ["cos"] and not line.lstrip().startswith("base"):
                continue  # the buckets again: none, or a list as far left as its name
            raise CredentialsError(f"{name}, line {number}: not as coscli writes it; write one \"name: value\" a line, "
                                   "or give the keys in a passwd_file=")
        value = next((part for part in match.groups()[2:] if part is not None), "")
        if above == ["cos", "base"]:
            yield match[2].lower(), value
        path.append((indent, match[2].lower()))


def _decrypted(value: str) -> str:
    """A secret as coscli keeps it; as it stands if it is no such thing."""
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return value
    if not data or len(data) % 16:
        return value
    found = b"".join(decrypt_block(_KEY, data[at:at + 16]) for at in range(0, len(data), 16)).rstrip(b"\0")
    return found.decode("ascii") if re.fullmatch(rb"[!-~]+", found) else value


def decrypt_block(key: bytes, block: bytes) -> bytes:
    """AES-128: one block of 16 bytes."""
    inverse = _inverse_table()
    keys = _round_keys(key)
    state = _xor(block, keys[10])
    for number in range(9, -1, -1):
        state = bytes(inverse[state[at % 4 + 4 * ((at // 4 - at % 4) % 4)]] for at in range(16))
        state = _xor(state, keys[number])
        if number:
            state = b"".join(_unmixed(state[at:at + 4]) for at in range(0, 16, 4))
    return state


def _xor(first: bytes, second: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(first, second))


def _times(a: int, b: int) -> int:
    """Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def _unmixed(column: bytes) -> bytes:
    factors = (14, 11, 13, 9)
    return bytes(_times(column[0], factors[-row % 4]) ^ _times(column[1], factors[(1 - row) % 4])
                 ^ _times(column[2], factors[(2 - row) % 4]) ^ _times(column[3], factors[(3 - row) % 4])
                 for row in range(4))


@lru_cache(maxsize=1)
def _table() -> bytes:
    """The S-box: the inverse in GF(2^8), then an affine map."""
    inverses: Dict[int, int] = {0: 0}
    for a in range(1, 256):
        inverses[a] = next(b for b in range(1, 256) if _times(a, b) == 1)

    def mapped(value: int) -> int:
        doubled = value | value << 8
        return 0x63 ^ value ^ (doubled >> 7 ^ doubled >> 6 ^ doubled >> 5 ^ doubled >> 4) & 0xFF
    return bytes(mapped(inverses[a]) for a in range(256))


@lru_cache(maxsize=1)
def _inverse_table() -> bytes:
    table = _table()
    return bytes(table.index(value) for value in range(256))


def _round_keys(key: bytes) -> List[bytes]:
    table = _table()
    words = [key[at:at + 4] for at in range(0, 16, 4)]
    constant = 1
    for at in range(4, 44):
        word = words[-1]
        if at % 4 == 0:
            word = bytes(table[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _times(constant, 2)
        words.append(_xor(word, words[-4]))
    return [b"".join(words[at:at + 4]) for at in range(0, 44, 4)]
