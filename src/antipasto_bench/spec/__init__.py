"""What a user asks for: the grammar, presets, configs, sweeps, and the identity of a run."""
