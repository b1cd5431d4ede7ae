"""A training step of the presets: time, and peak memory in fresh processes."""
