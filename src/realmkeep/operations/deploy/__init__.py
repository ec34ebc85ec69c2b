"""The files of a deployment: for systemd, cron, Prometheus, Grafana, containers and Kubernetes."""

from realmkeep.operations.deploy.files import Deployment, deployment_files
from realmkeep.operations.deploy.writing import WrittenFile, write_files

__all__ = ["Deployment", "WrittenFile", "deployment_files", "write_files"]
