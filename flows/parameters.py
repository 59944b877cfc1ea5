"""Parameters of a flow run stay in Prefect's database, refused ones too: an address among them is taken out again."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

CHANGE_IT = (
    "this run came with an address as its parameter, which Prefect's database keeps; it is overwritten there now. If "
    "it holds a password, a token or a share link, change that: the server's files and backups may still have it"
)


def forget(assignments: list[str]) -> str:
    """Overwrite the `--set` values of this run that hold an address. Returns what a person should know of it."""
    kept = [f"{a.partition('=')[0]}=(taken out)" if "://" in a.replace("synth://", "") else a for a in assignments]
    if kept == assignments:
        return ""
    with get_client(sync_client=True) as server:
        run = server.read_flow_run(flow_run.id)
        server.update_flow_run(run.id, parameters={**run.parameters, "assignments": kept})
    return f"\n{CHANGE_IT}"
