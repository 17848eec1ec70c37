"""The PrometheusRule of Kubernetes: ``uv run python -m tests.support.prometheus_rule`` writes it.

Prometheus and the operator read the same groups, so it is ``deploy/prometheus/rules.yml`` inside an object.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

TOP = Path(__file__).parents[2]
RULES = TOP / "deploy/prometheus/rules.yml"
WRITTEN = TOP / "deploy/kubernetes/components/prometheusrule/prometheus-rule.yaml"
#: Helm reads no file outside of a chart.
OF_CHART = TOP / "deploy/helm/files/rules.yml"
_HEAD = """\
# Written from deploy/prometheus/rules.yml by: uv run python -m tests.support.prometheus_rule
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: celery-autoscaler
spec:
"""


def prometheus_rule() -> str:
    """The text of the object."""
    return _HEAD + textwrap.indent(RULES.read_text(), "  ")


def main() -> None:
    """Write it, and the copy of the rules in the chart."""
    WRITTEN.write_text(prometheus_rule())
    OF_CHART.write_text(RULES.read_text())


if __name__ == "__main__":
    main()
