"""One run, from a config to a record: load, attach, train, evaluate, cost."""
