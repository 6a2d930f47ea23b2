"""Test double of the Kubeflow Pipelines backend: runs a compiled pipeline in the order and with the states of 2.17.

Based on the source of kubeflow/pipelines 2.17.0 (7b70c7b95f), all below backend/src:

- v2/compiler/argocompiler/dag.go: a task is a driver and an executor or sub-DAG; it runs when all its dependencies
  have `Succeeded`, so tasks after untriggered or failed ones are omitted; exit tasks are hooks of their dependencies.
- v2/driver/dag.go, container.go: the driver resolves inputs and the condition, and creates the execution in ML
  Metadata: RUNNING, or CANCELED if the condition is false (v2/metadata/client.go, `CreateExecution`).
- v2/component/launcher_v2.go, `Execute`: publishes COMPLETE or FAILED, then updates the DAG's state. Nothing else does
  this, and a killed launcher does neither. A retry of a pod publishes the same execution again.
- v2/metadata/client.go, `UpdateDAGExecutionsState`: `Backend._update`, line by line.
- v2/driver/resolve.go, `TaskFinalStatus`: the input of an exit task: the state of the execution, and an empty error.

Argo retries failed pods, but not deleted ones: without a retry policy, `RetryStrategy` is OnFailure.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
RUN_ID = "0b2f7f0e-5a5c-4d3c-9a65-0c6ad1c2a3f1"
ATTEMPTS = ("succeeds", "fails", "is killed", "has no driver")  # possible ends of a pod


def container_tasks(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of container tasks by key."""
    components = (spec["root"], *spec["components"].values())
    dags = [component["dag"]["tasks"] for component in components if "dag" in component]
    return {
        key: task["taskInfo"]["name"]
        for tasks in dags
        for key, task in tasks.items()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    }


@dataclass
class Execution:
    """An execution of ML Metadata."""

    task: str
    parent: "Execution | None"
    state: str = "RUNNING"
    inputs: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    expected: int | None = None  # total_dag_tasks, or iteration_count


