"""README.md's table of what the keys have to be allowed names what the clients of a mount ask for, and nothing else."""

from __future__ import annotations

import inspect
import re
from typing import Set

from cosfs.cos.interface import ObjectClient, VersionedClient
from tests.support.mount import REPOSITORY

ACTIONS = {
    "list_objects": "GetBucket", "get_bucket_versioning": "GetBucketVersioning",
    "list_object_versions": "GetBucketObjectVersions", "restore_object": "PostObjectRestore",
    "create_multipart_upload": "InitiateMultipartUpload", "delete_objects": "DeleteMultipleObjects",
    "copy_object": "PutObjectCopy",
}
"""Those whose names are not the requests' own."""


def asked_for() -> Set[str]:
    methods = {name for client in (ObjectClient, VersionedClient) for name, _ in inspect.getmembers(
        client, inspect.isfunction) if not name.startswith("_")} - {"close"}
    assert ACTIONS.keys() <= methods
    return {ACTIONS.get(name, name.title().replace("_", "")) for name in methods}


def test_the_table_names_each_action_that_is_asked_for() -> None:
    text = (REPOSITORY / "README.md").read_text("utf-8")
    [table] = re.findall(r"^\| for \| actions \|\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    columns = [line.split("|")[2] for line in table.splitlines()]
    assert {word for column in columns for word in re.findall(r"`(\w+)`", column)} == asked_for()
