"""Small messages to and fro on connections that stay open, one in flight on each."""

from bench.row import LoadRow, Measure

MESSAGE_OCTETS = 64


def _echo_row(flows: int) -> LoadRow:
    return LoadRow(
        name=f"echo-{flows}",
        title=f"echo, {flows} flow{'s' if flows > 1 else ''}",
        mode="echo",
        arguments=lambda effort: (flows, effort.seconds, MESSAGE_OCTETS),
        shown=Measure("msg/s", cpu_name="us/msg"),
    )


ROWS = [_echo_row(flows) for flows in (1, 50, 1000)]
