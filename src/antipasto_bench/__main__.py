"""`python -m antipasto_bench` is `antipasto-bench`."""

from .cli import main

main()
