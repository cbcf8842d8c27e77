"""The options and arguments that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="The run's name or number.")]
RunKey = Annotated[str | None, typer.Option("--run", metavar="RUN", help="A run's name or number.")]
Teacher = Annotated[str | None, typer.Option("--teacher", metavar="NAME", help="A teacher's queue.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Queue = Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="A queue, such as score.quality.")]
WithWorker = Annotated[bool, typer.Option("--with-worker", help="Also run a worker for everything on this host.")]
