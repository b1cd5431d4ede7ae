"""The environment variable that tells a worker where it and the others are."""

import json

EXAMPLE = (
    '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


def check(text):
    """Checks the environment variable that tells a worker where it and the others are.

    Args:
        text: string or `None`, what the variable is.

    Raises:
        ValueError: unless it is a cluster of workers, and perhaps a chief, and a task
            of it.
    """
    if not text:
        raise ValueError(
            "`TF_CONFIG` must be set in the environment of each worker where "
            f"`config.strategy` is 'multiworker', such as {EXAMPLE}. "
            "Received: no TF_CONFIG"
        )

    def require(is_right, what):
        if not is_right:
            raise ValueError(
                f"`TF_CONFIG` must {what}, such as {EXAMPLE}. "
                f"Received: TF_CONFIG={text}"
            )

    try:
        config = json.loads(text)
    except ValueError:
        config = None
    require(isinstance(config, dict), "be a JSON object")
    cluster, task = config.get("cluster"), config.get("task")
    require(isinstance(cluster, dict) and cluster, 'have a "cluster", an object')
    unknown = sorted(set(cluster) - {"chief", "worker"})
    require(not unknown, f'have no other jobs than "worker" and "chief", as {unknown}')
    for job, addresses in cluster.items():
        require(
            isinstance(addresses, list)
            and addresses
            and all(_is_address(address) for address in addresses),
            f'have addresses "host:port" as the list of the job "{job}"',
        )
    require(len(cluster.get("chief", ())) <= 1, "have one chief at most")
    addresses = sum(cluster.values(), [])
    require(len(set(addresses)) == len(addresses), "have an address of each task's own")
    require(
        isinstance(task, dict) and task.get("type") in cluster,
        f'have a "task" whose "type" is one of {sorted(cluster)}',
    )
    index = task.get("index")
    count = len(cluster[task["type"]])
    # TensorFlow takes a string of digits as well.
    require(
        str(index).isdecimal() and int(index) < count,
        f'have a "task" whose "index" is below the {count} of its type',
    )


def _is_address(text):
    host, _, port = str(text).rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 2**16
