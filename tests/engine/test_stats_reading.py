"""Figures from cgroups of both versions, as Docker's API names them."""

import os
from pathlib import Path

from gantry_agent.engine.containers import stats
from gantry_agent.engine.containers.model import Container, Status


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def test_version_2(tmp_path):
    folder = write(
        tmp_path,
        cpu__stat="usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 3\nnr_throttled 2\nthrottled_usec 7\n",
        memory__current="4096\n",
        memory__max="max\n",
        memory__stat="anon 1\ninactive_file 2\n",
        pids__current="4\n",
        pids__max="max\n",
        io__stat="8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
    )
    groups = stats.Groups({}, folder)
    cpu = stats._cpu(groups)
    assert cpu["cpu_usage"] == {
        "total_usage": 1_500_000,
        "usage_in_kernelmode": 500_000,
        "usage_in_usermode": 1_000_000,
    }
    assert cpu["throttling_data"] == {"periods": 3, "throttled_periods": 2, "throttled_time": 7000}
    memory = stats._memory(groups)
    assert memory["usage"] == 4096
    assert memory["stats"] == {"anon": 1, "inactive_file": 2}
    assert memory["limit"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert stats._pids(groups) == {"current": 4}
    assert stats._blkio(groups)["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "read", "value": 10},
        {"major": 8, "minor": 0, "op": "write", "value": 20},
    ]


def test_version_1(tmp_path):
    cpu = write(
        tmp_path / "cpu",
        cpuacct__usage="1500000\n",
        cpuacct__usage_percpu="1000000 500000 \n",
        cpuacct__stat="user 1\nsystem 2\n",
        cpu__stat="nr_periods 3\nnr_throttled 2\nthrottled_time 7\n",
    )
    memory = write(
        tmp_path / "memory",
        memory__usage_in_bytes="4096\n",
        memory__max_usage_in_bytes="8192\n",
        memory__limit_in_bytes="65536\n",
        memory__failcnt="1\n",
        memory__stat="cache 1\ntotal_inactive_file 2\n",
    )
    blkio = write(
        tmp_path / "blkio",
        blkio__throttle__io_service_bytes_recursive="8:0 Read 10\n8:0 Total 10\nTotal 10\n",
        blkio__throttle__io_serviced_recursive="8:0 Read 1\nTotal 1\n",
    )
    pids = write(tmp_path / "pids", pids__current="4\n", pids__max="100\n")
    groups = stats.Groups({"cpu": cpu, "cpuacct": cpu, "memory": memory, "blkio": blkio, "pids": pids}, None)
    found = stats._cpu(groups)
    assert found["cpu_usage"]["percpu_usage"] == [1_000_000, 500_000]
    assert found["cpu_usage"]["usage_in_usermode"] == stats.TICK
    assert found["throttling_data"]["throttled_time"] == 7
    assert stats._memory(groups) == {
        "usage": 4096,
        "max_usage": 8192,
        "failcnt": 1,
        "limit": 65536,
        "stats": {"cache": 1, "total_inactive_file": 2},
    }
    assert stats._pids(groups) == {"current": 4, "limit": 100}
    assert [entry["op"] for entry in stats._blkio(groups)["io_service_bytes_recursive"]] == ["Read", "Total"]


def test_this_process_has_figures():
    container = Container("c" * 64, "name", "", "", 0, {}, {})
    container.state.status, container.state.pid = Status.RUNNING, os.getpid()
    found = stats.sample(container, stats.cgroup_mounts())
    assert found["name"] == "/name"
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert found["cpu_stats"]["system_cpu_usage"] > found["cpu_stats"]["cpu_usage"]["total_usage"]
    assert found["memory_stats"]["usage"] > 0
    assert "lo" not in found["networks"]


def test_a_stopped_container_reads_as_zeros():
    found = stats.sample(Container("c" * 64, "name", "", "", 0, {}, {}), {})
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert found["read"] == stats.NEVER
