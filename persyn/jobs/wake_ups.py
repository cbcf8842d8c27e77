"""Queues by name, and the wake-ups that the broker carries.

A wake-up is the task `drain(queue)` and nothing else: no ids, no payload. It may be lost or doubled without harm,
because the work itself stands in the `job` table and the reconciler tops the queues up from there.

A deployment is a database and those who work on it. Its id, which a migration made, stands before every key in the
broker, so that two deployments on one broker do not take each other's wake-ups.
"""

from typing import TYPE_CHECKING

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Connection, text

if TYPE_CHECKING:
    from celery import Celery

DRAIN = "persyn.drain"
TEACHER = "teacher."  # and the teacher's name
SCORE = "score."  # and the kind of score
SCORE_QUALITY = f"{SCORE}quality"
SCORE_LEARNABILITY = f"{SCORE}learnability"
ROUTER = "router"
TRAIN = "train"

# A queue never holds more wake-ups than this: each one drains until nothing is left, so more would find nothing.
WAKE_UPS_AT_MOST = 8
_JOBS_PER_WAKE_UP = 64

# What a broker may raise that is away, full or closed to this account. Celery names an error of the broker's library as
# its own only while it connects.
BROKER_ERRORS = (OperationalError, RedisError)


def teacher_queue(name: str) -> str:
    return TEACHER + name


def teacher_of(queue: str) -> str | None:
    """The teacher's name if this is a teacher's queue."""
    return queue.removeprefix(TEACHER) if queue.startswith(TEACHER) else None


def deployment(conn: Connection) -> str:
    """The id of the deployment that this database is."""
    return str(conn.execute(text("SELECT id FROM deployment")).scalar_one())


def key_prefix(deployment_id: str) -> str:
    """The beginning of all keys of a deployment in the broker, so that several may share one."""
    return f"persyn-{deployment_id}."


def application(broker_url: str, deployment_id: str) -> "Celery":
    """The Celery app with the settings that the protocol counts on; each line that is no default says why."""
    from celery import Celery  # noqa: PLC0415 - half a second that `persyn --help` does not need

    app = Celery("persyn", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,  # results are rows, not messages
        task_acks_late=False,  # a lost wake-up is replaced; one that comes back would only find nothing
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a wake-up that waits behind a long drain belongs to another worker
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # the broker may be away for a night
        broker_pool_acquire_timeout=30,
        broker_transport_options={
            "global_keyprefix": key_prefix(deployment_id),
            "visibility_timeout": 3600,
            "socket_timeout": 15,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a drain needs no broker to finish
        worker_soft_shutdown_timeout=60,
        task_serializer="json",
        accept_content=["json"],
        task_create_missing_queues=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
    )
    return app


def wake(app: "Celery", queue: str, due: int) -> int:
    """Top a queue up to as many wake-ups as its due jobs can use; returns how many were sent."""
    wanted = min(WAKE_UPS_AT_MOST, -(-due // _JOBS_PER_WAKE_UP))
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        present: int = channel.queue_declare(queue=queue, durable=True).message_count
        missing = max(0, wanted - present)
        for _ in range(missing):
            app.send_task(DRAIN, args=[queue], queue=queue, connection=connection, ignore_result=True)
    return missing
