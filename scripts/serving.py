"""Requests to TensorFlow Serving, by the messages of `tensorflow-serving-api`."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

# Where a server looks for requests to send itself before others do.
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"


def predict_request(model_name, signature, inputs):
    """The request of a prediction.

    Args:
        model_name: str, what the server calls the model.
        signature: str, the name of a signature.
        inputs: dict from the names of its inputs to arrays; files are lists of bytes.

    Returns:
        `predict_pb2.PredictRequest`.

    Raises:
        ImportError: where `tensorflow-serving-api` is not installed; a sentence.
    """
    request = _messages()[0].PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def write_warmup_requests(folder, model, files, model_name):
    """Writes a request for each signature that answers with probabilities or features.

    Not for `attention`, whose answers may be larger than all else.

    Args:
        folder: path of a SavedModel.
        model: `kp.PerceiverClassifier`, that of the SavedModel.
        files: dict with the bytes of a file for "serve_bytes", if it is there.
        model_name: str, what the server calls the model.

    Raises:
        ImportError: where `tensorflow-serving-api` is not installed; a sentence.
    """
    tensors = {
        x.name: np.zeros([size or 1 for size in x.shape], x.dtype)
        for x in keras.tree.flatten(model.input)
    }
    requests = [
        predict_request(model_name, name, tensors)
        for name in ("serving_default", "features")
    ]
    for signature, file in files.items():
        (name,) = tensors
        requests.append(
            predict_request(model_name, signature, {f"{name}_bytes": [file]})
        )
    log = _messages()[1].PredictionLog
    path = pathlib.Path(folder) / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            record = log()
            record.predict_log.request.CopyFrom(request)
            writer.write(record.SerializeToString())


def _messages():
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise ImportError(
            "Requests need the package `tensorflow-serving-api`, as in "
            f"`pip install 'keras-perceiver[serving]'` ({error})."
        ) from None
    return predict_pb2, prediction_log_pb2
