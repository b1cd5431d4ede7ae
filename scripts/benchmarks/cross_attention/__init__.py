"""One cross-attention, without the MLP that follows it.

Latents and inputs are normalised and projected, the latents attend, and what they read
is projected and added to them.
"""
