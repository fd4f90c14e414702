"""Bytes and rows: safetensors and JSON, whole or not there. Knows no module."""

from kshot.storage.files import FORMAT, pack, peek, read, remove_leftovers, replace_file, unpack, write

__all__ = ["FORMAT", "pack", "peek", "read", "remove_leftovers", "replace_file", "unpack", "write"]
