import pytest

from persyn.inference.servers.stub import parse_arguments


def test_flags_become_the_configuration() -> None:
    argv = ["--port=1", "--model=m", "--latency-s=0.5", "--fail=500=0.25", "--fail=die=0.01", "--answer-tokens=3"]
    args, config = parse_arguments(argv)
    assert (args.port, args.model) == (1, "m")
    assert (config.latency_s, config.answer_tokens) == (0.5, 3)
    assert config.failures == {"500": 0.25, "die": 0.01}


@pytest.mark.parametrize("wrong", ["--fail 500", "--fail explode=1", "--latency-s soon"])
def test_a_wrong_flag_is_explained_without_a_traceback(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--port", "1", "--model", "m", *wrong.split()])
    assert "error:" in capsys.readouterr().err
