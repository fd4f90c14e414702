"""The commands of `kshot`, one small function each; `kshot.cli` puts them together."""
