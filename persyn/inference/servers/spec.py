"""The description of a model server: its kind, its model, and how it is started."""

from typing import Literal, NamedTuple

Kind = Literal["vllm", "transformers", "stub"]


class ServerSpec(NamedTuple):
    """Two teachers with equal specs share one server."""

    model: str  # a local folder or a hub name
    revision: str | None = None
    dtype: str = "auto"
    max_model_len: int | None = None
    args: tuple[str, ...] = ()  # for the server's command line, after PerSyn's own so that they win
    kind: Kind = "vllm"
    tensor_parallel: int = 1  # GPUs that hold one copy of the model together; only vLLM can
