"""Examines a store and its machine; each finding says what it is, why it matters, and the line that mends it."""

from realmkeep.operations.doctor.examine import examine
from realmkeep.operations.doctor.findings import Finding, Report

__all__ = ["Finding", "Report", "examine"]
