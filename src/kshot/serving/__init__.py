"""Teach by request: models made of posted examples, kept on disk, for many tenants on one base."""