class Backend:
    """A run of a compiled pipeline.

    Args:
        package: The compiled YAML.
        folder: Folder for artifacts.
        attempts: End of each attempt of a task's pod, from `ATTEMPTS`; the last applies to all further attempts.
        outputs: Output parameters by task.
        real: Tasks whose code is run, in a process; the others only write a line into each artifact.
    """

    def __init__(
        self,
        package: Path,
        folder: Path,
        attempts: Mapping[str, list[str]] | None = None,
        outputs: Mapping[str, dict[str, Any]] | None = None,
        real: Iterable[str] = (),
    ):
        self.spec = next(YAML(typ="safe").load_all(package.read_text(encoding="utf-8")))
        self.folder, self.real = folder, set(real)
        self.attempts, self.outputs = attempts or {}, outputs or {}
        self.executions: list[Execution] = []
        self.pods: list[str] = []  # tasks in the order in which their pods started, including retries
        self.phase = ""

    def run(self, **arguments: Any) -> str:
        """Run the pipeline; return Argo's phase of the workflow."""
        defined = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = {name: parameter.get("defaultValue") for name, parameter in defined.items()} | arguments
        root = self._created(Execution("", None, inputs=given))  # without total_dag_tasks: driver/root_dag.go
        self.phase = self._dag(self.spec["root"]["dag"], root)
        return self.phase

    def _created(self, execution: Execution) -> Execution:
        self.executions.append(execution)
        return execution

    def _dag(self, dag: Mapping[str, Any], parent: Execution) -> str:
        """Run a DAG's tasks; return its phase, Failed if any task or hook failed."""
        tasks, phases, made = dag["tasks"], {}, {}
        exits = {name: task for name, task in tasks.items() if self._strategy(task)}
        waiting = {name: task for name, task in tasks.items() if name not in exits}
        while waiting:
            name = next(key for key, task in waiting.items() if all(dep in phases for dep in self._upstream(task)))
            task = waiting.pop(name)
            if any(phases[dep] != "Succeeded" for dep in self._upstream(task)):
                phases[name] = "Omitted"
                continue
            phases[name] = self._task(name, task, parent, made)
            for hook, exit_task in exits.items():
                if name in exit_task["dependentTasks"]:
                    phases[hook] = self._task(hook, exit_task, parent, made)
        return "Failed" if "Failed" in phases.values() else "Succeeded"

    def _task(self, name: str, task: Mapping[str, Any], parent: Execution, made: dict[str, Execution]) -> str:
        component = self.spec["components"][task["componentRef"]["name"]]
        if self._attempt(name, 0) == "has no driver":
            return "Failed"
        inputs, artifacts = self._inputs(task, parent, made)
        condition = task.get("triggerPolicy", {}).get("condition")
        triggered = condition is None or _holds(condition, inputs)
        made[name] = self._created(Execution(name, parent, "RUNNING" if triggered else "CANCELED", inputs, artifacts))
        if not triggered:
            return "Skipped"
        if "dag" not in component:
            return self._container(name, task, component, made[name])
        if "parameterIterator" in task:
            return self._loop(name, task, component["dag"], made[name])
        made[name].expected = len(component["dag"]["tasks"])
        return self._dag(component["dag"], made[name])

    def _loop(self, name: str, task: Mapping[str, Any], dag: Mapping[str, Any], loop: Execution) -> str:
        iterator = task["parameterIterator"]
        items = iterator["items"]
        values = json.loads(items["raw"]) if "raw" in items else loop.inputs[items["inputParameter"]]
        loop.expected, phases = len(values), []
        for value in values:
            inputs = {**loop.inputs, iterator["itemInput"]: value}
            item = self._created(Execution(name, loop, inputs=inputs, artifacts=loop.artifacts))
            item.expected = len(dag["tasks"])
            phases.append(self._dag(dag, item))
        return "Failed" if "Failed" in phases else "Succeeded"

    def _container(self, name: str, task: Mapping[str, Any], component: Mapping, execution: Execution) -> str:
        for attempt in range(task.get("retryPolicy", {}).get("maxRetryCount", 0) + 1):
            self.pods.append(name)
            execution.state = "RUNNING"  # `PrePublishExecution`
            end = self._attempt(name, attempt)
            if end == "is killed":
                return "Failed"  # Argo's phase Error, which OnFailure does not retry
            succeeded = end == "succeeds" and self._executed(name, component, execution)
            execution.state = "COMPLETE" if succeeded else "FAILED"
            self._update(execution.parent)
            if succeeded:
                return "Succeeded"
        return "Failed"

    def _attempt(self, name: str, attempt: int) -> str:
        ends = self.attempts.get(name, ["succeeds"])
        assert set(ends) <= set(ATTEMPTS), ends
        return ends[min(attempt, len(ends) - 1)]

    def _update(self, dag: Execution) -> None:
        """Update a DAG's state, and that of its parents if it has ended."""
        if dag.expected is None:
            return
        states = [execution.state for execution in self.executions if execution.parent is dag]
        if sum(state in ("COMPLETE", "CACHED", "CANCELED") for state in states) == dag.expected:
            dag.state = "COMPLETE"
        elif "FAILED" in states:
            dag.state = "FAILED"
        else:
            return
        if dag.parent is not None:
            self._update(dag.parent)

    def _upstream(self, task: Mapping[str, Any]) -> set[str]:
        """Return a task's dependencies, as `addImplicitDependencies` does."""
        inputs = task.get("inputs", {})
        given = [*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()]
        outputs = [source.get("taskOutputParameter") or source.get("taskOutputArtifact") for source in given]
        return {*task.get("dependentTasks", []), *(output["producerTask"] for output in outputs if output)}

    def _strategy(self, task: Mapping[str, Any]) -> bool:
        return task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"

    def _inputs(self, task: Mapping, parent: Execution, made: Mapping[str, Execution]) -> tuple[dict, dict]:
        values, artifacts = {}, {}
        for name, value in task.get("inputs", {}).get("parameters", {}).items():
            if "componentInputParameter" in value:
                values[name] = parent.inputs[value["componentInputParameter"]]
            elif "taskOutputParameter" in value:
                source = value["taskOutputParameter"]
                values[name] = made[source["producerTask"]].outputs[source["outputParameterKey"]]
            elif "taskFinalStatus" in value:
                producer = made[task["dependentTasks"][0]]
                values[name] = {
                    "state": producer.state, "pipelineTaskName": producer.task, "error": {},
                    "pipelineJobResourceName": "sap2-x7v2q",
                }  # fmt: skip
            else:
                constant = value["runtimeValue"]["constant"]
                values[name] = RUN_ID if constant == "{{$.pipeline_job_uuid}}" else constant
        for name, value in task.get("inputs", {}).get("artifacts", {}).items():
            if "componentInputArtifact" in value:
                artifacts[name] = parent.artifacts[value["componentInputArtifact"]]
            else:
                source = value["taskOutputArtifact"]
                artifacts[name] = self._made_artifact(made[source["producerTask"]], source["outputArtifactKey"])
        return values, artifacts

    def _made_artifact(self, producer: Execution, key: str) -> list[str]:
        if key in producer.artifacts:
            return producer.artifacts[key]
        # For a loop: the artifacts of the task named in the key, from all iterations.
        inner = [
            execution for execution in self.executions if _is_below(execution, producer) and execution.expected is None
        ]
        name = next(execution.task for execution in inner if f"--{execution.task}-" in key)
        output = key.split(f"--{name}-")[1]
        return [path for execution in inner if execution.task == name for path in execution.artifacts[output]]

    def _executed(self, name: str, component: Mapping[str, Any], execution: Execution) -> bool:
        defined = component.get("outputDefinitions", {})
        folder = self.folder / f"{len(self.pods)}-{name}"
        folder.mkdir(parents=True)
        given = dict(execution.artifacts)
        for output in defined.get("artifacts", {}):
            execution.artifacts[output] = [str(folder / output)]
        if name in self.real:
            return self._process(component, execution, given, folder)
        for output in defined.get("artifacts", {}):
            (folder / output).write_text(f"{output} of {name}\n", encoding="utf-8")
        execution.outputs = {output: f"{output} of {name}" for output in defined.get("parameters", {})}
        execution.outputs |= self.outputs.get(name, {})
        return True

    def _process(self, component: Mapping[str, Any], execution: Execution, given: dict, folder: Path) -> bool:
        """Run the container's command with the launcher's input."""
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        kinds: dict[str, Any] = {}
        for definitions in ("inputDefinitions", "outputDefinitions"):
            kinds |= component.get(definitions, {}).get("artifacts", {})

        def described(artifacts: Mapping[str, list[str]]) -> dict[str, Any]:
            return {
                key: {"artifacts": [{"name": key, "uri": uri, "type": kinds[key]["artifactType"], "metadata": {}}
                                    for uri in uris]}
                for key, uris in artifacts.items()
            }  # fmt: skip

        outputs = {key: uris for key, uris in execution.artifacts.items() if key not in given}
        text = json.dumps({
            "inputs": {"parameterValues": execution.inputs, "artifacts": described(given)},
            "outputs": {"artifacts": described(outputs), "outputFile": str(folder / "output.json")},
        })  # fmt: skip
        command = [part.replace("{{$}}", text) for part in (*container["command"], *container["args"])]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # the image's python3
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
        (folder / "log").write_text(done.stdout + done.stderr, encoding="utf-8")
        return done.returncode == 0


def _is_below(execution: Execution, ancestor: Execution) -> bool:
    return execution.parent is not None and (execution.parent is ancestor or _is_below(execution.parent, ancestor))


def _holds(condition: str, inputs: Mapping[str, Any]) -> bool:
    """Evaluate a trigger condition of dsl.If: comparisons of input parameters and constants."""
    text = re.sub(r"inputs\.parameter_values\[('[^']+')\]", r"inputs[\1]", condition)
    text = (
        text.replace("&&", " and ").replace("||", " or ").replace("== true", "== True").replace("== false", "== False")
    )
    return bool(eval(text, {"__builtins__": {"int": int, "bool": bool}}, {"inputs": inputs}))
