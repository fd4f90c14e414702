"""Measurements, each a command that anyone can run; rows go to results/."""
