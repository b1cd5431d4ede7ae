"""Whole models, and the part of them that does not read the inputs."""
