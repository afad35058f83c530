"""Other times of a versioned bucket, as buckets of their own that can only be read.

``HistoryClient`` has each old version as an object, ``SnapshotClient`` the bucket as it was at one time. Both take the
place of the client (``ObjectClient``), so everything above serves them as it serves the bucket itself.
"""
