"""What brings an older database to the present schema: forward only, one file a step. See `upgrading`."""
