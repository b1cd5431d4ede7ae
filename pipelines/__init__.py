"""Input pipelines: from named data sets to batches, with `tf.data` alone.

The package knows nothing about models: `sources` finds and splits the data,
`image_ops` holds the steps one example goes through, `dataset` turns a source and
steps into batches, and `image` is the recipe that scripts use.
"""
