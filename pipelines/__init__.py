"""Input pipelines: from named data sets to batches, with `tf.data` alone.

The package knows nothing about models. `sources` finds and splits the data; the
modules `*_files` decode what is in files, and `*_ops` hold the steps one example goes
through; `dataset` turns a source and steps into batches; a `Recipe`, one a modality,
puts these together, and `recipes` finds it.
"""
