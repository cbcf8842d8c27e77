"""`inference.stub`: the stub server under its earlier name."""

from persyn.inference import stub
from persyn.inference.servers.stub import main


def test_the_earlier_name_starts_the_same_stub() -> None:
    assert stub.main is main
