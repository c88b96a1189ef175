"""Ways to hand an object to the framework, played on the cpu backend and judged by the reference on ordinary arrays.

A *recipe* is a place where something is handed over and the choices that make it one example; it can be written down,
and played again with

    python -m tests.hostile play "('layer input', {...})"

A place is a function of a `World`. In the hostile world, `world.twisted(a)` is an odd object made of the array a, and
the network is on the cpu; in the judge's it is the float64 array of the same values, on the reference. What a place
returns must agree, or it must raise an error that is allowed, with all parameters, states and steps as they were.

    python -m tests.hostile LOG SKIP EXAMPLES SEED

plays examples that hypothesis draws, as `tests/test_hostile_objects.py` asks for it in a child.
"""
