"""Training batches made on other machines, by the tf.data service.

A dispatcher and its workers, which scripts/data_service.py starts, make the batches;
who trains only reads them. Each worker makes every so-many-th batch, and they are read
in turn, so that all batches are those made without them, in the same order. Where
several processes train together, each reads its part of each batch.
"""

import itertools
import socket
import threading
import time

import tensorflow as tf

from pipelines import python_ops

PREFIX = "grpc://"
TIMEOUT = 10  # Seconds to reach a dispatcher.
WORKERS_TIMEOUT = 60  # Seconds until all its workers have begun.
# Those of `python_ops` run in any process, others in the one that made them.
PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def check_address(name, address):
    """Raises `ValueError` unless somebody listens at an address.

    TensorFlow would wait for an hour.

    Args:
        name: str, what the message calls the address.
        address: str, "grpc://host:port".
    """
    host, _, port = address.removeprefix(PREFIX).rpartition(":")
    is_address = address.startswith(PREFIX) and host and port.isdecimal()
    if not is_address or not 0 < int(port) < 2**16:
        raise ValueError(
            f"`{name}` must be the address of a dispatcher, grpc://host:port. "
            f"Received: {address!r}"
        )
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except OSError as error:
        raise ValueError(
            f"`{name}` must be the address of a dispatcher that runs "
            f"({error.strerror or error}). Received: {address!r}"
        ) from None


def shared(dataset):
    """The elements of a data set that are for one worker of the service, by number.

    Args:
        dataset: `tf.data.Dataset`, part of one that `from_service` is given.
    """
    hint = tf.data.experimental.SHARD_HINT
    return dataset.shard(hint, hint)


def from_service(numbered, address, *, job, reader=0, num_readers=1):
    """Reads batches that the workers of a tf.data service make.

    Args:
        numbered: infinite `tf.data.Dataset` of pairs (number, batch), `shared`.
        address: str, "grpc://host:port" of the dispatcher.
        job: str, a new name, by which the readers of these batches find each other.
        reader: int in [0, num_readers), which of the processes that train this is.
        num_readers: int, how many there are; it divides the size of a batch.

    Returns:
        `tf.data.Dataset` of batches in the order of their numbers; of the reader's
        part of each, if there are several.

    Raises:
        ValueError: if making them takes functions of Python that are not called by
            `python_ops.call`, or if not all workers begin within `WORKERS_TIMEOUT`.
    """
    _check_functions(numbered)
    service = tf.data.experimental.service
    policy = service.ShardingPolicy.HINT
    num_workers = _wait_for_workers(address)

    def parts(number, batch):
        return tf.repeat(number, num_readers), divide(batch, num_readers)

    def order(numbers, batches):
        places = tf.argsort(numbers)
        numbers = tf.gather(numbers, places)
        is_complete = tf.debugging.Assert(
            tf.reduce_all(numbers[1:] - numbers[:-1] == 1),
            ["A worker of the tf.data service is missing."],
        )
        with tf.control_dependencies([is_complete]):
            return tf.nest.map_structure(lambda x: tf.gather(x, places), batches)

    if num_readers > 1:
        numbered = numbered.map(parts).unbatch()
    read = numbered.apply(
        service.distribute(
            policy,
            address,
            job_name=job,
            consumer_index=reader,
            num_consumers=num_readers,
        )
    )
    # The service takes its workers in turn, but begins with any.
    batches = read.batch(num_workers, drop_remainder=True).map(order).unbatch()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return (
        batches.apply(
            tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        )
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


def divide(batch, count):
    """Parts of equal size of a batch of known size.

    Args:
        batch: nested structure of tensors (B, ...).
        count: int, which divides B.

    Returns:
        The same structure of tensors (count, B / count, ...).
    """
    return tf.nest.map_structure(
        lambda x: tf.reshape(x, (count, x.shape[0] // count, *x.shape[1:])), batch
    )


def _wait_for_workers(address):
    """The number of workers of a service, all of whom have begun.

    A job that is read before would take the others in late, out of turn.
    """
    service = tf.data.experimental.service
    # A worker has the numbers that differ by the number of workers.
    numbers = shared(tf.data.Dataset.range(tf.int64.max)).batch(2)
    numbers = numbers.apply(service.distribute(service.ShardingPolicy.HINT, address))
    begun, counts, errors = set(), [], [None]

    def wait():
        try:
            for first, second in numbers.as_numpy_iterator():
                counts.append(int(second - first))
                begun.add(int(first) % counts[0])
                if len(begun) == counts[0] or time.monotonic() > deadline:
                    return
                time.sleep(0.01)
        except tf.errors.OpError as error:
            errors.append(error)

    deadline = time.monotonic() + WORKERS_TIMEOUT
    # Without a first worker the iterator would wait for ever.
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(WORKERS_TIMEOUT + 1)
    if not counts or len(begun) < counts[0]:
        raise ValueError(
            f"The workers of the tf.data service must begin within {WORKERS_TIMEOUT} "
            f"seconds. At {address} {len(begun)} of "
            f"{counts[0] if counts else 'them'} did"
        ) from errors[-1]
    return counts[0]


def _check_functions(dataset):
    """Raises `ValueError` if a data set calls functions of this process alone."""
    # No public name has the graph.
    graph = tf.compat.v1.GraphDef.FromString(dataset._as_serialized_graph().numpy())
    functions = [function.node_def for function in graph.library.function]
    for node in itertools.chain(graph.node, *functions):
        known = node.attr["token"].s.startswith(python_ops.PREFIX.encode())
        if node.op in PYTHON_OPS and not known:
            raise ValueError(
                "The tf.data service cannot make batches by functions that only this "
                f"process has, such as that of {node.name!r}"
            )
