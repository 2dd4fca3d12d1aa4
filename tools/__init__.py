"""Writers of the generated files: docs, dashboards and alerts."""
