"""How the content of an open file is held and brought into the bucket.

``extents`` says where each byte of a file lies, ``staging`` holds the bytes that are not in the bucket yet, ``plan``
finds the cheapest legal upload, ``uploader`` carries it out.
"""
