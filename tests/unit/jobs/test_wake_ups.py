"""What stands in the settings that the protocol counts on."""

from persyn.jobs import wake_ups


def keys(deployment: str) -> str:
    with wake_ups.application("redis://broker:6379/0", deployment).connection_for_write() as connection:
        return str(connection.transport_options["global_keyprefix"])


def test_two_deployments_on_one_broker_have_keys_of_their_own() -> None:
    assert keys("a") != keys("b")
    assert keys("a") == keys("a")
