"""How many items a second the pipeline of a modality makes, and its model takes."""

import itertools

import keras
import tensorflow as tf

import keras_perceiver as kp
from adapters import build_adapter
from pipelines.recipes import find_recipe
from pipelines.sources import load_source

# What is measured, and how it is called.
QUANTITIES = {
    "files": "from files",
    "cached": "from memory",
    "model": "model",
    "together": "both together",
}


def make_starts(folder, config):
    """What is to be measured of a modality.

    * `files`: training batches, each item read, decoded and augmented;
    * `cached`: the same from the second epoch on, where the config keeps decoded items
      in memory;
    * `model`: training steps on one batch that is in memory;
    * `together`: training steps on batches from files, as in the first epoch.

    Args:
        folder: `pathlib.Path` of class folders.
        config: a general config of `scripts/configs`.

    Returns:
        Pair of a dict quantity -> function that starts it, for `measure_rates`, and
        what the pipeline makes, a string.
    """
    source = load_source(
        f"folder:{folder}",
        "train",
        modality=config.modality,
        validation_fraction=0,
        test_fraction=0,
    )
    recipe = find_recipe(config.modality).from_source(source, **config.data.recipe)

    from_files, from_memory = (
        recipe.train_dataset(
            source,
            batch_size=config.batch_size,
            seed=config.seed,
            cache=cache,
            **config.data.augmentation,
        )
        for cache in (False, True)
    )
    first_epoch = recipe.steps_per_epoch(source, config.batch_size)
    model = make_model(recipe, config, len(source.classes))
    one_batch = tf.data.Dataset.from_tensors(next(iter(from_files))).repeat()
    # Makes all state and compiles, what `train` goes on with.
    model.fit(one_batch, steps_per_epoch=1, shuffle=False, verbose=0)
    starts = {
        "files": lambda: read(from_files),
        "cached": lambda: itertools.islice(read(from_memory), first_epoch, None),
        "model": lambda: train(model, one_batch),
        "together": lambda: train(model, from_files),
    }
    if not config.data.cache:
        del starts["cached"]
    return starts, recipe.describe()


def make_model(recipe, config, num_classes):
    """A compiled classifier, as `scripts/train.py` makes it."""
    backbone = kp.PerceiverBackbone(
        build_adapter(recipe, config.adapter), **config.model
    )
    model = kp.PerceiverClassifier(backbone, num_classes)
    model.compile(
        optimizer=keras.optimizers.AdamW(
            1e-4,
            weight_decay=config.optimizer.weight_decay,
            global_clipnorm=config.optimizer.clip_norm,
        ),
        jit_compile=config.jit_compile,
    )
    return model


def read(dataset):
    """Yields the number of items of each batch when the batch is there."""
    for _, labels in dataset:
        yield len(labels)


def train(model, dataset):
    """Yields the number of items of each training step when the step is done."""
    batches = iter(dataset)
    num_items = batches.element_spec[1].shape[0]
    while True:
        # What `fit` calls, without its callbacks; a GPU runs ahead.
        float(model.train_function(batches)["loss"])
        yield num_items
