"""Makes training batches for others: a dispatcher and a worker of the tf.data service.

On each machine that is to decode and augment:

    python scripts/data_service.py --address=host1:5050

It uses that port and the next, and runs until it is ended. Who trains is told where all
of them are:

    python scripts/train.py \
        --config.data.service=grpc://host1:5050,grpc://host2:5050 ...

All of them must find the data under the same paths.
"""

import os
import signal
import socket
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from command_line import Parser, run
from pipelines import python_ops  # noqa: F401 - for what is decoded in Python
from pipelines.service import TIMEOUT


def main(arguments=None):
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--address",
        required=True,
        metavar="HOST:PORT",
        help="under which those who train reach this machine",
    )
    flags = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    _servers = start(flags.address)  # They serve as long as they are referred to.
    print(f"Ready: grpc://{flags.address}", flush=True)
    # Not the servers' `join`, which no signal ends.
    threading.Event().wait()


def _end(number, frame):
    """Ends the program at once.

    There is nothing to save, and a server that is taken down may wait for the other.
    """
    os._exit(128 + number)


def start(address):
    """Starts a data service.

    Args:
        address: string, "host:port", under which others reach the machine. The worker
            has the next port.

    Returns:
        Pair of servers, a dispatcher and its worker, which serve as long as they are
        referred to.

    Raises:
        ValueError: if the address is none, is not this machine's, or cannot be served.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16 - 1:
        raise ValueError(
            "`--address` must be host:port, a port of 1 to 65534. Received: "
            f"{address!r}"
        )
    ports = int(port), int(port) + 1
    for each in ports:
        try:
            # TensorFlow would share it with another process that has it.
            socket.create_server(("", each)).close()
        except OSError as error:
            raise ValueError(
                f"Port {each} cannot be served: {error.strerror}"
            ) from None
    service = tf.data.experimental.service
    dispatcher = _started(
        service.DispatchServer, service.DispatcherConfig(port=ports[0])
    )
    try:
        # A worker would look for its dispatcher for ever.
        socket.create_connection((host.strip("[]"), ports[0]), TIMEOUT).close()
    except OSError as error:
        raise ValueError(
            "`--address` must be an address of this machine "
            f"({error.strerror or error}). Received: {address!r}"
        ) from None
    worker = service.WorkerConfig(
        dispatcher_address=address, worker_address=f"{host}:{ports[1]}", port=ports[1]
    )
    return dispatcher, _started(service.WorkerServer, worker)


def _started(server, config):
    try:
        return server(config)
    except (tf.errors.OpError, RuntimeError) as error:
        raise ValueError(f"Port {config.port} cannot be served: {error}") from error


if __name__ == "__main__":
    run(main)
