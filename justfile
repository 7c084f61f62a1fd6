# Recipes of antipasto-bench. Without `just`: scripts/just RECIPE does the same.

set positional-arguments

bench := ".venv/bin/antipasto-bench"

# List the recipes.
default:
    @just --list 2>/dev/null || .venv/bin/just --list

# Set up if need be, then compare three adapters and the untuned model on the embedded preset.
demo *OPTIONS: setup
    {{ bench }} demo "$@"

# Set up if need be, then lint, check types and run every test that is not marked long; `just test all` runs those too.
test *WORDS: setup lint
    #!/bin/sh
    # Words after that are pytest's: just test all tests/antipasto -k lora
    set -eu
    case "${1-}" in
        all) shift ;;
        *) set -- -m "not long" "$@" ;;
    esac
    exec .venv/bin/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder "$@"

# Train and score one variant: just bench-variant antipasto rotate_basis=V preset=nano
bench-variant VARIANT *OVERRIDES: setup
    {{ bench }} run "$@"

# Make every run of a product: just sweep antipasto,lora rotate_basis=V,U seed=0,1,2
sweep *WORDS: setup
    {{ bench }} sweep "$@"

# Render the results into README.md.
report *OPTIONS: setup
    {{ bench }} report "$@"

# Check style and types.
lint: setup
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/lint-imports --no-cache --no-logo
    .venv/bin/mypy
    .venv/bin/mypy tests/antipasto/conftest.py
    .venv/bin/mypy tests/bench/conftest.py
    .venv/bin/mypy tests/packaging/conftest.py

# Write requirements.lock anew from what is installed; torch without its build tag, so that each machine finds its own.
lock: setup
    .venv/bin/python scripts/lock.py > requirements.lock.new
    mv requirements.lock.new requirements.lock

# Install the library, the bench and all they need into .venv, at the locked versions, when any of that changed.
[private]
setup:
    #!/bin/sh
    set -eu
    [ -x .venv/bin/python ] || python3 -m venv .venv
    if ! cat src/pyproject.toml pyproject.toml requirements.lock | cmp -s - .venv/installed; then
        echo "installing into .venv (once; some minutes) ..." >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ./src -e '.[dev]'
        cat src/pyproject.toml pyproject.toml requirements.lock > .venv/installed
    fi
