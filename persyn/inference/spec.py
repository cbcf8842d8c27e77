"""What a worker asks for when it wants a server."""

from typing import Literal, NamedTuple


class ServerSpec(NamedTuple):
    """Two teachers with equal specs share one server."""

    model: str  # a local folder or a hub name, as `load.model_path` returns it
    revision: str | None = None
    dtype: str = "auto"
    max_model_len: int | None = None
    args: tuple[str, ...] = ()  # for the server's command line, after PerSyn's own so that they win
    kind: Literal["vllm", "stub"] = "vllm"
