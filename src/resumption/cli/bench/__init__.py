"""``resumption bench``: what the library costs, beside the standard library's ``ssl`` and the bare primitives.

One module for each thing that is measured: handshakes and their floor, bulk data, encodings, memory, caches. How it is
measured is in `resumption.cli.bench.race`; ``docs/benchmarks.md`` tells the method and what came out. These modules are
the only ones in the package, besides the adapters, that touch ``ssl`` and pyOpenSSL: as contenders.
"""
