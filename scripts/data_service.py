"""Makes training batches for others: a dispatcher, and workers, of the tf.data service.

On one machine a dispatcher, which is told the addresses of all workers; on each machine
that is to decode and augment, a worker:

    python scripts/data_service.py dispatcher --port=5050 \
        --workers=host1:5051,host2:5051
    python scripts/data_service.py worker --dispatcher=grpc://host0:5050 \
        --address=host1:5051

They run until they are ended. Who trains is told where the dispatcher is:

    python scripts/train.py --config.data.service=grpc://host0:5050 ...

All of them must find the data under the same paths.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from command_line import Parser, run
from pipelines.service import PREFIX, check_address


def main(arguments=None):
    parser = Parser(description=__doc__.partition("\n")[0])
    parts = parser.add_subparsers(dest="part", required=True)
    dispatcher = parts.add_parser("dispatcher")
    dispatcher.add_argument("--port", type=int, required=True)
    dispatcher.add_argument("--workers", required=True, metavar="HOST:PORT,...")
    worker = parts.add_parser("worker")
    worker.add_argument("--dispatcher", required=True, metavar="grpc://HOST:PORT")
    worker.add_argument("--address", required=True, metavar="HOST:PORT")
    flags = parser.parse_args(arguments)
    server = _dispatcher(flags) if flags.part == "dispatcher" else _worker(flags)
    print(f"Ready: {flags.part}", flush=True)
    server.join()
    return 0


def _dispatcher(flags):
    workers = flags.workers.split(",")
    for address in workers:
        _port("--workers", address)
    if not 0 < flags.port < 2**16:
        raise ValueError(f"`--port` must be in 1 to 65535. Received: {flags.port}")
    service = tf.data.experimental.service
    config = service.DispatcherConfig(port=flags.port, worker_addresses=workers)
    return _started(lambda: service.DispatchServer(config), flags.port)


def _worker(flags):
    port = _port("--address", flags.address)
    check_address("--dispatcher", flags.dispatcher)
    service = tf.data.experimental.service
    config = service.WorkerConfig(
        dispatcher_address=flags.dispatcher.removeprefix(PREFIX),
        worker_address=flags.address,
        port=port,
    )
    return _started(lambda: service.WorkerServer(config), port)


def _started(make, port):
    try:
        return make()
    except (tf.errors.OpError, RuntimeError) as error:
        raise ValueError(f"Port {port} cannot be served: {error}") from error


def _port(flag, address):
    """The port of an address, "host:port"."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(
            f"`{flag}` must have addresses host:port. Received: {address!r}"
        )
    return int(port)


if __name__ == "__main__":
    run(main)
