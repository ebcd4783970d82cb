"""The inside of the sandbox: the template process, its children, and the layers that hold them.

`zygote.py` is exec'd by the worker (`fileproc.worker.sandbox.template`) and forks; `child.py` is
a child's life; `confinement.py` puts the layers on. Nothing here imports asyncio, settings or
telemetry: every page of the zygote is copied, or at least counted, in each fork.
"""
