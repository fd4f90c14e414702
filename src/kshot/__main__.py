"""`python -m kshot` is the command `kshot`; torchrun starts it so."""

from kshot.cli import main

main()
