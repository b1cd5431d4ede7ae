"""How classes of this package are named in saved models, and what layers share."""

import keras

serializable = keras.saving.register_keras_serializable(package="keras_perceiver")


def serialize_shared(layer):
    """The config of a layer that several layers may hold, or `None` for `None`.

    A saved model has it again as one layer, whose weights are saved once.
    """
    if layer is None:
        return None
    # Keras marks a layer as shared when it meets it again, in the config which it gave
    # at first; but what holds that config has copied it by then. So they meet twice.
    keras.layers.serialize(layer)
    return keras.layers.serialize(layer)
