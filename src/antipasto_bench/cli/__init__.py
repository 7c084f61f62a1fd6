"""The command line: one file for each group of commands. Commands parse options, call one function, and print."""

from .app import main

__all__ = ["main"]
