"""The benchmark: train an adapter on MetaMathQA, score it on GSM8K, say what it costs and whether its lead is real.

A run flows through the modules in this order:

    cli -> config -> plan -> run:  load -> (antipasto.attach) -> train -> evaluate -> record
    record -> results -> report
"""
