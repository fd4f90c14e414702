"""Bytes and rows: safetensors and JSON, whole or not there. Knows no module."""

from kshot.storage.files import FORMAT, pack, read, replace_file, unpack, write

__all__ = ["FORMAT", "pack", "read", "replace_file", "unpack", "write"]
