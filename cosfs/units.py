"""Byte units and the limits of the service. Plain numbers, no code.

Limits cite the COS documentation page "Specifications and limits" (product/436/14518) and the pages of
the single operations; where pages disagree the stricter number stands here.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

MAX_KEY_BYTES = 850
"""UTF-8 bytes of an object key ("Object overview")."""

MAX_NAME_BYTES = 255
"""Bytes of one path component, as Linux has it (limits.h NAME_MAX)."""

MAX_METADATA_BYTES = 2048
"""Sum of names and values of all ``x-cos-meta-*`` headers of one object ("PUT Object")."""

MAX_PUT_BYTES = 5 * GIB
"""Largest body of one PUT Object or Upload Part, and largest object of one PUT Object - Copy."""

MIN_PART_BYTES = MIB
"""Smallest part, except the last one ("Upload Part")."""

S3_MIN_PART_BYTES = 5 * MIB
"""The same of AWS S3 and what follows it ("Amazon S3 multipart upload limits")."""

MAX_PARTS = 10_000
MAX_OBJECT_BYTES = 53_687_091_200_000
"""50,000 GB; whether decimal or binary is not stated, so the smaller reading."""

MAX_LIST_KEYS = 1000
"""Entries of one listing page (keys and common prefixes together) and keys of one Delete Multiple."""

MAX_CLOCK_SKEW_S = 900
