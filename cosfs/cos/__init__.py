"""The embedded client of Tencent COS (and, by AWS Signature V4, of any S3-compatible service)."""
