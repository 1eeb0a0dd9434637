import gc

from raftd.daemon.garbage import GarbagePauses


def test_a_collection_is_a_pause_of_its_generation() -> None:
    """While entered each collection is observed once, from its start to its stop; afterwards none is."""
    seen: dict[str, list[float]] = {"0": [], "1": [], "2": []}
    moments = iter([0.0, 1.0, 1.5, 2.0, 2.25])
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with GarbagePauses({name: each.append for name, each in seen.items()}, lambda: next(moments)):
            gc.collect(2)
            gc.collect(0)
        gc.collect(1)
    finally:
        if was_enabled:
            gc.enable()
    assert seen == {"0": [0.25], "1": [], "2": [0.5]}
