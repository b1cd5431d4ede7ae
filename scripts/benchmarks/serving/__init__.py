"""A model as it is served: latency, throughput, cold start and size."""
