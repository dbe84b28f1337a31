"""Mini-Omni's networks in torch, one file each: no audio I/O, no threads, no asyncio.

`shapes` and `snac_stream` need numpy only, so that a runtime without torch can use them.
"""
