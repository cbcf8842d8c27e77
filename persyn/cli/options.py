"""The options and arguments that several commands share."""

from typing import Annotated

import typer

from persyn import logs

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="The run's name or number.")]
RunKey = Annotated[str | None, typer.Option("--run", metavar="RUN", help="A run's name or number.")]
Teacher = Annotated[str | None, typer.Option("--teacher", metavar="NAME", help="A teacher's queue.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Queue = Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="A queue, such as score.quality.")]
LogLevel = Annotated[logs.Level, typer.Option("--log-level", envvar=logs.LEVEL, help="Log from this level on.")]
LogFormat = Annotated[
    logs.Format, typer.Option("--log-format", envvar=logs.FORMAT, help="Lines for people, or JSON for programs.")
]
RouterOf = Annotated[
    str | None, typer.Option("--router-of", metavar="RUN", help="Set router.of: route by the router of this run.")
]
WithWorker = Annotated[bool, typer.Option("--with-worker", help="Also run a worker for everything on this host.")]
