"""What cannot stand in prefect.yaml: work pools, parameters that no flow has, and what becomes of a run that died.

    no sign of life for 95 s    ->  the run is marked Crashed
    a run crashed               ->  its deployment runs once more: same parameters, `restarts` one higher
    an unknown parameter        ->  the API refuses the run, and names it

The last two hold for deployments tagged `restarts-after-crash`. Their flow refuses a fourth restart, and what crashes
before the flow can say so is not started a fifth time. Apply it with `make pools`, once more after `prefect deploy`;
applying it again changes only what differs.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from tasks.plan import MAX_RESTARTS

POOLS: dict[str, int | None] = {"cpu": None, "gpu": 1}  # how many runs at once
TAG = "restarts-after-crash"

# Workers send a heartbeat every 30 s (PREFECT_FLOWS_HEARTBEAT_FREQUENCY); three may get lost.
SILENCE = timedelta(seconds=95)
# Long enough for the worker's own report of the crash to be written down first.
RESTART_AFTER = timedelta(seconds=10)

# The whole dict of parameters is one template: nulls, lists and booleans come back as they were. A run that crashed
# although its flow was to refuse it never came to its flow (no checkout on the worker, an import that fails): nothing
# is no JSON, so the action fails and no run is made.
SAME_PARAMETERS_ONE_RESTART_MORE = {
    "__prefect_kind": "json",
    "value": {
        "__prefect_kind": "jinja",
        "template": "{% set done = flow_run.parameters.restarts | default(0) %}"
        f"{{% if done <= {MAX_RESTARTS} %}}"
        "{{ dict(flow_run.parameters, restarts=done + 1) | tojson }}{% endif %}",
    },
}


def crash_silent_runs(silence: timedelta) -> AutomationCore:
    """Mark a run Crashed when nothing was heard of it for `silence` after a heartbeat."""
    return AutomationCore(
        name="trasvase: crash silent runs",
        description="A flow run whose process, worker or host died sends no heartbeats any more.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"No heartbeat for {silence.total_seconds():.0f} s: process, worker or host died.",
            )
        ],
    )


def restart_crashed_runs(restart_after: timedelta) -> AutomationCore:
    """Start a crashed run's deployment once more with the same parameters."""
    # Setting the same run to AwaitingRetry ran it twice at once: the worker reports the crash as well.
    return AutomationCore(
        name="trasvase: restart crashed runs",
        description="One new run of the same deployment; the flow ends it after three restarts.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["tag"], "prefect.resource.id": [f"prefect.tag.{TAG}"]}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            RunDeployment(
                source="inferred",
                deployment_id=None,
                parameters=SAME_PARAMETERS_ONE_RESTART_MORE,
                schedule_after=restart_after,
            )
        ],
    )


def apply(silence: timedelta = SILENCE, restart_after: timedelta = RESTART_AFTER) -> list[str]:
    """Make pools and automations on the server of PREFECT_API_URL; say what was made or changed."""
    with get_client(sync_client=True) as client:
        pools = [_apply_pool(client, name, limit) for name, limit in POOLS.items()]
        wanted = [crash_silent_runs(silence), restart_crashed_runs(restart_after)]
        automations = [_apply_automation(client, each) for each in wanted]
        return [line for line in [*pools, *automations, _refuse_unknown_parameters(client)] if line]


def _apply_pool(client: SyncPrefectClient, name: str, limit: int | None) -> str:
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit)
        )
        return f"work pool {name}: made"
    if limit is None or pool.concurrency_limit is not None:
        return ""  # a limit that a person has set stays
    client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))
    return f"work pool {name}: limited to {limit} run at a time"


def _apply_automation(client: SyncPrefectClient, wanted: AutomationCore) -> str:
    present = client.read_automations_by_name(wanted.name)
    for copy in present[1:]:
        client.delete_automation(copy.id)
    if not present:
        client.create_automation(wanted)
        return f"automation {wanted.name!r}: made"
    if AutomationCore.model_validate(present[0].model_dump(include=set(AutomationCore.model_fields))) == wanted:
        return ""
    client.update_automation(present[0].id, wanted)
    return f"automation {wanted.name!r}: updated"


def _refuse_unknown_parameters(client: SyncPrefectClient) -> str:
    # The schema that Prefect makes of a flow lets any name pass, which the flow's process then dies of.
    refusing = 0
    for each in client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))):
        schema = each.parameter_openapi_schema or {}
        closed = schema | {"propertyNames": {"enum": sorted(schema.get("properties", {}))}}  # the error names them all
        if closed != schema:
            client.update_deployment(each.id, DeploymentUpdate(parameter_openapi_schema=closed))
            refusing += 1
    return f"unknown parameters: refused by {refusing} more deployments" if refusing else ""


if __name__ == "__main__":
    print("\n".join(apply() or ["work pools and automations: nothing to change"]))
