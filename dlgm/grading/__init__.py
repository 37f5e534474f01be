"""Releases, checks and grades homework. It knows no exercise by name: ``dlgm.exercises`` is the bank."""
