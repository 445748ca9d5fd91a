"""From records to tables and figures; reads a results folder alone and never imports torch."""

from bench.report.write import write_report

__all__ = ["write_report"]
