"""What the results of health checks add up to, by Docker's rules."""

import asyncio
import time

import pytest
from gantry_agent.engine.containers.health import Health, Probe, Result, judge
from gantry_agent.engine.containers.model import Container, State, Status
from gantry_agent.engine.events import Events

SECOND = 1_000_000_000


def container_with(**check) -> Container:
    container = Container("c" * 64, "c", "", "", 0, {"Healthcheck": {"Test": ["CMD", "check"], **check}}, {})
    container.state.status, container.state.started_at = Status.RUNNING, time.time_ns()
    return container


def judged(probe: Probe, *results: tuple[float, int]) -> State:
    """The state after results at seconds since the start."""
    state = State(health="starting", started_at=SECOND)
    for at, code in results:
        start = SECOND + int(at * SECOND)
        judge(state, probe, Result(start, start + 1, code, ""))
    return state


def test_one_success_makes_it_healthy_and_forgets_failures():
    state = judged(Probe(("x",)), (1, 1), (2, 1), (3, 0))
    assert (state.health, state.health_failing) == ("healthy", 0)


def test_so_many_failures_in_a_row_make_it_unhealthy():
    assert judged(Probe(("x",), retries=2), (1, 0), (2, 1)).health == "healthy"
    assert judged(Probe(("x",), retries=2), (1, 0), (2, 1), (3, 1)).health == "unhealthy"
    assert judged(Probe(("x",), retries=2), (1, 1), (2, 1), (3, 1), (4, 0)).health == "healthy"


def test_failures_in_the_start_period_do_not_count():
    probe = Probe(("x",), retries=1, start_period=10)
    assert judged(probe, (1, 1), (9, 1)).health == "starting"
    assert judged(probe, (1, 1), (11, 1)).health == "unhealthy"
    assert judged(probe, (1, 0), (2, 1)).health == "unhealthy", "after a success the period is over"


def test_five_results_are_kept():
    assert len(judged(Probe(("x",)), *((n, 0) for n in range(9))).health_log) == 5


@pytest.mark.parametrize(
    ("check", "command"),
    [
        ({"Test": ["CMD", "a", "b"]}, ("a", "b")),
        ({"Test": ["CMD-SHELL", "a b"]}, ("/bin/sh", "-c", "a b")),
        ({"Test": ["NONE"]}, None),
        ({"Test": []}, None),
        ({}, None),
    ],
)
def test_the_command_of_a_check(check, command):
    container = Container("c", "c", "", "", 0, {"Healthcheck": check}, {})
    probe = Probe.of(container)
    assert (probe.command if probe else None) == command


def test_times_are_nanoseconds_and_zero_means_the_default():
    probe = Probe.of(container_with(Interval=2 * SECOND, Timeout=0, Retries=0))
    assert probe
    assert (probe.interval, probe.timeout, probe.retries) == (2.0, 30, 3)


async def test_checks_run_while_the_container_does_and_events_tell_of_changes():
    container = container_with(Interval=1_000_000, Retries=1)
    events, codes, saved = Events(), iter([0, 1]), []
    done = asyncio.Event()

    async def execute(*_):
        code = next(codes, None)
        if code is None:
            done.set()
            await asyncio.Event().wait()
        return code, "out"

    async def save(_):
        saved.append(container.state.health)

    health = Health(events, lambda _: container, save, execute, lambda _: True)
    health.begin(container)
    assert container.state.health == "starting"
    runner = asyncio.create_task(health.run())
    await asyncio.sleep(0)
    with events.listen() as listener:
        events.publish("container", "start", container.id)
        await asyncio.wait_for(done.wait(), 5)
        events.publish("container", "die", container.id)
        seen = [(await listener.get()).action for _ in range(4)]
    assert seen == ["start", "health_status: healthy", "health_status: unhealthy", "die"]
    assert saved == ["healthy", "unhealthy"]
    runner.cancel()
    await health.close()
    assert not health._tasks


async def test_a_check_that_dies_with_its_container_is_not_judged():
    container, events, saved, checked = container_with(Interval=1_000_000, Retries=1), Events(), [], asyncio.Event()

    async def execute(*_):
        checked.set()
        return 137, ""

    async def save(_):
        saved.append(container.state.health)

    health = Health(events, lambda _: container, save, execute, lambda _: False)
    health.begin(container)
    health.resume([container])
    (task,) = health._tasks.values()
    await asyncio.wait_for(checked.wait(), 5)
    await asyncio.wait_for(task, 5)
    assert (container.state.health, container.state.health_failing, saved) == ("starting", 0, [])


async def test_a_clock_that_is_set_back_holds_no_check_up():
    container, events, checked = container_with(Interval=1_000_000), Events(), asyncio.Event()
    container.state.started_at += 3600 * SECOND

    async def execute(*_):
        checked.set()
        return 0, ""

    async def save(_):
        pass

    health = Health(events, lambda _: container, save, execute, lambda _: True)
    health.begin(container)
    health.resume([container])
    await asyncio.wait_for(checked.wait(), 5)
    await health.close()
