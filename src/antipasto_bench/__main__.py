"""`python -m antipasto_bench` is `antipasto-bench`."""

from .cli.app import main

main()
