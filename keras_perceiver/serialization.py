"""How classes of this package are named in saved models."""

import keras

serializable = keras.saving.register_keras_serializable(package="keras_perceiver")
