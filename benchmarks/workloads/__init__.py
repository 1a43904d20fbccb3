"""The workloads, in order. Each says in its docstring what it measures and how; the report quotes it."""

from . import (
    forms,
    scaling,
    w1_small,
    w2_lines,
    w3_bulk,
    w4_first_byte,
    w5_streams,
    w5b_many,
    w6_cold,
    w6b_snapshot,
    w7_slow_reader,
    w8_runtime,
    w9_bursts,
)
from .base import Workload

ALL: tuple[Workload, ...] = (
    w1_small.WORKLOAD,
    w2_lines.WORKLOAD,
    w3_bulk.WORKLOAD,
    w4_first_byte.WORKLOAD,
    w5_streams.WORKLOAD,
    w5b_many.WORKLOAD,
    w6_cold.WORKLOAD,
    w6b_snapshot.WORKLOAD,
    w7_slow_reader.WORKLOAD,
    w8_runtime.WORKLOAD,
    w9_bursts.WORKLOAD,
    *forms.WORKLOADS,
    *scaling.WORKLOADS,
)
