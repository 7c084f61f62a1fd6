"""The benchmark: train an adapter on MetaMathQA, score it on GSM8K, say what it costs and whether its lead is real.

A folder a stage, lowest first; a folder imports only those below it:

    core < spec < store < analysis < report < cli
    core < spec < store < run < sweeps, speed < cli
"""
