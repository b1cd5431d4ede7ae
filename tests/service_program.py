"""A tf.data service of several workers: python service_program.py PORT HOST:PORT ...

A worker begins with each line of the standard input. It is a process of its own, since
servers that end in one that has read from them may wait for each other for ever.
"""

import sys

import tensorflow as tf

from pipelines import python_ops  # noqa: F401 - for decoding in Python


def main():
    port, *addresses = sys.argv[1:]
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(
        service.DispatcherConfig(port=int(port), worker_addresses=addresses)
    )
    workers = []
    print("ready", flush=True)
    for address, _ in zip(addresses, sys.stdin, strict=False):
        config = service.WorkerConfig(
            f"localhost:{port}", address, port=int(address.partition(":")[2])
        )
        workers.append(service.WorkerServer(config))
    dispatcher.join()


if __name__ == "__main__":
    main()
