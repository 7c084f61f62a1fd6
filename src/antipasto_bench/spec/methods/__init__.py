"""What can be said of a variant by its settings alone: its keys, their canonical form, whether it trains.

A variant is a row of the table: the untuned model, an adapter of the library, or another way to change a model. Each
kind is a `Method` here, and an `Adapter` in run/methods, which knows the model. Settings of the
library's variants are read without torch, and those of PEFT's without PEFT where its answer is kept (peft_memory.py).
"""
