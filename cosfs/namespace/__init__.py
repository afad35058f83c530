"""Names and attributes: paths and keys, metadata headers, the caches, lookups and listings."""
