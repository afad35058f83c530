"""What a bucket holds, seen without the filesystem under test; keys are relative to the folder of one test."""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional

from cosfs.cos.interface import ListedObject, ObjectClient, ObjectHeaders, ObjectInfo

EVERYTHING = frozenset({"directories", "directory_metadata", "copy", "part_copy", "any_name"})


class Store:
    """Base. ``features``: what the server behind it can do (names as in ``scenario``)."""

    features: FrozenSet[str] = EVERYTHING

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.settle: Callable[[], None] = lambda: None
        """Called before each look: makes the filesystem under test send what it holds back for a moment."""

    def body(self, key: str) -> bytes:
        raise NotImplementedError

    def metadata(self, key: str) -> Dict[str, str]:
        """User metadata with lower-case names without prefix."""
        raise NotImplementedError

    def keys(self) -> List[str]:
        """All keys but the marker of the test's own folder."""
        raise NotImplementedError

    def put(self, key: str, body: bytes, metadata: Optional[Mapping[str, str]] = None,
            content_type: str = "") -> None:
        raise NotImplementedError

    def delete(self, key: str) -> None:
        raise NotImplementedError

    def pending_uploads(self) -> List[str]:
        """Keys of uploads that were begun and neither completed nor aborted."""
        raise NotImplementedError

    def has(self, key: str) -> bool:
        return key in self.keys()


class CosStore(Store):
    """Through the embedded client."""

    def __init__(self, client: ObjectClient, prefix: str) -> None:
        super().__init__(prefix)
        self.client = client

    def head(self, key: str) -> ObjectInfo:
        self.settle()
        return self.client.head_object(self.prefix + key)

    def body(self, key: str) -> bytes:
        size = self.head(key).size_bytes
        buffer = bytearray(size)
        if size:
            self.client.get_object(self.prefix + key, memoryview(buffer))
        return bytes(buffer)

    def metadata(self, key: str) -> Dict[str, str]:
        return dict(self.head(key).headers.metadata)

    def keys(self) -> List[str]:
        return [row.key[len(self.prefix):] for row in self.rows() if row.key != self.prefix]

    def rows(self) -> List[ListedObject]:
        self.settle()
        rows: List[ListedObject] = []
        marker: Optional[str] = ""
        while marker is not None:
            page = self.client.list_objects(self.prefix, marker=marker)
            rows.extend(page.objects)
            marker = page.next_marker
        return rows

    def put(self, key: str, body: bytes, metadata: Optional[Mapping[str, str]] = None,
            content_type: str = "") -> None:
        standard = {"Content-Type": content_type} if content_type else {}
        self.client.put_object(self.prefix + key, body,
                               headers=ObjectHeaders(metadata=metadata or {}, standard=standard))

    def put_with(self, key: str, body: bytes, headers: ObjectHeaders) -> None:
        self.client.put_object(self.prefix + key, body, headers=headers)

    def delete(self, key: str) -> None:
        self.client.delete_object(self.prefix + key)

    def pending_uploads(self) -> List[str]:
        return [upload.key for upload in self.client.list_multipart_uploads(self.prefix)]


class BotoStore(Store):
    """Through boto3, for servers that speak S3."""

    def __init__(self, client: Any, bucket: str, prefix: str, features: FrozenSet[str]) -> None:
        super().__init__(prefix)
        self.client = client
        self.bucket = bucket
        self.features = features

    def body(self, key: str) -> bytes:
        self.settle()
        data: bytes = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()
        return data

    def metadata(self, key: str) -> Dict[str, str]:
        self.settle()
        found = self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)["Metadata"]
        return {name.lower(): value for name, value in found.items()}

    def keys(self) -> List[str]:
        self.settle()
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        keys = [row["Key"] for page in pages for row in page.get("Contents", [])]
        return [key[len(self.prefix):] for key in keys if key != self.prefix]

    def put(self, key: str, body: bytes, metadata: Optional[Mapping[str, str]] = None,
            content_type: str = "") -> None:
        extra = {"ContentType": content_type} if content_type else {}
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=body,
                               Metadata=dict(metadata or {}), **extra)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def pending_uploads(self) -> List[str]:
        rows = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return [row["Key"] for row in rows if row["Key"].startswith(self.prefix)]
