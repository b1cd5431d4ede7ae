"""From files on disk to batches, beside what a model takes."""
