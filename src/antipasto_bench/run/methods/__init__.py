"""What a run does to a model, one `Adapter` for each kind of variant.

adapter.py is what every kind does, registry.py finds the kind of a run. spec/methods has what can be said of a variant
without a model.
"""
