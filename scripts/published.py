"""What the configs of the first paper's models have in common.

What the paper leaves open, each config marks with "Open:". Where Perceiver IO, whose
training on ImageNet is published as code, says something, that is taken.
"""

from configs import base
from keras_perceiver.presets import PRESETS


def set_model(config, preset):
    """Gives a config the section `model` of a preset.

    Args:
        config: `ConfigDict`.
        preset: string, a key of `kp.PerceiverBackbone.presets`.
    """
    config.model = base.get_config().model
    numbers = dict(PRESETS[preset]["backbone"])
    del numbers["inputs"]  # The adapter is of the section `adapter`.
    config.model.update(numbers)


def set_training(config):
    """Gives a config how the paper trains on ImageNet, as section 4.1 has it.

    On several devices the batch is that of all of them. Where it does not fit, a
    smaller one with `optimizer.gradient_accumulation_steps` makes the same updates.
    """
    config.epochs = 120
    # Open: the batch, and with it what the learning rate is for; 1,024 is Perceiver
    # IO's. (Ablations of the first paper have 64 and 256.)
    config.batch_size = 1024
    # Data sets of this size are read from their files in each epoch, and comparing
    # all files would take as long as an epoch.
    config.data.cache = False
    config.data.check_duplicates = False
    optimizer = config.optimizer
    optimizer.name = "lamb"
    optimizer.learning_rate = 4e-3
    optimizer.schedule = "steps"
    optimizer.decay_at = (84 / 120, 102 / 120, 114 / 120)
    optimizer.decay_factor = 0.1
    # The paper names no warm-up, and Perceiver IO has none.
    optimizer.warmup_epochs = 0
    # Open: weight decay and clipping; these are Perceiver IO's.
    optimizer.weight_decay = 0.1
    optimizer.clip_norm = 10.0


def set_audioset(config):
    """Gives a config what all models of AudioSet share, as section 4.2 has it."""
    set_training(config)
    # Open: optimizer, learning rate and batch; these are of ImageNet. The steps of the
    # learning rate are at the same parts of the run.
    config.epochs = 100
    # Open: whether a part of the training set is held out. `labels.csv` may say it.
    config.data.validation_fraction = 0.005
    # Where clips are broken: `--config.data.bad_files=skip` reads all of them once
    # before training, and leaves those out.
